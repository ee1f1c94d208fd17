"""The scores of an experiment over its runs and baselines: means, intervals, what changed."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from igbench.errors import InputError, check_choice
from igbench.records import baselines, integrity, listing, query, stats, store, trend
from igbench.records.compare import identity
from igbench.records.listing import Listed
from igbench.records.settings import own_settings
from igbench.schema import COSTS, MethodSpec, MetricSpec, Records, Run

log = logging.getLogger(__name__)

SHOWN = 10
"""Releases with intervals and verdicts unless another number is asked for: the newest."""
POINT_COLUMNS = (
    "release", "model", "method", "metric", "line", "n", "n_undefined", "n_failed", "mean", "low",
    "high",
)  # fmt: skip
LABELLED = ("igbench", "captum", "torch")
"""Packages that name a release, where their versions differ."""

Cell = tuple[str, str, str]


@dataclass(frozen=True)
class Release:
    """A run in a history.

    Attributes:
        listed: The run.
        label: Its name in tables and figures.
        question: Number of the question that it answers: samples, model, target, output, seed and
            baseline.  Runs of different questions are not compared.
        changed: What differs from the run before, in words.
    """

    listed: Listed
    label: str
    question: int
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangePoint:
    """A change of the level of a cell.

    Attributes:
        cell: Model, method and metric.
        release: Place of the first release after it.
        before: Mean of the means of the releases back to the change point before.
        after: The same of those up to the next one.
    """

    cell: Cell
    release: int
    before: float
    after: float


@dataclass(frozen=True)
class History:
    """An experiment over its releases, oldest first.

    Attributes:
        experiment: Its name.
        releases: All of them.
        shown: Place of the first release that has intervals.
        points: Columns `POINT_COLUMNS`: a row for each release (its place) and cell; `line` numbers
            the releases of a cell that answer one question with one version of the metric.
        questions: What each question differs in from the newest one; "" for that.
        change_points: Those of all lines of enough releases.
        too_short: Releases of the longest line, where no line is long enough for change points.
        metrics: Definitions of the metrics.
        methods: Definitions of the methods.
    """

    experiment: str
    releases: tuple[Release, ...]
    shown: int
    points: pd.DataFrame
    questions: tuple[str, ...]
    change_points: tuple[ChangePoint, ...]
    too_short: int
    metrics: Mapping[str, MetricSpec]
    methods: Mapping[str, MethodSpec]

    def before(self, place: int) -> int | None:
        """Place of the release before that answers the same question; None for the first."""
        own = self.releases[place].question
        same = (i for i in range(place - 1, -1, -1) if self.releases[i].question == own)
        return next(same, None)


@own_settings()
def read(
    experiment: str,
    results_dir: Path,
    baselines_dir: Path | None = None,
    *,
    metrics: Collection[str] = (),
    methods: Collection[str] = (),
    label: str = "",
    last: int = SHOWN,
) -> History:
    """Read the runs of an experiment and its baselines; damaged ones are named and skipped.

    Args:
        experiment: Its name, or a folder of runs.
        results_dir: The folder of all experiments.
        baselines_dir: The folder of all baselines; those of the experiment are releases too, and
            name the runs of which they were made.
        metrics: Names; those that judge explanations if none.
        methods: Names; all if none.
        label: A column, package or dotted field (see `igbench.records.listing.Listed.field`) whose
            value names a release; by default its baseline, the versions that differ, or the date.
        last: Releases that have intervals, the newest; 0 for all.

    Raises:
        InputError: There are no runs that can be read, or a name is unknown.
    """
    found = _runs(experiment, results_dir, baselines_dir)
    if not found:
        raise InputError(f"no run of {experiment!r} in {results_dir} can be read.")
    return _history(found, metrics, methods, label, last)


def of_folders(folders: Sequence[Path]) -> History:
    """Read runs of one experiment, in the order in which they are given; all have intervals.

    Raises:
        InputError: One of them cannot be read.
    """
    return _history([listing.look(folder) for folder in folders], (), (), "", 0)


def _history(
    found: Sequence[Listed],
    metrics: Collection[str],
    methods: Collection[str],
    label: str,
    last: int,
) -> History:
    specs, known = definitions(found)
    _check("metric", metrics, specs)
    _check("method", methods, known)
    numbers, questions = questions_of(found)
    releases = [
        Release(run, text, number)
        for run, text, number in zip(found, _labels(found, label), numbers, strict=True)
    ]
    shown = max(0, len(releases) - last) if last else 0
    releases = [
        replace(one, changed=_changed(releases[i - 1], one) if i >= max(1, shown) else ())
        for i, one in enumerate(releases)
    ]
    wanted = list(metrics) or [m for m in specs if m not in COSTS]
    points = points_of(releases, wanted, methods, shown)
    changes = _change_points(points, specs)
    longest = (
        int(points.groupby(["model", "method", "metric", "line"]).size().max())
        if len(points)
        else 0
    )
    return History(
        found[-1].record["experiment"], tuple(releases), shown, points, questions, changes,
        longest if longest < trend.LEAST else 0, specs, known,
    )  # fmt: skip


def _check(what: str, given: Collection[str], known: Iterable[str]) -> None:
    for name in given:
        check_choice(what, name, sorted(known))


def _runs(experiment: str, results_dir: Path, baselines_dir: Path | None) -> list[Listed]:
    """Runs and baselines, each identifier once, oldest first."""
    kept = _baselines(experiment, baselines_dir) if baselines_dir else []
    try:
        folders = listing.places(experiment, results_dir)
    except InputError:
        if not kept:
            raise
        folders = []
    named = {one.record["id"]: one.name for one in kept}
    found = {one.record["id"]: one for one in kept}
    for one in whole(listing.read(folders)):
        own = one.record["id"]
        found[own] = replace(one, name=named.get(own, one.name))
    return sorted(found.values(), key=lambda one: (one.created, one.record["id"]))


def _baselines(experiment: str, root: Path) -> list[Listed]:
    folders = [Path(root) / name for name in baselines.names(root)]
    own = Path(experiment).name
    return [one for one in whole(listing.read(folders)) if one.record["experiment"] == own]


def whole(found: Iterable[Listed]) -> Iterator[Listed]:
    """Those whose scores are the ones that were written; the others are named."""
    for one in found:
        try:
            files = integrity.open_run(one.folder)
            if files.hashes is None:
                store.read_table(files, store.SCORES_FILE)
            else:
                files.read(store.SCORES_FILE)
        except InputError as error:
            log.warning("a damaged run is skipped: %s", error)
        else:
            yield one


def definitions(found: Sequence[Listed]) -> tuple[dict[str, MetricSpec], dict[str, MethodSpec]]:
    """Definitions of all metrics and methods, each from the newest run that has it."""
    specs: dict[str, MetricSpec] = dict(COSTS)
    methods: dict[str, MethodSpec] = {}
    for one in reversed(found):
        names, own = one.record["metrics"], one.record["methods"]
        if not (names.keys() <= specs.keys() and own.keys() <= methods.keys()):
            run = store.read_run(one.folder)
            specs = {**run.metrics, **specs}
            methods = {**run.methods, **methods}
    return specs, methods


# -- what differs ------------------------------------------------------------------------------


def _heading(one: Listed) -> Records:
    """A run for comparing its fields, without scores."""
    fields = {k: v for k, v in one.record.items() if k not in ("metrics", "methods")}
    return Records(Run(**fields, metrics={}, methods={}), None, None)


def questions_of(found: Sequence[Listed]) -> tuple[list[int], tuple[str, ...]]:
    """The number of each run's question, and how each differs from that of the newest run."""
    keys = [store.canonical_hash([_question(one.record), one.models]) for one in found]
    order = list(dict.fromkeys(keys))
    newest = found[-1]
    texts = []
    for key in order:
        one = found[len(keys) - 1 - keys[::-1].index(key)]
        apart = identity.differences(_heading(newest), _heading(one)) if one is not newest else []
        said = [d.text for d in apart if d.kind in ("question", "model")]
        models = f"model: {', '.join(newest.models)} -> {', '.join(one.models)}"
        texts.append("; ".join([*said, *([models] if one.models != newest.models else [])]))
    return [order.index(key) for key in keys], tuple(texts)


def _question(record: Mapping[str, Any]) -> Any:
    fields = record["comparability"]
    asked = {k: v for k, v in fields.items() if k != identity.METRIC_VERSIONS}
    return [asked, record["identity"].get("baseline")]


def _changed(before: Release, now: Release) -> tuple[str, ...]:
    """What differs between two neighbours, in words; versions of metrics among it."""
    old, new = _heading(before.listed), _heading(now.listed)
    found = [d.text for d in identity.differences(old, new)]
    versions = [
        r.run.comparability.get(identity.METRIC_VERSIONS, {}) for r in (old, new)
    ]  # fmt: skip
    found += [
        f"metrics.{name}: version {versions[0][name]} -> {versions[1][name]}"
        for name in versions[0]
        if name in versions[1] and versions[0][name] != versions[1][name]
    ]
    return tuple(found)


def _labels(found: Sequence[Listed], field: str) -> list[str]:
    """The name of each release."""
    if field:
        return [_field(one, field) for one in found]
    varying = [k for k in LABELLED if len({one.versions.get(k) for one in found}) > 1]
    dated = [f"{one.created:%d %b}" for one in found]
    if len(set(dated)) < len(dated):
        dated = [f"{one.created:%d %b %H:%M}" for one in found]
    by_version = [
        ", ".join(f"{k} {one.versions.get(k, 'unknown')}" for k in varying) for one in found
    ]
    plain = by_version if varying else dated
    return [one.name or text for one, text in zip(found, plain, strict=True)]


def _field(one: Listed, name: str) -> str:
    try:
        return str(one.field(name))
    except KeyError as error:
        raise InputError(
            f"--label {name}: the run {one.record['id']} has no such field; give a package as "
            "captum, or a dotted name as identity.device."
        ) from error


# -- numbers -----------------------------------------------------------------------------------


def points_of(
    releases: Sequence[Release], metrics: Collection[str], methods: Collection[str], shown: int
) -> pd.DataFrame:
    """The numbers of every cell of some releases, columns `POINT_COLUMNS`.

    Args:
        releases: Oldest first.
        metrics: Names.
        methods: Names; all if none.
        shown: Place of the first release whose means have intervals.
    """
    files = [one.listed.folder / store.SCORES_FILE for one in releases]
    cells = query.cells(files, metrics, methods).rename(columns={"file": "release"})
    values = [np.asarray(v, dtype=float) for v in cells["values"]]
    needed = [v if r >= shown else None for v, r in zip(values, cells["release"], strict=True)]
    ends = _intervals(needed)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        means = [float(v.mean()) if len(v) else math.nan for v in values]
    lines = _lines(releases, cells)
    made = cells.assign(
        line=lines,
        n=[len(v) for v in values],
        mean=means,
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
    )
    return made[list(POINT_COLUMNS)]


def _intervals(values: Sequence[np.ndarray | None]) -> list[tuple[float, float]]:
    """The interval of each sample, equal ones computed once; NaN for those not needed."""
    distinct = {v.tobytes(): v for v in values if v is not None}
    ends = dict(zip(distinct, stats.intervals([*distinct.values()]), strict=True))
    return [(math.nan, math.nan) if v is None else ends[v.tobytes()] for v in values]


def _lines(releases: Sequence[Release], cells: pd.DataFrame) -> list[int]:
    """A number for each question and version of a metric, counted for each metric."""
    known: dict[str, dict[tuple[int, str], int]] = {}
    found = []
    for place, metric in zip(cells["release"], cells["metric"], strict=True):
        one = releases[place]
        fields = one.listed.record["comparability"].get(identity.METRIC_VERSIONS, {})
        own = known.setdefault(metric, {})
        found.append(own.setdefault((one.question, str(fields.get(metric, ""))), len(own)))
    return found


def _change_points(
    points: pd.DataFrame, specs: Mapping[str, MetricSpec]
) -> tuple[ChangePoint, ...]:
    found = []
    grouped = points[points["n"] > 0].groupby(["model", "method", "metric", "line"], sort=False)
    for (model, method, metric, _), rows in grouped:
        means, places = rows["mean"].to_numpy(), rows["release"].to_numpy()
        if not np.isfinite(means).all():
            continue
        ends = trend.change_points(means, specs[str(metric)].min_effect)
        for start, at, end in zip([0, *ends], ends, [*ends[1:], len(means)], strict=False):
            found.append(
                ChangePoint(
                    (str(model), str(method), str(metric)), int(places[at]),
                    float(means[start:at].mean()), float(means[at:end].mean()),
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda c: c.release))
