"""How does finished work survive?  Each shard is kept on disk as soon as it is done.

A part holds some metrics of a shard in up to four files of one folder: `<stem>.parquet` (rows),
`<stem>.curves.parquet`, `<stem>.safetensors` (maps), and `<stem>.json` with metrics, samples, costs
and the hashes of the others.  The last is written last: a part counts when it is there and every
hash agrees.  A shard is done when its parts have all its metrics.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from igbench.errors import InputError
from igbench.evaluation import loop
from igbench.evaluation.experiment import Advance, Experiment
from igbench.evaluation.results import add_costs, add_owners
from igbench.records import store
from igbench.run.shards import Shard
from igbench.schema import COSTS, Point, Row, Status

log = logging.getLogger(__name__)

ROWS, CURVES, MAPS, SEAL = ".parquet", ".curves.parquet", ".safetensors", ".json"


class Damaged(Exception):  # noqa: N818  an answer, not an accident
    """A part on disk is not what was written: its seal, and what is wrong."""


def execute(
    experiment: Experiment, shard: Shard, folder: Path, advance: Advance = lambda text: None
) -> None:
    """Work out what a shard asks for and keep it.

    Raises:
        InputError: It cannot be written.
    """
    start = time.perf_counter()
    results = loop.run(shard.part_of(experiment), "", advance, only=[shard.number])
    part = Part(
        store.table(Row, results.rows),
        store.table(Point, results.points),
        results.maps,
        results.samples,
        results.stages,
        results.curves,
        time.perf_counter() - start,
    )
    keep(folder, shard, part)


@dataclass
class Part:
    """Metrics of a shard, or of several shards joined.

    Attributes:
        rows: Columns of `Row`.
        points: Columns of `Point`.
        maps: Name to sample to map.
        samples: What is known of each sample.
        stages: Model rows and seconds by stage.
        curves: Which metrics a curve comes from.
        seconds: Wall time.
    """

    rows: pa.Table
    points: pa.Table
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """Number of rows with a status."""
        return int(pc.sum(pc.equal(self.rows["status"], status)).as_py() or 0)

    def peak_memory(self) -> float:
        """Largest peak of any row in MiB; 0 where none was measured."""
        mine = self.rows.filter(pc.equal(self.rows["metric"], "peak_memory"))
        return float(pc.max(mine["value"]).as_py() or 0.0)


def keep(folder: Path, shard: Shard, part: Part) -> None:
    """Write a part, file by file, each complete or not at all.

    Raises:
        InputError: The system refuses.
    """
    files = {ROWS: _parquet(part.rows)}
    if len(part.points):
        files[CURVES] = _parquet(part.points)
    if part.maps:
        files[MAPS] = save(
            {
                f"{name}/{sample_id}": np.array(value, order="C")
                for name, maps in part.maps.items()
                for sample_id, value in maps.items()
            }
        )
    seal = {
        "key": shard.key,
        "metrics": dict(shard.metrics),
        "curves": part.curves,
        "files": {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()},
        "samples": part.samples,
        "stages": part.stages,
        "seconds": part.seconds,
    }
    seal["hash"] = store.canonical_hash(seal)
    files[SEAL] = json.dumps(store.encode(seal), allow_nan=False).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = shard.stem
        for suffix, content in files.items():
            put(folder / f"{stem}{suffix}", content)
    except OSError as error:
        raise InputError(
            f"cannot keep samples {shard.first} to {shard.last} in {folder}: {error.strerror}. "
            "What was done before is kept; make room and repeat the command to go on."
        ) from error


def put(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


@dataclass(frozen=True)
class Kept:
    """A part on disk.

    Attributes:
        path: Its seal.
        seal: What the seal says.
        metrics: Those of its metrics that a shard asks for.
    """

    path: Path
    seal: Mapping[str, Any]
    metrics: tuple[str, ...]

    def read(self, suffix: str) -> bytes:
        """The content of one of its files."""
        return self.path.with_name(self.path.name.removesuffix(SEAL) + suffix).read_bytes()


Index = Mapping[str, Sequence[Path]]


def index(*folders: Path) -> Index:
    """The seals in some folders, by the key of their shard."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{SEAL}")):
            found.setdefault(path.name.partition("-")[0], []).append(path)
    return found


def parts_of(shard: Shard, seals: Index, check: bool = True) -> tuple[list[Kept], list[Damaged]]:
    """What is on disk of a shard: parts that have no metric in common, and damaged ones.

    Args:
        shard: What is asked for.
        seals: From `index`.
        check: Compare the hashes of all files; if not, only the seals are read.
    """
    wanted = dict(shard.metrics)
    found: list[Kept] = []
    damaged: list[Damaged] = []
    for path in seals.get(shard.key, ()):
        try:
            seal = _seal(path, shard.key, check)
        except Damaged as error:
            damaged.append(error)
            continue
        mine = tuple(n for n, key in seal["metrics"].items() if wanted.get(n) == key)
        if mine:
            found.append(Kept(path, seal, mine))
            for name in mine:
                del wanted[name]
    return found, damaged


def lacking(shard: Shard, found: Iterable[Kept]) -> Shard:
    """A shard with the metrics that none of its parts has."""
    return shard.without(name for kept in found for name in kept.metrics)


def _seal(path: Path, key: str, check: bool) -> dict[str, Any]:
    try:
        seal = store.decode(json.loads(path.read_bytes()))
        told = seal.pop("hash")
        if told != store.canonical_hash(seal) or seal["key"] != key:
            raise Damaged(path, path.name)
        for suffix, digest in seal["files"].items() if check else ():
            own = path.with_name(path.name.removesuffix(SEAL) + suffix)
            if not own.is_file():
                raise Damaged(path, f"{own.name} is missing")
            if hashlib.sha256(own.read_bytes()).hexdigest() != digest:
                raise Damaged(path, own.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(path, path.name) from error
    return dict(seal)


def missing(folder: Path, shards: Iterable[Shard]) -> list[Shard]:
    """What is still to be done: shards with the metrics that they lack; damaged parts go away."""
    left, seals = [], index(folder)
    for shard in shards:
        found, damaged = parts_of(shard, seals)
        for seal, what in (error.args for error in damaged):
            log.warning(
                "samples %d to %d are done again, their file is damaged: %s",
                shard.first,
                shard.last,
                what,
            )
            delete(seal)
        rest = lacking(shard, found)
        if rest.metrics:
            left.append(rest)
    return left


def delete(seal: Path) -> None:
    """Delete a part."""
    stem = seal.name.removesuffix(SEAL)
    for suffix in (SEAL, ROWS, CURVES, MAPS):
        seal.with_name(stem + suffix).unlink(missing_ok=True)


def count(folder: Path, shards: Sequence[Shard]) -> int:
    """How many of the shards are on disk with all their metrics; trusts the seals."""
    seals = index(folder)
    kept = ((shard, *parts_of(shard, seals, check=False)) for shard in shards)
    return sum(not damaged and not lacking(shard, found).metrics for shard, found, damaged in kept)


def seconds(folder: Path, shards: Iterable[Shard]) -> float:
    """Wall time that what is on disk of some shards took."""
    seals = index(folder)
    found = (kept for shard in shards for kept in parts_of(shard, seals, check=False)[0])
    return float(sum(kept.seal["seconds"] for kept in found))


def joined(folder: Path, shards: Sequence[Shard], run_id: str, methods: Sequence[str] = ()) -> Part:
    """All shards as one, in the order given, under the name of a run.

    Rows are in the order of samples, then costs and metrics, then methods; points in the order of
    samples, then curves, then methods, then x.

    Args:
        folder: Where the parts are.
        shards: All of them.
        run_id: Name of the run.
        methods: Names, in order.

    Raises:
        InputError: One is missing or damaged.
    """
    whole = Part(store.table(Row, []), store.table(Point, []))
    rows, points, seals = [whole.rows], [whole.points], index(folder)
    for shard in shards:
        found, damaged = parts_of(shard, seals)
        for error in damaged:
            raise InputError(f"{folder / error.args[1]} is damaged; repeat the command.")
        if lacking(shard, found).metrics:
            raise InputError(f"{folder} lacks shard {shard.number}; repeat the command.")
        mine = [_take(whole, kept, first=number == 0) for number, kept in enumerate(found)]
        ids, metrics = list(shard.sample_ids), [*COSTS, *dict(shard.metrics)]
        order = {"sample_id": ids, "metric": metrics, "method": list(methods)}
        rows.append(_sorted(pa.concat_tables([r for r, _ in mine]), order))
        own = pa.concat_tables([p for _, p in mine])
        curves = sorted(pc.unique(own["curve"]).to_pylist())
        order = {"sample_id": ids, "curve": curves, "method": list(methods)}
        points.append(_sorted(own, order, last="x"))
    whole.rows, whole.points = _named(rows, run_id), _named(points, run_id)
    return whole


def _take(whole: Part, kept: Kept, *, first: bool) -> tuple[pa.Table, pa.Table]:
    """Rows and points of the metrics of one part, and from the first one what all parts have.

    Everything else goes into the whole.
    """
    seal = kept.seal
    table = pq.read_table(io.BytesIO(kept.read(ROWS)))
    names = [*kept.metrics, *(COSTS if first else ())]
    rows = table.filter(pc.is_in(table["metric"], pa.array(names)))
    points = store.table(Point, [])
    if CURVES in seal["files"]:
        table = pq.read_table(io.BytesIO(kept.read(CURVES)))
        curves = [
            curve
            for curve in pc.unique(table["curve"]).to_pylist()
            if set(kept.metrics) & set(seal["curves"].get(curve, ()))
            or (first and curve not in seal["curves"])
        ]
        points = table.filter(pc.is_in(table["curve"], pa.array(curves, pa.string())))
    add_costs(whole.stages, seal["stages"])
    add_owners(whole.curves, {c: set(m) & set(kept.metrics) for c, m in seal["curves"].items()})
    whole.seconds += seal["seconds"]
    if first:
        whole.samples += seal["samples"]
    for name, value in (load(kept.read(MAPS)) if MAPS in seal["files"] else {}).items():
        kind, _, sample_id = name.partition("/")
        whole.maps.setdefault(kind, {})[sample_id] = value
    return rows, points


def _sorted(table: pa.Table, orders: Mapping[str, Sequence[str]], last: str = "") -> pa.Table:
    """Rows by the places of their values in lists; values that are in none come last.

    Args:
        table: Any.
        orders: Columns, the most important first, and the order of their values.
        last: A column of numbers that decides at last.
    """
    places = [
        np.asarray(pc.fill_null(pc.index_in(table[c], pa.array(order, pa.string())), len(order)))
        for c, order in orders.items()
    ]
    numbers = [np.asarray(table[last])] if last else []
    return table.take(np.lexsort([*numbers, *reversed(places)]))


def _named(tables: Sequence[pa.Table], run_id: str) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.set_column(0, "run", pa.array([run_id] * len(table), pa.string()))
