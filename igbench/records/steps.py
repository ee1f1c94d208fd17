"""Verdicts on the releases of a history, against the one before and the best earlier one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from igbench.files import refuse_links
from igbench.records import compare, listing, store
from igbench.records.compare import Comparison, identity
from igbench.records.history import (
    SHOWN,
    Cell,
    History,
    Release,
    definitions,
    points_of,
    questions_of,
    whole,
)
from igbench.records.settings import own_settings
from igbench.schema import COSTS, Change, Records


@dataclass(frozen=True)
class Step:
    """The verdicts on a release.

    Attributes:
        release: Its place.
        before: Place of the release that it is compared with.
        comparison: The verdicts.
    """

    release: int
    before: int
    comparison: Comparison

    def verdicts(self) -> dict[Cell, Change]:
        """Cell to the verdict on it; empty where the two are not comparable."""
        return {(c.model, c.method, c.metric): c for c in self.comparison.changes}


@own_settings()
def steps(history: History, *, every: bool = False) -> list[Step]:
    """The verdict on the newest release against the one before that answers the same question.

    It is compared with the best earlier release of each cell too (`Change.drift`): the best of
    those that are shown and of those that have the best mean of a cell.  Versions of packages, the
    device and the precision may differ, as that is what a history is about.

    Args:
        history: The history.
        every: Whether every other release that is shown is compared with the one before, too.

    Returns:
        Oldest first; without releases before which there is none of the same question.
    """
    final = len(history.releases) - 1
    rivals = _rivals(history, final)
    unread = len(_same_question(history, final)) - len(rivals)
    kept: dict[int, Records] = {}

    def records(place: int) -> Records:
        if place not in kept:
            kept[place] = _scores(history.releases[place].listed.folder)
        return kept[place]

    made = []
    for place in range(history.shown if every else final, final + 1):
        before = history.before(place)
        if before is None:
            continue
        last = place == final
        earlier = _judged([records(i) for i in rivals], history) if last else []
        found = compare.compare(
            records(before), records(place), across=(identity.ALL,), history=earlier,
            chosen_from=len(earlier) + unread if last else 0,
        )  # fmt: skip
        made.append(Step(place, before, found))
        kept = {i: one for i, one in kept.items() if i == place or i in rivals}
    return made


def _scores(folder: Path) -> Records:
    """A run without its curves and maps, which no verdict needs."""
    refuse_links(folder)
    return Records(store.read_run(folder), store.scores(folder), None, str(folder))


def _judged(found: Sequence[Records], history: History) -> list[Records]:
    """Runs with the scores that can have a best run, those with equal scores once.

    A repeated run is no further run to choose the best from, so no verdict changes.
    """
    directed = {
        name
        for name, spec in history.metrics.items()
        if spec.direction != "none" and math.isfinite(spec.min_effect)
    }
    distinct: dict[bytes, Records] = {}
    for one in found:
        scores = one.scores[one.scores["metric"].isin(directed)]
        if len(scores):
            columns = ["model", "method", "metric", "sample_id", "value", "status"]
            rows = pd.util.hash_pandas_object(scores[columns], index=False)
            distinct.setdefault(rows.to_numpy().tobytes(), replace(one, scores=scores))
    return list(distinct.values())


@own_settings()
def may_be_best(folders: Sequence[Path], new: Path) -> list[Path]:
    """Those of many earlier runs that a new run is to be compared with, besides the one before.

    All of up to `SHOWN` runs; of more the newest `SHOWN` and those that have the best mean of a
    cell.  Damaged ones are named and skipped.

    Args:
        folders: Folders of the earlier runs, oldest first.
        new: Folder of the new run.

    Raises:
        InputError: The new run cannot be read.
    """
    if len(folders) <= SHOWN:
        return list(folders)
    found = [*whole(listing.read(folders)), listing.look(new)]
    numbers, _ = questions_of(found)
    releases = [Release(one, "", number) for one, number in zip(found, numbers, strict=True)]
    final = len(releases) - 1
    specs, methods = definitions(found)
    points = points_of(releases, [m for m in specs if m not in COSTS], (), final + 1)
    means = History(
        "", tuple(releases), max(0, final - SHOWN), points, (), (), 0, specs, methods
    )  # fmt: skip
    return [releases[i].listed.folder for i in _rivals(means, final)]


def _same_question(history: History, place: int) -> set[int]:
    """Places of the earlier releases that answer the same question."""
    own = history.releases[place].question
    return {i for i in range(place) if history.releases[i].question == own}


def _rivals(history: History, place: int) -> list[int]:
    """Places of the earlier releases that may be the best: the shown ones, and the best means."""
    same = _same_question(history, place)
    found = {i for i in same if i >= history.shown}
    rows = history.points[history.points["release"].isin(same)]
    for (_, _, metric), cell in rows.groupby(["model", "method", "metric"]):
        direction = history.metrics[str(metric)].direction
        means = cell.dropna(subset=["mean"]).set_index("release")["mean"]
        if direction != "none" and len(means):
            found.add(int(means.idxmax() if direction == "higher" else means.idxmin()))
    return sorted(found)
