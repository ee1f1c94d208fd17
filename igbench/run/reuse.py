"""What of a run has another run found already?

A run that was stopped, or finished, before a metric changed or came along has the rows of all other
metrics.  They are copied as parts, and only what is missing is worked out.
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
from igbench.run import checkpoint
from igbench.run.shards import Shard, foundation
from igbench.schema import COSTS, Point, Row, Run

log = logging.getLogger(__name__)


def passport(shards: Sequence[Shard], curves: dict[str, list[str]]) -> dict[str, Any]:
    """What a finished run says of itself, so that others can use its rows."""
    return {
        "foundation": foundation(shards),
        "metrics": dict(shards[0].metrics) if shards else {},
        "curves": curves,
    }


def metrics_at_hand(home: Path, shards: Sequence[Shard]) -> tuple[str, ...]:
    """Names of the metrics that finished runs have; reads nothing but records."""
    wanted, names = dict(shards[0].metrics), list[str]()
    for run in _finished(home, foundation(shards)):
        names += [name for name in run.offers(wanted) if name not in names]
    return tuple(name for name in wanted if name in names)


def adopt(home: Path, folder: Path, key: str, shards: Sequence[Shard]) -> None:
    """Copy what other runs of an experiment have of these shards.

    Damaged parts of other runs are left alone.

    Args:
        home: Where the runs of the experiment are, stopped ones included.
        folder: Where the parts go.
        key: The foundation of the run that asks.
        shards: Those of its shards, and metrics of them, that are not there.
    """
    seals = checkpoint.index(*(p for p in sorted(home.glob(".*.partial/shards")) if p != folder))
    left = []
    for shard in shards:
        found, _ = checkpoint.parts_of(shard, seals)
        for kept in found:
            _copy(kept, folder)
        left.append(checkpoint.lacking(shard, found))
    for run in _finished(home, key):
        if not any(run.offers(dict(shard.metrics)) for shard in left):
            continue
        try:
            whole = run.read()
        except InputError as error:
            log.warning("rows of an earlier run are not used: %s", error)
            continue
        for i, shard in enumerate(left):
            offered = run.offers(dict(shard.metrics))
            if offered:
                own = shard.without(name for name, _ in shard.metrics if name not in offered)
                checkpoint.keep(folder, own, _cut(whole, own))
                left[i] = shard.without(offered)


def _copy(kept: checkpoint.Kept, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = kept.path.name.removesuffix(checkpoint.SEAL)
    for suffix in [*kept.seal["files"], checkpoint.SEAL]:  # the seal last
        checkpoint.put(folder / f"{stem}{suffix}", kept.read(suffix))


def _finished(home: Path, key: str) -> Iterator[Finished]:
    """Finished runs on a foundation, the newest first."""
    for folder, run in store.telling(home, key):
        found = Finished(folder, run)
        if found.passport.get("foundation") == key:
            yield found


@dataclass(frozen=True)
class Finished:
    """A finished run, as a source of parts.

    Attributes:
        folder: Where it is.
        run: Its record.
    """

    folder: Path
    run: Run

    @property
    def passport(self) -> dict[str, Any]:
        """What it says of itself, see `passport`; empty for records that have none."""
        return dict(self.run.environment.get("reuse") or {})

    def offers(self, wanted: dict[str, str]) -> list[str]:
        """Names of metrics that have the same key here."""
        mine = self.passport["metrics"]
        return [name for name, key in wanted.items() if mine.get(name) == key]

    def read(self) -> checkpoint.Part:
        """All that it found.

        Raises:
            InputError: A file of it is missing or damaged.
        """
        return checkpoint.Part(
            store.read_table(self.folder / store.SCORES_FILE, Row).replace_schema_metadata(None),
            store.read_table(self.folder / store.CURVES_FILE, Point).replace_schema_metadata(None),
            store.read_maps(self.folder),
            self.run.samples,
            self.run.totals["stages"],
            self.passport["curves"],
            self.run.totals["seconds"],
        )


def _cut(whole: checkpoint.Part, shard: Shard) -> checkpoint.Part:
    """The rows of a shard: its metrics, and what the run says of its samples."""
    ids, names = set(shard.sample_ids), {name for name, _ in shard.metrics}
    share = len(shard.sample_ids) / max(1, len(whole.samples))
    samples = pa.array(sorted(ids))
    mine = pc.is_in(whole.rows["sample_id"], samples)
    asked = pc.is_in(whole.rows["metric"], pa.array([*names, *COSTS]))
    stages = {
        name: {kind: value * share for kind, value in cost.items()}
        for name, cost in whole.stages.items()
        if not name.startswith("metric ") or set(name.removeprefix("metric ").split(", ")) <= names
    }
    return checkpoint.Part(
        whole.rows.filter(pc.and_(mine, asked)),
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
