"""Say in sentences what a run found, each with the test or the interval that it stands on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from igbench.records import stats
from igbench.records.settings import own_settings
from igbench.report import certificates, further, leaders
from igbench.report.finding import COUNT, Evidence, Finding, View
from igbench.report.model_statistics import ModelStatistics, by_model
from igbench.report.phrases import count
from igbench.report.table import marked
from igbench.schema import Run

__all__ = ["Evidence", "Finding", "findings"]


@own_settings()
def findings(
    run: Run,
    summary: pd.DataFrame,
    scores: pd.DataFrame,
    models: Mapping[str, ModelStatistics] | None = None,
) -> list[Finding]:
    """Write what a run found: at most ten sentences for one model, the most important first.

    Differences are called ties only where their whole interval lies within the margin that does not
    matter; otherwise methods are "not distinguishable".

    Args:
        run: Definitions of metrics and methods.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        scores: Columns of `Row`, of the same run.
        models: What is known of each model; computed here if None.

    Returns:
        The sentences on each model, then those on the whole run.
    """
    found = []
    known = by_model(run, summary, scores) if models is None else models
    for i, (model, own) in enumerate(known.items()):
        suffix = f"_{i + 1}" if len(known) > 1 else ""  # of the figures of a model
        found += [
            replace(one, model=model, anchor=_anchor(one.anchor, suffix))
            for one in _of_model(View.of(own))
        ]
    return [*found, *_certified(run), _counts(run, scores)]


def _anchor(name: str, suffix: str) -> str:
    return name + suffix if name.startswith("figure-") else name


def _of_model(view: View | None) -> Iterator[Finding]:
    if view is None:
        return
    if view.ranked.empty:
        yield leaders.no_leader(view)
        return
    yield from leaders.leader(view)
    yield from leaders.place_of_ig(view)
    yield from leaders.chance(view)
    yield from leaders.share(view)
    yield from further.completeness(view)
    yield from further.agreement(view)
    yield from further.cost(view)
    yield from further.detectable(view)


def _certified(run: Run) -> Iterator[Finding]:
    """What the tests on models with known answers say."""
    text, held, total = certificates.sentence(run), *certificates.held(run)
    if text:
        name = "comparison with known answers"
        yield Finding(text, "certificates", Evidence(name, held, math.nan, total))


def _counts(run: Run, scores: pd.DataFrame) -> Finding:
    """How many values are missing."""
    total = len(scores)
    undefined = int((scores["status"] == "undefined").sum())
    failed = total - undefined - int(stats.usable(scores).sum())
    text = f"Of {count(total, 'value')}, {undefined:,} are undefined and {failed:,} failed."
    limit = run.config.get("limit")
    if limit is not None:
        said = count(limit, "sample") if isinstance(limit, int) else f"{limit} samples"
        text += f" This run was limited to {said}."
    test = Evidence(COUNT, undefined + failed, math.nan, total)
    return Finding(marked(run, text), "problems", test)
