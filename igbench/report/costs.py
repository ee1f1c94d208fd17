"""Tables of the costs of one attribution, and of the stages of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from igbench.report import styles
from igbench.report.table import Cell, Table, line_name, methods_of, stub
from igbench.schema import COSTS, Records, Run

COST_HEADS = {
    "forward_rows": "forwards",
    "backward_rows": "backwards",
    "seconds": "seconds",
    "peak_memory": "peak MiB",
}


def costs_table(records: Records) -> Table:
    """Table of methods by costs of one attribution; the totals of the run are a footnote."""
    run, scores = records.run, records.scores
    there = set(scores["metric"].unique())
    costs = [name for name in COSTS if name in there]
    columns = ["model", "method", "metric", "status", "value"]
    rows = scores.loc[scores["metric"].isin(costs), columns]
    models = list(rows["model"].unique())
    lines = [(o, m) for o in models for m in methods_of(run, rows, o)]
    groups = dict(list(rows.groupby(["model", "method", "metric"], sort=False)))
    return Table(
        name="costs",
        caption=(
            "Cost of one attribution: model rows evaluated and differentiated (means), wall "
            f"seconds (median), peak memory of the process (largest). {_counts(rows)}"
        ),
        columns=("method", *(COST_HEADS[c] for c in costs)),
        rows=tuple(line_name(run, o, m, len(models)) for o, m in lines),
        cells=tuple(tuple(_cost_cell(groups.get((o, m, c)), c) for c in costs) for o, m in lines),
        footnotes={"": totals_text(run.totals)} if run.totals else {},
        keys=tuple({"model": str(o), "method": m} for o, m in lines),
        column_keys=tuple(costs),
        stubs=tuple(stub(run, o, m, len(models)) for o, m in lines),
    )


def _counts(rows: pd.DataFrame) -> str:
    found = rows["status"].value_counts()
    undefined, failed = int(found.get("undefined", 0)), int(found.get("failed", 0))
    return f"Of {len(rows):,} values, {undefined:,} are undefined and {failed:,} failed."


def _cost_cell(rows: pd.DataFrame | None, cost: str) -> Cell:
    if rows is None:
        return Cell("–")
    ok = rows.loc[rows["status"] == "ok", "value"]
    numbers: dict[str, float | int | str] = {
        "n": len(ok),
        "n_undefined": int((rows["status"] == "undefined").sum()),
        "n_failed": int((rows["status"] == "failed").sum()),
    }
    words = {"n_undefined": "undefined", "n_failed": "failed"}
    note = ", ".join(f"{numbers[k]} {word}" for k, word in words.items() if numbers[k])
    if ok.empty:
        return Cell("n/a", note, numbers=numbers)
    kind = {"seconds": "median", "peak_memory": "max"}.get(cost, "mean")
    value = float(ok.agg(kind))
    text = f"{value:.3g}" if cost == "seconds" and value < 1000 else f"{value:,.0f}"
    if cost.endswith("rows") and value != round(value):
        text = f"{value:,.1f}"
    return Cell(text, note, value=value, numbers={kind: value} | numbers)


def stages_table(run: Run) -> Table | None:
    """Table of the total cost of each stage; None if the run did not record stages."""
    stages: Mapping[str, Mapping[str, Any]] = run.totals.get("stages", {})
    if not stages:
        return None
    heads = list(dict.fromkeys(key for stage in stages.values() for key in stage))
    return Table(
        name="stages",
        caption="Cost of the whole run by stage; observations that metrics share are counted once.",
        columns=("stage", *heads),
        rows=tuple(map(_stage, stages)),
        cells=tuple(tuple(_number_cell(s.get(h)) for h in heads) for s in stages.values()),
    )


def _stage(name: str) -> str:
    """A stage with the titles of its method or metrics.

    >>> _stage("method grad_cam"), _stage("metric srg, deletion"), _stage("loading")
    ('method Grad-CAM', 'metric SRG, Deletion', 'loading')
    """
    kind, _, rest = name.partition(" ")
    if kind not in ("method", "metric") or not rest:
        return name
    return f"{kind} {', '.join(map(styles.name_text, rest.split(', ')))}"


def _number_cell(value: object) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("–" if value is None else str(value))
    whole = float(value).is_integer()
    text = f"{value:,.0f}" if whole else f"{value:,.3g}"
    return Cell(text, value=float(value), numbers={"total": value})


def totals_text(totals: Mapping[str, Any]) -> str:
    """The totals of a run on one line.

    >>> totals_text({"forward_rows": 8424, "seconds": {"score": 2.5}})
    'whole run: forward rows 8,424; seconds: score 2.5'
    """
    parts = []
    for name, value in totals.items():
        head = name.replace("_", " ")
        if name == "stages":
            continue  # has a table of its own
        if isinstance(value, Mapping):
            parts.append(f"{head}: " + ", ".join(f"{k} {_number(v)}" for k, v in value.items()))
        else:
            parts.append(f"{head} {_number(value)}")
    return "whole run: " + "; ".join(parts)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
