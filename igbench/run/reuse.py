"""Reuse the rows of earlier runs for metrics that did not change.

A finished or interrupted run has the rows of all metrics that it evaluated.  They are copied as
saved shards, so that only new and changed metrics are evaluated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from igbench.errors import InputError
from igbench.records import store
from igbench.records.integrity import open_run
from igbench.run import checkpoint
from igbench.run.checkpoint import MANIFEST
from igbench.run.shards import Shard, foundation
from igbench.schema import COSTS, Run

log = logging.getLogger(__name__)


def cache_keys(shards: Sequence[Shard], curves: dict[str, list[str]]) -> dict[str, Any]:
    """The keys under which other runs can reuse the rows of a finished run."""
    return {
        "foundation": foundation(shards),
        "metrics": dict(shards[0].metrics) if shards else {},
        "curves": curves,
    }


def available_metrics(home: Path, shards: Sequence[Shard]) -> tuple[str, ...]:
    """Names of the metrics that finished runs have; reads only run.json files."""
    wanted, names = dict(shards[0].metrics), set[str]()
    for run in _finished(home, foundation(shards)):
        names.update(run.matching(wanted))
    return tuple(name for name in wanted if name in names)


def any_rows(home: Path, shards: Sequence[Shard]) -> bool:
    """Whether runs of an experiment, finished or not, have rows under the keys of these shards."""
    saved = (path.name.partition("-")[0] for path in home.glob(f".*.partial/shards/*{MANIFEST}"))
    keys = {shard.key for shard in shards}
    return any(key in keys for key in saved) or any(_finished(home, foundation(shards)))


def import_from(home: Path, folder: Path, key: str, shards: Sequence[Shard]) -> None:
    """Copy what other runs of an experiment have of these shards.

    Damaged shards of other runs are not touched.

    Args:
        home: The folder of the runs of the experiment, interrupted ones included.
        folder: Where the shards are saved.
        key: The foundation of the run that needs the rows.
        shards: Its missing shards, with their missing metrics.
    """
    others = (p for p in sorted(home.glob(".*.partial/shards")) if p != folder)
    manifests = checkpoint.index(*filter(_plain, others))
    left = []
    for shard in shards:
        saved, _ = checkpoint.find(shard, manifests)
        copied = [one for one in saved if _copy(one, folder)]
        left.append(checkpoint.remaining(shard, copied))
    for run in _finished(home, key):
        if not any(run.matching(dict(shard.metrics)) for shard in left):
            continue
        try:
            whole = run.read()
        except InputError as error:
            log.warning("rows of an earlier run are not used: %s", error)
            continue
        for i, shard in enumerate(left):
            names = run.matching(dict(shard.metrics))
            if names:
                left[i] = shard.without(names)
                own = shard.without(name for name, _ in left[i].metrics)
                checkpoint.save(folder, own, _select(whole, own))


def _plain(folder: Path) -> bool:
    """Whether a folder of shards of another run has no links; those that have are logged."""
    try:
        checkpoint.no_links(folder)
    except InputError as error:
        log.warning("shards of another run are not used: %s", error)
        return False
    return True


def _copy(saved: checkpoint.SavedShard, folder: Path) -> bool:
    """Copy the files of a saved shard; False if it went away, or was damaged, meanwhile."""
    try:
        files = {suffix: saved.read(suffix) for suffix in saved.manifest["files"]}
        files[checkpoint.MANIFEST] = saved.read(checkpoint.MANIFEST)  # the manifest last
    except InputError as error:
        log.warning("a shard of another run is not used: %s", error)
        return False
    folder.mkdir(parents=True, exist_ok=True)
    stem = saved.path.name.removesuffix(checkpoint.MANIFEST)
    for suffix, content in files.items():
        checkpoint.write_whole(folder / f"{stem}{suffix}", content)
    return True


def _finished(home: Path, key: str) -> Iterator[FinishedRun]:
    """Finished runs with a foundation, the newest first."""
    for folder, run in store.runs_mentioning(home, key):
        found = FinishedRun(folder, run)
        if found.keys.get("foundation") == key:
            yield found


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as a source of shards.

    Attributes:
        folder: Its folder.
        run: Its record.
    """

    folder: Path
    run: Run

    @property
    def keys(self) -> dict[str, Any]:
        """Its keys, see `cache_keys`; empty for records without any."""
        return dict(self.run.environment.get("reuse") or {})

    def matching(self, wanted: dict[str, str]) -> list[str]:
        """Names of the metrics that have the same key here."""
        return [name for name, key in wanted.items() if self.keys["metrics"].get(name) == key]

    def read(self) -> checkpoint.ShardResults:
        """All its results.

        Raises:
            InputError: One of its files is missing or damaged, or it has no hashes.
        """
        files = open_run(self.folder)
        if files.hashes is None:
            raise InputError(f"{self.folder} was written without hashes and cannot be verified.")
        return checkpoint.ShardResults(
            store.read_table(files, store.SCORES_FILE).replace_schema_metadata(None),
            store.read_table(files, store.CURVES_FILE).replace_schema_metadata(None),
            store.read_maps(files),
            self.run.samples,
            self.run.totals["stages"],
            self.keys["curves"],
            self.run.totals["seconds"],
        )


def _select(whole: checkpoint.ShardResults, shard: Shard) -> checkpoint.ShardResults:
    """The results of the samples and metrics of a shard, with its share of the costs."""
    ids, names = set(shard.sample_ids), {name for name, _ in shard.metrics}
    share = len(ids) / max(1, len(whole.samples))
    samples = pa.array(sorted(ids))
    of_samples = pc.is_in(whole.rows["sample_id"], samples)
    of_metrics = pc.is_in(whole.rows["metric"], pa.array([*names, *COSTS]))
    stages = {
        name: {kind: value * share for kind, value in cost.items()}
        for name, cost in whole.stages.items()
        if not name.startswith("metric ") or set(name.removeprefix("metric ").split(", ")) <= names
    }
    return checkpoint.ShardResults(
        whole.rows.filter(pc.and_(of_samples, of_metrics)),
        whole.points.filter(pc.is_in(whole.points["sample_id"], samples)),
        {
            name: {s: value for s, value in maps.items() if s in ids}
            for name, maps in whole.maps.items()
        },
        [s for s in whole.samples if s["sample_id"] in ids],
        stages,
        whole.curves,
        whole.seconds * share,
    )
