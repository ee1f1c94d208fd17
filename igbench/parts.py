"""How does finished work survive?  Each shard is kept on disk as soon as it is done.

A shard is up to four files in one folder: `<key>.parquet` (rows), `<key>.curves.parquet`,
`<key>.safetensors` (maps), and `<key>.json` with samples, costs and the hashes of the others.  The
last is written last: a shard counts when it is there and every hash agrees.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from igbench import loop, store
from igbench.checks import InputError
from igbench.experiment import Advance, Experiment, Results
from igbench.rows import Point, Row, Status
from igbench.shards import Shard

log = logging.getLogger(__name__)

ROWS, CURVES, MAPS, SEAL = ".parquet", ".curves.parquet", ".safetensors", ".json"


class Damaged(Exception):  # noqa: N818  an answer, not an accident
    """A shard on disk is not what was written."""


def execute(
    experiment: Experiment, shard: Shard, folder: Path, advance: Advance = lambda text: None
) -> None:
    """Work a shard out and keep it.

    Raises:
        InputError: It cannot be written.
    """
    start = time.perf_counter()
    results = loop.run(experiment, "", advance, only=[shard.number])
    keep(folder, shard, results, time.perf_counter() - start)


def keep(folder: Path, shard: Shard, results: Results, seconds: float) -> None:
    """Write a shard, file by file, each complete or not at all.

    Raises:
        InputError: The system refuses.
    """
    files = {ROWS: _parquet(store.table(Row, results.rows))}
    if results.points:
        files[CURVES] = _parquet(store.table(Point, results.points))
    if results.maps:
        files[MAPS] = save(
            {
                f"{name}/{sample_id}": np.array(value, order="C")
                for name, maps in results.maps.items()
                for sample_id, value in maps.items()
            }
        )
    seal = {
        "shard": shard.as_dict(),
        "files": {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()},
        "samples": results.samples,
        "stages": results.stages,
        "seconds": seconds,
    }
    seal["hash"] = store.canonical_hash(seal)
    files[SEAL] = json.dumps(store.encode(seal), allow_nan=False).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in files.items():
            put(folder / f"{shard.key}{suffix}", content)
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


@dataclass
class Part:
    """A shard that was read back, or several of them joined.

    Attributes:
        rows: Columns of `Row`.
        points: Columns of `Point`.
        maps: Name to sample to map.
        samples: What is known of each sample.
        stages: Model rows and seconds by stage.
        seconds: Wall time.
    """

    rows: pa.Table
    points: pa.Table
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """Number of rows with a status."""
        return int(pc.sum(pc.equal(self.rows["status"], status)).as_py() or 0)

    def peak_memory(self) -> float:
        """Largest peak of any row in MiB; 0 where none was measured."""
        mine = self.rows.filter(pc.equal(self.rows["metric"], "peak_memory"))
        return float(pc.max(mine["value"]).as_py() or 0.0)


def done(folder: Path, shard: Shard) -> bool:
    """Whether the shard is on disk as it was written.

    Raises:
        Damaged: It is there, and is not.
    """
    return _seal(folder, shard) is not None


def _seal(folder: Path, shard: Shard) -> dict[str, Any] | None:
    path = folder / f"{shard.key}{SEAL}"
    try:
        seal = store.decode(json.loads(path.read_bytes()))
        told = seal.pop("hash")
        if told != store.canonical_hash(seal) or seal["shard"]["key"] != shard.key:
            raise Damaged(path.name)
        for suffix, digest in seal["files"].items():
            content = (folder / f"{shard.key}{suffix}").read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise Damaged(f"{shard.key}{suffix}")
    except FileNotFoundError as error:
        if path.exists():
            raise Damaged(f"{Path(error.filename).name} is missing") from error
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(path.name) from error
    return dict(seal)


def missing(folder: Path, shards: Iterable[Shard]) -> list[Shard]:
    """The shards that are still to be done; what is left of damaged ones is deleted."""
    left = []
    for shard in shards:
        try:
            if done(folder, shard):
                continue
        except Damaged as error:
            log.warning(
                "samples %d to %d are done again, their file is damaged: %s",
                shard.first,
                shard.last,
                error,
            )
            for suffix in (SEAL, ROWS, CURVES, MAPS):
                (folder / f"{shard.key}{suffix}").unlink(missing_ok=True)
        left.append(shard)
    return left


def count(folder: Path, shards: Sequence[Shard]) -> int:
    """How many of the shards are on disk; looks at nothing but names."""
    return sum((folder / f"{shard.key}{SEAL}").is_file() for shard in shards)


def seconds(folder: Path, shards: Iterable[Shard]) -> float:
    """Wall time that finished shards took."""
    seals = [json.loads((folder / f"{shard.key}{SEAL}").read_bytes()) for shard in shards]
    return float(sum(seal["seconds"] for seal in seals))


def joined(folder: Path, shards: Iterable[Shard], run_id: str) -> Part:
    """All shards as one, in the order given, under the name of a run.

    Raises:
        InputError: One is missing or damaged.
    """
    rows, points = [store.table(Row, [])], [store.table(Point, [])]
    whole = Part(rows[0], points[0])
    for shard in shards:
        try:
            seal = _seal(folder, shard)
        except Damaged as error:
            raise InputError(f"{folder / str(error)} is damaged; repeat the command.") from error
        if seal is None:
            raise InputError(f"{folder} lacks shard {shard.number}; repeat the command.")
        read = _reader(folder, shard)
        rows.append(pq.read_table(io.BytesIO(read(ROWS))))
        if CURVES in seal["files"]:
            points.append(pq.read_table(io.BytesIO(read(CURVES))))
        for name, value in (load(read(MAPS)) if MAPS in seal["files"] else {}).items():
            kind, _, sample_id = name.partition("/")
            whole.maps.setdefault(kind, {})[sample_id] = value
        costs = Results(stages=whole.stages)
        costs.extend(Results(stages=seal["stages"]))
        whole.samples += seal["samples"]
        whole.seconds += seal["seconds"]
    whole.rows, whole.points = _named(rows, run_id), _named(points, run_id)
    return whole


def _reader(folder: Path, shard: Shard) -> Callable[[str], bytes]:
    return lambda suffix: (folder / f"{shard.key}{suffix}").read_bytes()


def _named(tables: Sequence[pa.Table], run_id: str) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.set_column(0, "run", pa.array([run_id] * len(table), pa.string()))
