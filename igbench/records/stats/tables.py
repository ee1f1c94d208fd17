"""Summaries as tables of methods by metrics, and what is missing in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from igbench.errors import InputError
from igbench.records.settings import own_settings


@own_settings()
def table(
    summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Means of one model, methods by metrics: a row for every method, a column for every metric.

    Args:
        summary: Lines of `summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.

    Returns:
        Numbers, NaN where there is no mean: no sample has a value, or the cell was not scored.
        `counts_table` says which.
    """
    return _spread(summary, "mean", methods, metrics).astype(float)


@own_settings()
def counts_table(
    summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """The cells of `table` as text: the mean, and how many samples have none and why.

    Args:
        summary: Lines of `summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.

    Returns:
        Texts such as "0.132", "0.132 (2 of 4; 2 failed)", "undefined 4/4", and "not scored" where
        a metric leaves a method out.
    """
    lines = summary.assign(text=[_cell_text(line) for line in summary.to_dict("records")])
    wide = _spread(lines, "text", methods, metrics).astype(object)
    return wide.where(wide.notna(), "not scored")


def remarks(summary: pd.DataFrame) -> list[str]:
    """One line for each cell in which samples have no value: how many, and the commonest reason."""
    return [
        f"{line['metric']} of {line['method']}: {_troubles(line)} of {_size(line)}"
        + (f" ({line['reason']})" if line["reason"] else "")
        for line in summary.to_dict("records")
        if line["n_undefined"] or line["n_failed"]
    ]


def _spread(
    lines: pd.DataFrame, value: str, methods: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """One column of the summary as a frame of methods by metrics, in order of appearance."""
    if lines["model"].nunique() > 1:
        raise InputError(
            f"the scores are of {lines['model'].nunique()} models; make one table for each."
        )
    index = pd.Index(list(dict.fromkeys([*lines["method"], *methods])), name="method")
    columns = pd.Index(list(dict.fromkeys([*lines["metric"], *metrics])), name="metric")
    wide = lines.pivot(index="method", columns="metric", values=value)
    return wide.reindex(index=index, columns=columns)


def _cell_text(line: Mapping[Any, Any]) -> str:
    if not line["n"]:
        words = [w for k, w in (("n_undefined", "undefined"), ("n_failed", "failed")) if line[k]]
        counts = [f"{w} {line[f'n_{w}']}/{_size(line)}" for w in words]
        return ", ".join(counts) or "no samples"
    mean = f"{line['mean']:.3g}"
    if line["n"] == _size(line):
        return mean
    return f"{mean} ({line['n']} of {_size(line)}; {_troubles(line)})"


def _size(line: Mapping[Any, Any]) -> int:
    return int(line["n"] + line["n_undefined"] + line["n_failed"])


def _troubles(line: Mapping[Any, Any]) -> str:
    counts = ((line["n_undefined"], "undefined"), (line["n_failed"], "failed"))
    return ", ".join(f"{n} {word}" for n, word in counts if n)
