"""What of a run has another run found already?

A run that was stopped, or finished, before a metric changed or came along has the rows of all other
metrics.  They are copied as parts, and only what is missing is worked out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from igbench import parts, store
from igbench.checks import InputError
from igbench.rows import COSTS
from igbench.shards import Shard, foundation

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
    for run in _finished(home, shards):
        names += [name for name in run.offers(wanted) if name not in names]
    return tuple(name for name in wanted if name in names)


def adopt(home: Path, folder: Path, shards: Sequence[Shard]) -> None:
    """Copy what other runs of an experiment have of these shards.

    Args:
        home: Where the runs of the experiment are, stopped ones included.
        folder: Where the parts go.
        shards: What is asked for.
    """
    others = [p for p in sorted(home.glob(".*.partial/shards")) if p != folder]
    mine, seals = parts.index(folder), parts.index(*others)
    for shard in shards:
        for kept in _sound(_lacking(shard, mine), seals):
            _copy(kept, folder)
    for run in _finished(home, shards):
        seals = parts.index(folder)
        for shard in shards:
            lacking = _lacking(shard, seals)
            offered = run.offers(dict(lacking.metrics))
            if not offered:
                continue
            own = lacking.without(n for n, _ in lacking.metrics if n not in offered)
            try:
                part = run.part(own)
            except InputError as error:
                log.warning("rows of an earlier run are not used: %s", error)
                break
            parts.keep(folder, own, part)


def _lacking(shard: Shard, seals: parts.Index) -> Shard:
    found = _sound(shard, seals)
    return shard.without(name for kept in found for name in kept.metrics)


def _sound(shard: Shard, seals: parts.Index) -> list[parts.Kept]:
    """What can be used; damaged parts of other runs are left alone."""
    try:
        return parts.parts_of(shard, seals)
    except (parts.Damaged, OSError):
        return []


def _copy(kept: parts.Kept, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = kept.path.name.removesuffix(parts.SEAL)
    for suffix in [*kept.seal["files"], parts.SEAL]:  # the seal last
        parts.put(folder / f"{stem}{suffix}", kept.read(suffix))


def _finished(home: Path, shards: Sequence[Shard]) -> Iterator[Finished]:
    """Finished runs on the same foundation, the newest first."""
    key = foundation(shards)
    for folder in reversed(store.runs(home)):
        text = (folder / store.RUN_FILE).read_text(encoding="utf-8", errors="replace")
        if key not in text:
            continue
        try:
            record = store.decode(json.loads(text))
            told = record["environment"]["reuse"]
            if told["foundation"] == key:
                yield Finished(folder, record, told["metrics"], told["curves"])
        except (ValueError, KeyError, TypeError):
            log.warning("%s is damaged; its rows are not used", folder / store.RUN_FILE)


@dataclass(frozen=True)
class Finished:
    """A finished run, as a source of parts.

    Attributes:
        folder: Where it is.
        record: Content of its record.
        metrics: Name and key of its metrics.
        curves: Which metrics a curve comes from.
    """

    folder: Path
    record: dict[str, Any]
    metrics: dict[str, str]
    curves: dict[str, list[str]]

    def offers(self, wanted: dict[str, str]) -> list[str]:
        """Names of metrics that have the same key here."""
        return [name for name, key in wanted.items() if self.metrics.get(name) == key]

    @cached_property
    def whole(self) -> parts.Part:
        """All that it found."""
        records = store.read(self.folder)  # raises InputError if a file of it is damaged
        rows, points = (
            pq.read_table(self.folder / name).replace_schema_metadata(None)
            for name in (store.SCORES_FILE, store.CURVES_FILE)
        )
        maps: dict[str, dict[str, np.ndarray]] = {k: dict(v) for k, v in records.maps.items()}
        totals = self.record["totals"]
        return parts.Part(
            rows,
            points,
            maps,
            self.record["samples"],
            totals["stages"],
            self.curves,
            totals["seconds"],
        )

    def part(self, shard: Shard) -> parts.Part:
        """The rows of a shard: its metrics, and what the run says of its samples."""
        ids, names = set(shard.sample_ids), {name for name, _ in shard.metrics}
        whole, share = self.whole, len(shard.sample_ids) / max(1, len(self.whole.samples))
        samples = pa.array(sorted(ids))
        mine = pc.is_in(whole.rows["sample_id"], samples)
        asked = pc.is_in(whole.rows["metric"], pa.array([*names, *COSTS]))
        stages = {
            name: {kind: value * share for kind, value in cost.items()}
            for name, cost in whole.stages.items()
            if not name.startswith("metric ")
            or set(name.removeprefix("metric ").split(", ")) <= names
        }
        return parts.Part(
            whole.rows.filter(pc.and_(mine, asked)),
            whole.points.filter(pc.is_in(whole.points["sample_id"], samples)),
            {
                name: {s: value for s, value in maps.items() if s in ids}
                for name, maps in whole.maps.items()
            },
            [s for s in whole.samples if s["sample_id"] in ids],
            stages,
            self.curves,
            whole.seconds * share,
        )
