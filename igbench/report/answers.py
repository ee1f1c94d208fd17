"""Answer five questions of a reader in short, with the numbers of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from igbench.records import stats
from igbench.report import caveats, certificates, styles
from igbench.report.anchors import anchor
from igbench.report.comparisons import ranking
from igbench.report.phrases import count, join
from igbench.report.provenance import command
from igbench.report.samples import method_label
from igbench.report.table import Table, decimals, line_name, mean_text
from igbench.schema import Run

NAMES = FAITHFUL, DIFFERENCE, COST, TRUST, REPEAT = (
    "most-faithful", "difference", "cost", "trust", "repeat",
)  # fmt: skip
"""Identifiers of the answers on the page."""


@dataclass(frozen=True)
class Line:
    """A sentence and what it stands on.

    Attributes:
        text: Plain text.
        link: Identifier on the page.
        code: Whether the text is a command.
    """

    text: str
    link: str
    code: bool = False


@dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Attributes:
        name: Identifier on the page.
        question: The question.
        lines: The answer.
    """

    name: str
    question: str
    lines: Sequence[Line]


def answers(run: Run, summary: pd.DataFrame, tables: Sequence[Table]) -> list[Answer]:
    """Five answers; those on methods have lines for each model.

    Args:
        run: Definitions.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        tables: The tables of the page, whose texts the answers quote.
    """
    named, models = {table.name: table for table in tables}, list(dict.fromkeys(summary["model"]))
    views = [_View(run, summary, str(m), len(models), named) for m in models]
    ranked = [view for view in views if len(view.ranked)]
    none = [] if ranked else [Line("No method has a score.", "problems")]
    return [
        Answer(FAITHFUL, "Which method is most faithful here?", [*map(_leader, ranked), *none]),
        Answer(DIFFERENCE, "Is the difference real?", [*map(_difference, ranked), *none]),
        Answer(COST, "What did it cost?", [*map(_cost, ranked), *_total(run)]),
        Answer(TRUST, "Can I trust the metric?",
               [*map(_floor, ranked), _certified(run), Line(caveats.counts(summary), "problems")]),
        Answer(REPEAT, "How do I repeat it?", [Line(command(run), "reproduce", code=True)]),
    ]  # fmt: skip


@dataclass(frozen=True)
class _View:
    """One model of a run, seen by its headline metric."""

    run: Run
    summary: pd.DataFrame
    model: str
    models: int
    tables: Mapping[str, Table]

    @cached_property
    def lines(self) -> pd.DataFrame:
        return self.summary[self.summary["model"] == self.model]

    @cached_property
    def metric(self) -> str:
        return styles.headline(self.run, self.lines)

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Methods in the order of the headline metric; none where the run has no such metric."""
        return ranking(self.run, self.lines, self.metric) if self.metric else self.lines.iloc[:0]

    @property
    def best(self) -> str:
        return str(self.ranked["method"].iloc[0])

    def score(self, method: str) -> str:
        """Mean of the headline metric with half its interval, as in the table of scores."""
        own = self.lines[self.lines["metric"] == self.metric].set_index("method")
        if method not in own.index:
            return ""
        digits = decimals(self.summary[self.summary["metric"] == self.metric])
        line = own.loc[method]
        return mean_text(line["mean"], (line["high"] - line["low"]) / 2, digits)

    @property
    def title(self) -> str:
        """Name of the best method."""
        return method_label(self.best)

    @property
    def column(self) -> str:
        """Name and direction of the headline metric."""
        return f"{method_label(self.metric)} {self.run.metrics[self.metric].arrow}".strip()

    def says(self, text: str) -> str:
        return f"{self.model}: {text}" if self.models > 1 else text

    def row(self, method: str) -> str:
        return line_name(self.run, self.model, method, self.models)

    def cells(self, table: str, method: str) -> dict[str, str]:
        """Heads and texts of the cells of a method in a table; none where it has no row."""
        found, name = self.tables.get(table), self.row(method)
        if found is None or name not in found.rows:
            return {}
        cells = found.cells[found.rows.index(name)]
        return {head: c.text for head, c in zip(found.columns[1:], cells, strict=True)}

    def link(self, table: str, method: str) -> str:
        """Identifier of the row of a method in a table; of the table where it has no row."""
        return anchor(table, self.row(method)) if self.cells(table, method) else f"table-{table}"


def _leader(view: _View) -> Line:
    n = int(view.ranked["n"].iloc[0])
    text = (
        f"{view.title}, with the best mean of {count(len(view.ranked), 'method')}: "
        f"{view.column} {view.score(view.best)}, {n} {'sample' if n == 1 else 'samples'}."
    )
    return Line(view.says(text), view.link("scores", view.best))


def _difference(view: _View) -> Line:
    others = view.ranked.iloc[1:]
    tied = others["tied"].astype(bool) | others["best"].astype(bool)
    compared = count(len(others), "other method")
    if others.empty:
        return Line(view.says("There is no other method to compare with."), "table-scores")
    if not tied.any():
        text = f"Yes: {view.title} differs significantly from {compared}"
    elif tied.all():
        text = f"No: {view.title} differs significantly from none of {compared}"
    else:
        text = (
            f"In part: {view.title} differs significantly from {int((~tied).sum())} of {compared}, "
            f"but not from {join([method_label(m) for m in others.loc[tied, 'method']])}"
        )
    return Line(view.says(f"{text} (5 % level)."), "table-scores")


def _cost(view: _View) -> Line:
    shown = ", ".join(f"{text} {head}" for head, text in view.cells("costs", view.best).items())
    return Line(
        view.says(f"One map by {view.title}: {shown or 'not on record'}."),
        view.link("costs", view.best),
    )


def _total(run: Run) -> Iterator[Line]:
    """The time of the whole run; the record may hold it by stage, or anything else."""
    given = run.totals.get("seconds")
    given = list(given.values()) if isinstance(given, Mapping) else [given]
    parts = [seconds for seconds in given if isinstance(seconds, int | float)]
    if parts and len(parts) == len(given):
        yield Line(f"The whole run: {sum(parts):,.3g} seconds.", "costs")


def _floor(view: _View) -> Line:
    if not view.score(stats.FLOOR):
        text = f"The run has no random control, so how much {view.column} means is open."
        return Line(view.says(text), "limits")
    text = (
        f"{view.column}: {view.score(stats.FLOOR)} for a random map, {view.score(view.best)} for "
        f"{view.title}; what lies between is what the metric sees."
    )
    return Line(view.says(text), view.link("scores", stats.FLOOR))


def _certified(run: Run) -> Line:
    none = "No certificates on record: its metrics were not tested on models with known answers."
    text = certificates.sentence(run)
    return Line(text, "certificates") if text else Line(none, "limits")
