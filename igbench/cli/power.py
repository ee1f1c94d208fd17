"""Show how many samples a difference of means needs, from the spread of an earlier run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from igbench.cli import tables
from igbench.errors import InputError, suggestion
from igbench.records import stats
from igbench.report.table import Cell, Table
from igbench.schema import Run

OWN = "ig"
"""The method whose pairs are shown where none is named."""


@dataclass(frozen=True)
class Question:
    """What is to be seen, and between which methods.

    Attributes:
        metric: Name of the metric.
        difference: Difference of means, in its unit.
        power: Probability with which it is to be seen.
        method: Pairs with this method; `OWN` if empty, and all pairs of runs without it.
        all_pairs: Every pair of methods.
    """

    metric: str
    difference: float
    power: float = stats.POWER
    method: str = ""
    all_pairs: bool = False


def show(
    console: Console,
    run: Run,
    scores: pd.DataFrame,
    question: Question,
    *,
    markdown: bool = False,
) -> None:
    """Print a line for each pair of methods: samples, spread, what they show, and what is needed.

    Args:
        console: Where to.
        run: An earlier run.
        scores: Its scores.
        question: What is to be seen.
        markdown: Print Markdown, on a terminal too.

    Raises:
        InputError: The run has no such metric or method, or a number is out of range.
    """
    tables.show(console, power_table(run, scores, question), markdown=markdown)


def power_table(run: Run, scores: pd.DataFrame, question: Question) -> Table:
    """The table that `show` prints.

    Args:
        run: An earlier run.
        scores: Its scores.
        question: What is to be seen.

    Raises:
        InputError: The run has no such metric or method, or a number is out of range.
    """
    metric, known = question.metric, list(run.metrics)
    if metric not in known:
        raise InputError(
            f"the run has no metric {metric!r}; known: {', '.join(known)}."
            f"{suggestion(metric, known)}"
        )
    if question.method and question.all_pairs:
        raise InputError("give either --method or --all-pairs.")
    found = stats.pair_power(
        scores, run.metrics, metric, question.difference,
        method=_method(scores, question), power=question.power,
    )  # fmt: skip
    lines: list[dict[Any, Any]] = found.to_dict("records")
    several = found["model"].nunique() > 1
    return Table(
        name="power",
        caption=_caption(run, question, found),
        columns=("pair", "n", "sd", "detectable", "needed"),
        rows=tuple(f"{line['model']}: " * several + f"{line['a']} - {line['b']}" for line in lines),
        cells=tuple(
            tuple(
                Cell(text)
                for text in (
                    f"{line['n']:,}",
                    _number(line["sd"]),
                    _number(line["detectable"]),
                    _count(line["needed"]),
                )
            )
            for line in lines
        ),
    )


def _method(scores: pd.DataFrame, question: Question) -> str | None:
    """The method whose pairs are shown; None for all pairs."""
    if question.all_pairs:
        return None
    there = set(scores.loc[scores["metric"] == question.metric, "method"])
    return question.method or (OWN if OWN in there else None)


def _caption(run: Run, question: Question, found: pd.DataFrame) -> str:
    tests = int(found["tests"].max()) if len(found) else 0
    return (
        f"{run.experiment}, {question.metric}: sd of the paired differences of n samples, "
        f"the smallest difference of means that they show (detectable), and the samples needed for "
        f"{question.difference:g}. Wilcoxon signed-rank test with power {question.power:g} at "
        f"5 % / {tests} pairs, a bound under Holm's correction."
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "n/a"
    return "too few samples" if math.isinf(value) else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{int(value):,}" if math.isfinite(value) else "n/a"


def earlier(run: Run, scores: pd.DataFrame, metric: str) -> str:
    """What the samples of an earlier run show of a metric, in a line for the plan.

    Args:
        run: An earlier run.
        scores: Its scores.
        metric: Name of its metric.
    """
    spec = run.metrics[metric]
    method = _method(scores, Question(metric, spec.min_effect))
    found = stats.pair_power(scores, run.metrics, metric, spec.min_effect, method=method)
    if found.empty:
        return f"only one method has {metric}"
    middle = found.sort_values("needed").iloc[(len(found) - 1) // 2]
    return (
        f"{int(middle['n']):,} samples show differences of {metric} of "
        f"{_number(middle['detectable'])}, {_count(middle['needed'])} would show "
        f"{spec.min_effect:g} (90 % power, {middle['a']} - {middle['b']}, the middle of "
        f"{len(found)} pairs)"
    )
