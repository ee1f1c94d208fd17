"""Write runs to disk, read them back, and find them.

A run is one folder.  It is written beside its final place and renamed, so that no reader sees half
of it.  `results/README.md` is the dictionary of its files and columns.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from igbench.errors import InputError, suggestion
from igbench.files import check_file, check_name, refuse_links
from igbench.records import checked, features, integrity, sheets, typed
from igbench.records.integrity import RunFiles, open_run, readable
from igbench.records.settings import own_settings
from igbench.records.specs import shown
from igbench.schema import MethodSpec, MetricSpec, Point, Records, Row, Run

log = logging.getLogger(__name__)

RUN_FILE = integrity.RUN_FILE
SCORES_FILE = "scores.parquet"
CURVES_FILE = "curves.parquet"
SUMMARY_FILE = "summary.csv"
MAPS_FOLDER = integrity.MAPS_FOLDER
METADATA_KEY = b"igbench.run"
SUMMARY_TEXTS = ("model", "method", "metric", "reason")
"""Columns of text of the summary."""

_TYPES = {float: pa.float64(), int: pa.int64()}
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TAG = "$float"
_STAMP = "%Y%m%d-%H%M%S"
_SUMMARISED = [
    "model", "method", "metric", "sample_id", "value", "status", "reason", "std_error",
]  # fmt: skip
_RENAMED = {
    "identity": {"rows": "batch_size", "samples_at_once": "shard_size"},
    "environment": {"engine": "executor"},
}
"""Former names of entries of a run."""
_ID = re.compile(r"(\d{8}-\d{6})-[0-9a-f]{8}")


@own_settings()
def records(run: Run, rows: Sequence[Row], points: Sequence[Point] = ()) -> Records:
    """Records of a run in memory, with the same columns and types as `read` returns."""
    return Records(run, table(Row, rows).to_pandas(), table(Point, points).to_pandas())


@own_settings()
def write(
    folder: Path,
    run: Run,
    rows: Sequence[Row] | pa.Table,
    points: Sequence[Point] | pa.Table = (),
    maps: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    *,
    under: Path | None = None,
) -> Path:
    """Write a run; the folder appears complete or not at all.

    Args:
        folder: Where the run goes, usually `results_dir / run.experiment / run.id`.
        run: Its record; plain values only (dictionaries, lists, text, numbers).
        rows: Scores and costs, as rows or as a table from `table`.
        points: Curves, likewise.
        maps: File name to tensor name to array, for `attributions/<file name>.safetensors`.
        under: The folder where it is built before it is moved into place, and where a killed
            process leaves its files; the parent of `folder` by default.

    Returns:
        The folder.

    Raises:
        InputError: The folder exists and is not empty, cannot be written, or the run or a map has a
            name that cannot be that of a file.
    """
    place(Path(), run)
    for name in maps or {}:
        check_name("attribution", name)
    write_folder(
        folder,
        lambda place: _fill(place, run, rows, points, maps or {}),
        under=under,
        advice=f"Finished shards are saved; {ADVICE}",
    )
    return Path(folder)


def place(results_dir: Path, run: Run) -> Path:
    """The folder of a run in a folder of results, which it never leaves.

    Raises:
        InputError: The name of the experiment or the identifier cannot be that of a folder.
    """
    return Path(results_dir) / check_name("name", run.experiment) / check_name("run", run.id)


ADVICE = "free some space and run the same command again."
"""What to do when a folder cannot be written."""


def write_folder(
    folder: Path,
    fill: Callable[[Path], None],
    *,
    under: Path | None = None,
    advice: str = ADVICE.capitalize(),
) -> None:
    """Write a folder that appears complete or not at all.

    Args:
        folder: Where it goes.
        fill: Writes the files into an empty folder.
        under: The folder where it is built before it is moved into place, and where a killed
            process leaves its files; the parent of `folder` by default.
        advice: What to do where that fails.

    Raises:
        InputError: The folder exists and is not empty, or cannot be written.
    """
    folder = Path(folder)
    writable(folder.parent)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} exists; a run is never overwritten. Choose a new id.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = (under or folder.parent) / f".{folder.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir()
        fill(partial)
        _sync([*sorted(partial.rglob("*")), partial])
        partial.replace(folder)
        _sync([folder.parent])
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}. {advice}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(paths: Sequence[Path]) -> None:
    """Flush files and folders to disk, because the shards of a run are deleted after it."""
    for path in paths if os.name == "posix" else ():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by the file system
                raise
        finally:
            os.close(descriptor)


def _fill(
    folder: Path,
    run: Run,
    rows: Sequence[Row] | pa.Table,
    points: Sequence[Point] | pa.Table,
    maps: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    content = encode(run.as_dict())
    fill(folder, content, _files(content, run, rows, points, maps))


def _files(
    content: Mapping[str, Any],
    run: Run,
    rows: Sequence[Row] | pa.Table,
    points: Sequence[Point] | pa.Table,
    maps: Mapping[str, Mapping[str, np.ndarray]],
) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file besides the record, one in memory at a time."""
    text = as_bytes(_json(content))
    scores = table(Row, rows)
    for name, part in ((SCORES_FILE, scores), (CURVES_FILE, table(Point, points))):
        yield name, parquet(part.replace_schema_metadata({METADATA_KEY: text}))
    needed = scores.select(_SUMMARISED).to_pandas()
    from igbench.records import stats

    summary = stats.summarise(needed, run.metrics, methods=run.methods)
    lines = io.StringIO()
    sheets.write(summary, lines, SUMMARY_TEXTS)
    yield SUMMARY_FILE, lines.getvalue().encode()
    for name, tensors in maps.items():
        plain = {key: np.array(value, order="C") for key, value in tensors.items()}
        yield f"{MAPS_FOLDER}/{name}.safetensors", save(plain)


def fill(folder: Path, content: Mapping[str, Any], files: Iterable[tuple[str, bytes]]) -> None:
    """Write the files of a run into an empty folder, and its record with their hashes.

    Args:
        folder: The folder, as `write_folder` hands it out.
        content: The fields of the record, encoded by `encode`.
        files: Path in the folder and content of all others.

    Raises:
        InputError: What is written could not be read back.
    """
    with readable(folder / RUN_FILE):
        checked.run(decode(content))
    hashes = {}
    for name, whole in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(whole)
        hashes[name] = integrity.digest(whole)
    record = integrity.sign(as_bytes(_json({**content, "files": hashes})))
    (folder / RUN_FILE).write_bytes(record)


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def parquet(content: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file, with checksums of its pages."""
    sink = io.BytesIO()  # Arrow takes no path that is not UTF-8
    pq.write_table(content, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def table(
    kind: type[Row] | type[Point], rows: Sequence[Row] | Sequence[Point] | pa.Table
) -> pa.Table:
    """Rows as an Arrow table with the columns and types of the files; tables are returned as is."""
    if isinstance(rows, pa.Table):
        return rows
    hints = get_type_hints(kind)
    types = {name: _TYPES.get(hints[name], pa.string()) for name in kind._fields}
    columns = zip(*rows, strict=True) if rows else ((),) * len(types)
    arrays = [_array(c, t) for c, t in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, schema=pa.schema(list(types.items())))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column; what is no text, as in names of files, is escaped."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([as_bytes(value).decode() for value in values], kind)


@own_settings()
def read(folder: Path) -> Records:
    """Read a run back as it was written, NaN and infinities included.

    Raises:
        InputError: The folder does not exist, is not a run, is damaged, or has another schema
            version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; give the folder of a run, which has a {RUN_FILE}."
        )
    if not (folder / RUN_FILE).is_file():
        raise InputError(f"{folder} is not a run: it has no {RUN_FILE}. Give the folder of a run.")
    refuse_links(folder)
    files = open_run(folder)
    run = _described(files)
    _warn_unverified(files)
    found = Records(
        run=run,
        scores=_frame(read_table(files, SCORES_FILE)),
        curves=_frame(read_table(files, CURVES_FILE)),
        folder=str(folder),
        maps=read_maps(files),
    )
    with readable(folder / RUN_FILE):
        features.check_maps(run.samples, found.maps)
    return found


def _warn_unverified(files: RunFiles) -> None:
    if files.hashes is None:
        log.warning(
            "%s was written without hashes, so that damage to it cannot be seen", files.folder
        )


def scores(folder: Path) -> pd.DataFrame:
    """The scores and costs of a run, as `read` returns them.

    Raises:
        InputError: The file is missing or damaged.
    """
    return _frame(read_table(open_run(folder), SCORES_FILE))


def read_run(folder: Path) -> Run:
    """Read the description of a run alone.

    Raises:
        InputError: It is missing, damaged, or of another schema version.
    """
    return _read_run(Path(folder) / RUN_FILE)


@own_settings()
def read_summary(folder: Path) -> pd.DataFrame:
    """Read the summary of a run, with the columns of `igbench.records.stats.summarise`.

    Older files have no shares, which are NaN then.

    Raises:
        InputError: It is missing or damaged.
    """
    source = io.BytesIO(_summary(Path(folder)))
    texts: dict[Any, Any] = dict.fromkeys(SUMMARY_TEXTS, str)
    shares = ("share", "share_low", "share_high")
    numbers = ("mean", "low", "high", "median", "std", "mc_error", *shares)
    empty = {name: [""] for name in numbers}
    with readable(Path(folder) / SUMMARY_FILE):
        from igbench.records import stats

        found = pd.read_csv(source, dtype=texts, keep_default_na=False, na_values=empty)
        typed.summary(found, stats.SUMMARY_COLUMNS, shares)
        found = found.assign(**{name: found[name].map(sheets.unguard) for name in SUMMARY_TEXTS})
    return found.assign(**{name: math.nan for name in shares if name not in found})


def _summary(folder: Path) -> bytes:
    """The bytes of a summary; one that lies alone has nothing to be verified with."""
    if (folder / RUN_FILE).exists():
        return open_run(folder).read(SUMMARY_FILE, checked.MOST_BYTES)
    return RunFiles(folder, b"", None).read(SUMMARY_FILE, checked.MOST_BYTES)


def _read_run(path: Path) -> Run:
    return _described(open_run(path.parent))


def peek(files: RunFiles) -> dict[str, Any]:
    """The fields of a record, most of them unchecked and as they are in the file.

    For listings of many runs, as it takes a tenth of the time of `read_run`: the bytes are verified
    by their hash, and only identifiers, state, and the fields that tell runs apart are checked.

    Raises:
        InputError: The record is damaged, or of another schema version.
    """
    path = files.folder / RUN_FILE
    if files.hashes is None:
        return _described(files).as_dict()
    with readable(path):
        content = _translated(path, json.loads(files.record))
        checked.heading(content)
        return content


def _translated(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record under the names of this version.

    Raises:
        InputError: It is of another schema version.
    """
    integrity.check_version(path, content)
    content = {k: v for k, v in content.items() if k not in integrity.FIELDS}
    for part, names in _RENAMED.items():
        if isinstance(content.get(part), dict):
            content[part] = {names.get(k, k): v for k, v in content[part].items()}
    return content


def _described(files: RunFiles) -> Run:
    path = files.folder / RUN_FILE
    with readable(path):
        content = _translated(path, decode(checked.parse(files.record)))
        checked.run(content)
        content["metrics"] = {k: MetricSpec(**v) for k, v in content["metrics"].items()}
        content["methods"] = {k: MethodSpec(**v) for k, v in content["methods"].items()}
        return Run(**{f.name: content.pop(f.name) for f in fields(Run)}, **content)


def read_table(files: RunFiles, name: str) -> pa.Table:
    """Rows (`SCORES_FILE`) or points (`CURVES_FILE`) of a run, with the columns of `table`.

    Raises:
        InputError: The file is missing or damaged.
    """
    kind: type[Row] | type[Point] = Row if name == SCORES_FILE else Point
    wanted, source = table(kind, []).schema, pa.py_buffer(files.read(name))
    with readable(files.folder / name):
        typed.columns(pq.read_schema(pa.BufferReader(source)), wanted)
        found = pq.read_table(
            pa.BufferReader(source), columns=wanted.names, page_checksum_verification=True
        ).select(wanted.names)
        typed.rows(found, kind)
        return found


def _frame(whole: pa.Table) -> pd.DataFrame:
    """Convert a table to a frame column by column, so that memory never holds both."""
    return whole.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)


def read_maps(files: RunFiles) -> dict[str, dict[str, np.ndarray]]:
    """The maps of a run: file name to tensor name to array.

    Raises:
        InputError: A file is damaged, missing, or not of this run.
    """
    found = {}
    for name in files.maps():
        content = files.read(name)
        with readable(files.folder / name):
            found[Path(name).stem] = load(content)
            typed.maps(found)
    return found


def writable(folder: Path) -> None:
    """Check that files can be created in a folder, or in the place where it would be created.

    Raises:
        InputError: A part of the path is a file, or no file can be created.
    """
    place = Path(folder).absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise InputError(f"cannot write to {folder}: {place} is a file. Set results_dir=PATH.")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror} ({place}). Set results_dir=PATH to "
            "one that you can write to."
        ) from error


def new_id(now: datetime) -> str:
    """Identifier of a run: UTC time and eight random hexadecimal digits; sorts by time.

    Raises:
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("the time of a run needs a time zone; use datetime.now(UTC)")
    return f"{now.astimezone(UTC):{_STAMP}}-{secrets.token_hex(4)}"


def next_id(experiment_folder: Path, now: datetime) -> str:
    """Identifier of a run that sorts after all runs in a folder.

    If the clock is behind the newest run, the time is one second after that of the newest run.
    """
    stamps = (_ID.fullmatch(folder.name) for folder in runs(experiment_folder))
    last = max((found[1] for found in stamps if found), default="")
    try:
        after = datetime.strptime(last, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
    except (ValueError, OverflowError):  # no run yet, or not a valid time
        return new_id(now)
    return new_id(max(now, after))


def canonical_hash(value: Any) -> str:
    """SHA-256 of plain nested values as 64 hexadecimal digits, independent of the order of keys.

    Tuples equal lists; 1 differs from 1.0.

    >>> canonical_hash({"a": 1, "b": (2, 3)}) == canonical_hash({"b": [2, 3], "a": 1})
    True
    """
    text = json.dumps(
        encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(as_bytes(text)).hexdigest()


def as_bytes(text: str) -> bytes:
    r"""JSON as UTF-8; names of files that are no text become escapes, which JSON reads back.

    >>> as_bytes('"caf\udce9"')
    b'"caf\\udce9"'
    """
    return text.encode(errors="backslashreplace")


def encode(value: Any) -> Any:
    """Plain nested values as strict JSON: NaN and infinities become {"$float": "nan"}.

    Raises:
        TypeError: A value is not plain, or a key is not text.

    >>> encode({"mean": math.inf, "n": 3})
    {'mean': {'$float': 'inf'}, 'n': 3}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys of records must be text, got {list(value)}")
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: str(value)}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"records hold plain values, not {type(value).__name__}: {value!r}")


def decode(value: Any) -> Any:
    """The inverse of `encode`, up to tuples, which come back as lists."""
    if isinstance(value, dict):
        if value.keys() == {_TAG}:
            tag = value[_TAG]
            if not isinstance(tag, str) or tag not in _NON_FINITE:
                raise ValueError(f"a number is tagged {shown(tag)}, not nan, inf or -inf")
            return _NON_FINITE[tag]
        return {key: decode(item) for key, item in value.items()}
    return [decode(item) for item in value] if isinstance(value, list) else value


def find(experiment_folder: Path, key: str) -> Path | None:
    """The newest run with an identity (see `igbench.run.shards`), verified, or None.

    Raises:
        InputError: A file of it is missing or damaged.
    """
    found = runs_mentioning(experiment_folder, key)
    folder = next((f for f, run in found if run.environment.get("identity") == key), None)
    if folder:
        open_run(folder).check()
    return folder


def runs_mentioning(experiment_folder: Path, key: str) -> Iterator[tuple[Path, Run]]:
    """The runs whose run.json contains a key, the newest first; damaged runs are logged."""
    for folder in reversed(runs(experiment_folder)):
        try:
            refuse_links(folder)
            check_file(folder / RUN_FILE, checked.MOST_BYTES)
            text = (folder / RUN_FILE).read_text(encoding="utf-8", errors="replace")
            run = _read_run(folder / RUN_FILE) if key in text else None
        except (InputError, OSError) as error:
            log.warning("a damaged run is ignored: %s", error)
            continue
        if run is not None:
            yield folder, run


def runs(experiment_folder: Path) -> list[Path]:
    """The folders of runs in a folder, oldest first; empty if there is no such folder."""
    found = [p.parent for p in Path(experiment_folder).glob(f"*/{RUN_FILE}") if p.is_file()]
    visible = [p for p in found if not p.name.startswith(".")]
    return sorted(visible, key=lambda p: (p.name[:15], (p / RUN_FILE).stat().st_mtime_ns))


def latest(results_dir: Path, experiment: str) -> Path:
    """Folder of the newest run of an experiment.

    Raises:
        InputError: There is none.
    """
    found = runs(Path(results_dir) / experiment)
    if found:
        return found[-1]
    places = Path(results_dir).glob(f"*/*/{RUN_FILE}")
    known = sorted({p.parent.parent.name for p in places if not p.parent.name.startswith(".")})
    have = f"experiments with runs: {', '.join(known)}" if known else "it holds no runs"
    raise InputError(
        f"no run of {experiment!r} in {results_dir} ({have}).{suggestion(experiment, known)}"
    )


def resolve(path_or_experiment: str | Path, results_dir: Path) -> Path:
    """Folder of a run, from a path, an experiment or an identifier.

    Args:
        path_or_experiment: A run folder; a folder of runs or the name of an experiment, for the
            newest run; or the identifier of a run in `results_dir`.
        results_dir: The folder of all experiments.

    Raises:
        InputError: No run matches.
    """
    path, name = Path(path_or_experiment), str(path_or_experiment)
    if (path / RUN_FILE).is_file():
        return path
    inside = runs(path) if path.is_dir() else []
    if inside:
        return inside[-1]
    if path.name == name and name not in ("", ".", ".."):
        by_id = [p for p in Path(results_dir).glob(f"*/*/{RUN_FILE}") if p.parent.name == name]
        return by_id[0].parent if by_id else latest(results_dir, name)
    raise InputError(
        f"{path} is neither a run nor a folder of runs; a run is a folder with a {RUN_FILE}."
    )


def by_model(path_or_experiment: str | Path, results_dir: Path) -> list[Path]:
    """Folders of the newest run of each model, oldest first; the run itself for a run folder.

    Models are told apart by their names and weights.

    Args:
        path_or_experiment: As for `resolve`.
        results_dir: The folder of all experiments.

    Raises:
        InputError: No run matches.
    """
    one = resolve(path_or_experiment, results_dir)
    if Path(path_or_experiment) == one or one.name == str(path_or_experiment):
        return [one]
    newest: dict[tuple[object, ...], Path] = {}
    for folder in runs(one.parent):
        models = tuple(dict.fromkeys(read_summary(folder)["model"]))
        key = (*models, read_run(folder).comparability.get("weights"))
        newest.pop(key, None)
        newest[key] = folder
    return list(newest.values())


def resolve_two(base: str | Path, new: str | Path, results_dir: Path) -> tuple[Path, Path]:
    """Folders of two different runs, see `resolve`.

    Raises:
        InputError: No run matches a name, or both names mean the same run.
    """
    old, now = resolve(base, results_dir), resolve(new, results_dir)
    if not old.samefile(now):
        return old, now
    runs_beside = runs(old.parent)[-2:]
    if len(runs_beside) == 2:
        hint = f"name two, for example: igbench compare {runs_beside[0]} {runs_beside[1]}"
    else:
        hint = f"it is the only one in {old.parent}, so make another one first"
    raise InputError(f"{str(base)!r} and {str(new)!r} mean the same run, {old}; {hint}.")
