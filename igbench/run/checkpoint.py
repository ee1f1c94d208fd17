"""Save finished shards on disk, and join them into one set of results.

A saved shard holds some metrics of a shard in up to four files: `<stem>.parquet` (rows),
`<stem>.curves.parquet`, `<stem>.safetensors` (maps), and the manifest `<stem>.json` with metrics,
samples, costs, the hashes of the other files and, at its end, its own.  The manifest is written
last: a saved shard is valid if the manifest exists and every hash agrees.  A shard is finished when
its saved shards have all its metrics.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import numpy as safetensors

from igbench.errors import InputError
from igbench.evaluation import loop
from igbench.evaluation.experiment import Advance, Experiment
from igbench.evaluation.results import add_costs, add_owners
from igbench.files import refuse_link, refuse_links, write_whole
from igbench.records import integrity, store
from igbench.records.integrity import digest
from igbench.run.shards import Shard
from igbench.schema import COSTS, Point, Row

log = logging.getLogger(__name__)

ROWS, CURVES, MAPS, MANIFEST = ".parquet", ".curves.parquet", ".safetensors", ".json"


@dataclass
class ShardResults:
    """Results of a shard, or of several shards joined, as Arrow tables.

    Attributes:
        rows: Columns of `Row`.
        points: Columns of `Point`.
        maps: Name to sample to map.
        samples: Identifier, label, target, output and status of each sample.
        stages: Model rows and seconds by stage.
        curves: Curve to the metrics that it comes from.
        seconds: Wall time.
    """

    rows: pa.Table
    points: pa.Table
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class SavedShard:
    """Metrics of a shard on disk.

    Attributes:
        path: Its manifest.
        manifest: The content of the manifest.
        metrics: Those of its metrics that are wanted.
    """

    path: Path
    manifest: Mapping[str, Any]
    metrics: tuple[str, ...]

    def read(self, suffix: str) -> bytes:
        """The content of one of its files, verified.

        Raises:
            InputError: It is missing or damaged.
        """
        path = _sibling(self.path, suffix)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} is damaged ({error.strerror}); run the same command again."
            ) from error
        wanted = self.manifest["files"].get(suffix)
        good = integrity.signed(content) if suffix == MANIFEST else digest(content) == wanted
        if not good:
            raise InputError(
                f"{path} is damaged ({integrity.CHANGED}); run the same command again."
            )
        return content


@dataclass(frozen=True)
class DamagedShard:
    """A saved shard whose files are not what was written.

    Attributes:
        path: Its manifest.
        reason: The damaged or missing file.
    """

    path: Path
    reason: str


def execute(
    experiment: Experiment,
    shard: Shard,
    folder: Path,
    advance: Advance = lambda stage, samples: None,
) -> None:
    """Evaluate the metrics of a shard and save the results.

    Raises:
        InputError: The results cannot be written.
    """
    start = time.perf_counter()
    results = loop.run(shard.part_of(experiment), "", advance, only=[shard.number])
    save(
        folder,
        shard,
        ShardResults(
            store.table(Row, results.rows),
            store.table(Point, results.points),
            results.maps,
            results.samples,
            results.stages,
            results.curves,
            time.perf_counter() - start,
        ),
    )


def save(folder: Path, shard: Shard, results: ShardResults) -> None:
    """Write the results of a shard, file by file, each complete or not at all.

    Raises:
        InputError: The files cannot be written.
    """
    files = {ROWS: store.parquet(results.rows)}
    if len(results.points):
        files[CURVES] = store.parquet(results.points)
    if results.maps:
        files[MAPS] = safetensors.save(
            {
                f"{name}/{sample_id}": np.array(value, order="C")
                for name, maps in results.maps.items()
                for sample_id, value in maps.items()
            }
        )
    manifest = {
        "key": shard.key,
        "metrics": dict(shard.metrics),
        "curves": results.curves,
        "files": {suffix: digest(content) for suffix, content in files.items()},
        "samples": results.samples,
        "stages": results.stages,
        "seconds": results.seconds,
    }
    text = json.dumps(store.encode(manifest), allow_nan=False)
    files[MANIFEST] = integrity.sign(text.encode())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in files.items():
            write_whole(folder / f"{shard.stem}{suffix}", content)
    except OSError as error:
        raise InputError(
            f"cannot save samples {shard.first} to {shard.last} in {folder}: {error.strerror}. "
            "Earlier shards are saved; free some space and run the same command again."
        ) from error


def _sibling(manifest: Path, suffix: str) -> Path:
    """The path of another file of the same saved shard."""
    return manifest.with_name(manifest.name.removesuffix(MANIFEST) + suffix)


Index = Mapping[str, Sequence[Path]]
"""Key of a shard to the manifests of its saved shards."""


def index(*folders: Path) -> Index:
    """The manifests in some folders, by the key of their shard.

    Raises:
        InputError: A folder, the one that it is in, or anything in it is a link.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        no_links(folder)
        for path in sorted(folder.glob(f"*{MANIFEST}")):
            found.setdefault(path.name.partition("-")[0], []).append(path)
    return found


def no_links(folder: Path) -> None:
    """Refuse a folder of shards that is a link, as may be the one that it is in, or that has one.

    Raises:
        InputError: There is a link.
    """
    refuse_link(folder.parent)
    refuse_link(folder)
    refuse_links(folder)


def find(
    shard: Shard, manifests: Index, check: bool = True
) -> tuple[list[SavedShard], list[DamagedShard]]:
    """Find what is on disk of a shard: saved shards without a common metric, and damaged ones.

    Args:
        shard: The wanted metrics and samples.
        manifests: From `index`.
        check: Compare the hashes of all files; otherwise only the manifests are read.
    """
    wanted = dict(shard.metrics)
    saved: list[SavedShard] = []
    damaged: list[DamagedShard] = []
    for path in manifests.get(shard.key, ()):
        manifest = _read_manifest(path, shard.key, check)
        if isinstance(manifest, DamagedShard):
            damaged.append(manifest)
            continue
        mine = tuple(n for n, key in manifest["metrics"].items() if wanted.get(n) == key)
        if mine:
            saved.append(SavedShard(path, manifest, mine))
            for name in mine:
                del wanted[name]
    return saved, damaged


def remaining(shard: Shard, saved: Iterable[SavedShard]) -> Shard:
    """The shard with the metrics that are not saved."""
    return shard.without(name for one in saved for name in one.metrics)


def _read_manifest(path: Path, key: str, check: bool) -> dict[str, Any] | DamagedShard:
    try:
        content = path.read_bytes()
        manifest = dict(store.decode(json.loads(content)))
        if not integrity.signed(content) or manifest["key"] != key:
            return DamagedShard(path, path.name)
        for suffix, wanted in manifest["files"].items() if check else ():
            file = _sibling(path, suffix)
            if not file.is_file():
                return DamagedShard(path, f"{file.name} is missing")
            if digest(file.read_bytes()) != wanted:
                return DamagedShard(path, file.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DamagedShard(path, path.name)
    return manifest


def verify(folder: Path) -> tuple[int, list[DamagedShard]]:
    """The number of saved shards in a folder that are as written, and those that are not."""
    found = [
        _read_manifest(path, key, check=True)
        for key, paths in index(folder).items()
        for path in paths
    ]
    damaged = [one for one in found if isinstance(one, DamagedShard)]
    return len(found) - len(damaged), damaged


def missing(folder: Path, shards: Iterable[Shard]) -> list[Shard]:
    """The shards that are not finished, with the metrics they lack; deletes damaged files.

    Raises:
        InputError: A folder is in the place of a file.
    """
    left, manifests = [], index(folder)
    for shard in shards:
        saved, damaged = find(shard, manifests)
        for one in damaged:
            log.warning(
                "samples %d to %d are evaluated again because a file is damaged: %s",
                shard.first,
                shard.last,
                one.reason,
            )
            for suffix in (MANIFEST, ROWS, CURVES, MAPS):
                _delete(_sibling(one.path, suffix))
        rest = remaining(shard, saved)
        if rest.metrics:
            left.append(rest)
    return left


def _delete(path: Path) -> None:
    """Delete a file of a shard; what is in a folder of its name is nobody's to delete."""
    if path.is_dir() and not path.is_symlink():
        raise InputError(
            f"{path} is a folder in the place of a file; move it away and run the same command "
            "again."
        )
    path.unlink(missing_ok=True)


def count(folder: Path, shards: Sequence[Shard]) -> int:
    """Number of finished shards; trusts the manifests."""
    return len(shards) - len(incomplete(folder, shards))


def incomplete(folder: Path, shards: Iterable[Shard]) -> list[Shard]:
    """The shards that are not on disk, with the metrics that they lack; trusts the manifests."""
    left, manifests = [], index(folder)
    for shard in shards:
        saved, damaged = find(shard, manifests, check=False)
        rest = remaining(shard, saved)
        if damaged or rest.metrics:
            left.append(rest)
    return left


def seconds(folder: Path, shards: Iterable[Shard]) -> float:
    """Wall time of everything that is saved of some shards."""
    manifests = index(folder)
    saved = (one for shard in shards for one in find(shard, manifests, check=False)[0])
    return float(sum(one.manifest["seconds"] for one in saved))


def join(
    folder: Path, shards: Sequence[Shard], run_id: str, methods: Sequence[str] = ()
) -> ShardResults:
    """Join all shards, in the given order, under the identifier of a run.

    Rows are in the order of samples, then costs and metrics, then methods; points in the order of
    samples, then curves, then methods, then x.

    Args:
        folder: The folder of the saved shards.
        shards: All shards of the run.
        run_id: Identifier of the run.
        methods: Names of the methods, in order.

    Raises:
        InputError: A shard is missing or damaged.
    """
    whole = ShardResults(store.table(Row, []), store.table(Point, []))
    rows, points, manifests = [whole.rows], [whole.points], index(folder)
    for shard in shards:
        saved, damaged = find(
            shard, manifests, check=False
        )  # each file is verified when it is read
        if damaged:
            raise InputError(
                f"{folder / damaged[0].reason} is damaged; run the same command again."
            )
        if remaining(shard, saved).metrics:
            raise InputError(f"{folder} lacks shard {shard.number}; run the same command again.")
        own = [_take(whole, one, first=number == 0) for number, one in enumerate(saved)]
        ids, metrics = list(shard.sample_ids), [*COSTS, *dict(shard.metrics)]
        order = {"sample_id": ids, "metric": metrics, "method": list(methods)}
        rows.append(_sorted(pa.concat_tables([r for r, _ in own]), order))
        own_points = pa.concat_tables([p for _, p in own])
        curves = sorted(pc.unique(own_points["curve"]).to_pylist())
        order = {"sample_id": ids, "curve": curves, "method": list(methods)}
        points.append(_sorted(own_points, order, last="x"))
    whole.rows, whole.points = _named(rows, run_id), _named(points, run_id)
    return whole


def _take(whole: ShardResults, saved: SavedShard, *, first: bool) -> tuple[pa.Table, pa.Table]:
    """Rows and points of the wanted metrics of a saved shard; all else is added to `whole`.

    Samples, costs of methods, and curves that belong to no metric are the same in all saved shards
    of a shard and are taken from the first one.
    """
    manifest = saved.manifest
    table = pq.read_table(io.BytesIO(saved.read(ROWS)))
    names = [*saved.metrics, *(COSTS if first else ())]
    rows = table.filter(pc.is_in(table["metric"], pa.array(names)))
    points = store.table(Point, [])
    if CURVES in manifest["files"]:
        table = pq.read_table(io.BytesIO(saved.read(CURVES)))
        curves = [
            curve
            for curve in pc.unique(table["curve"]).to_pylist()
            if set(saved.metrics) & set(manifest["curves"].get(curve, ()))
            or (first and curve not in manifest["curves"])
        ]
        points = table.filter(pc.is_in(table["curve"], pa.array(curves, pa.string())))
    add_costs(whole.stages, manifest["stages"])
    owners = {curve: set(m) & set(saved.metrics) for curve, m in manifest["curves"].items()}
    add_owners(whole.curves, owners)
    whole.seconds += manifest["seconds"]
    if first:
        whole.samples += manifest["samples"]
    maps = safetensors.load(saved.read(MAPS)) if MAPS in manifest["files"] else {}
    for name, value in maps.items():
        kind, _, sample_id = name.partition("/")
        whole.maps.setdefault(kind, {})[sample_id] = value
    return rows, points


def _sorted(table: pa.Table, orders: Mapping[str, Sequence[str]], last: str = "") -> pa.Table:
    """Sort rows by the position of their values in given lists; other values come last.

    Args:
        table: A table with all named columns.
        orders: Column to the order of its values; the most important column first.
        last: A column of numbers that breaks ties.
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
