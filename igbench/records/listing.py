"""List runs by what their records say, without reading their scores.

A run that cannot be read is named in a warning and skipped.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from igbench.errors import InputError, suggestion
from igbench.files import refuse_link
from igbench.records import baselines, checked, integrity, sheets, store

log = logging.getLogger(__name__)

PACKAGES = ("igbench", "torch", "captum")
"""Packages whose version has a column."""
COLUMNS = (
    "id", "experiment", "created", "model", "data", "samples", "methods", "state", *PACKAGES, "git",
    "bytes",
)  # fmt: skip
"""Columns of a listing."""
_PARTS = ("identity", "comparability", "environment", "config")
"""Parts of a record whose fields can be asked for by their dotted names."""


@dataclass(frozen=True)
class Listed:
    """A run as its record describes it.

    Attributes:
        folder: Where it is.
        name: Name of the baseline; "" for other runs.
        models: Names of the models.
        record: Fields of its record, see `igbench.records.store.peek`.
    """

    folder: Path
    name: str
    models: tuple[str, ...]
    record: Mapping[str, Any]

    @cached_property
    def size(self) -> int:
        """Bytes on disk, report included."""
        return _size(self.folder)

    @property
    def created(self) -> datetime:
        """Start of the run, in UTC."""
        found = datetime.fromisoformat(self.record["created"])
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)

    @property
    def versions(self) -> Mapping[str, str]:
        """Package to version."""
        found: Mapping[str, str] = self.record["identity"].get("versions", {})
        return found

    def values(self) -> dict[str, Any]:
        """The value of each of `COLUMNS`; methods are a list of names."""
        record = self.record
        return {
            "id": record["id"],
            "experiment": record["experiment"],
            "created": f"{self.created:%Y-%m-%d %H:%M:%S}",
            "model": " ".join(self.models),
            "data": _data(record),
            "samples": len(record["samples"]),
            "methods": list(record["methods"]),
            "state": record["state"],
            **{name: self.versions.get(name, "") for name in PACKAGES},
            "git": str(record["environment"].get("git", "")),
            "bytes": self.size,
        }

    def field(self, name: str) -> Any:
        """The value of a column, the version of a package, or a field by its dotted name.

        Raises:
            KeyError: The run has no such field.
        """
        own = self.values()
        if name in own:
            return own[name]
        if name in self.versions:
            return self.versions[name]
        found: Any = {part: self.record.get(part, {}) for part in _PARTS}
        for word in name.split("."):
            if not isinstance(found, Mapping) or word not in found:
                raise KeyError(name)
            found = found[word]
        return found


def _data(record: Mapping[str, Any]) -> str:
    """Name of the data: that in conf/, or what the data says of itself."""
    given = record["config"].get("data")
    if isinstance(given, Mapping):
        found = given.get("name") or str(given.get("_target_", "")).rpartition(".")[2]
        if found:
            return str(found)
    return str(record["environment"].get("data_source", ""))


def look(folder: Path) -> Listed:
    """What the record of a run or a baseline says.

    Raises:
        InputError: It is a link, or a file of it is missing, cut off, or of another version.
    """
    refuse_link(folder)
    files = integrity.open_run(folder)
    record = store.peek(files)
    for name in files.hashes or (store.SCORES_FILE,):
        _check_there(folder / name)
    own = record["environment"].get(baselines.NOTE) or {}
    return Listed(folder, own.get("name", ""), _models(files), record)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; links count themselves."""
    with os.scandir(folder) as entries:
        return sum(
            _size(Path(entry.path))
            if entry.is_dir(follow_symlinks=False)
            else entry.stat(follow_symlinks=False).st_size
            for entry in entries
        )


def _check_there(path: Path) -> None:
    """Raise where a file is missing or its end is cut off, which its last bytes tell."""
    with integrity.readable(path):
        if path.suffix != ".parquet":
            path.stat()
            return
        with path.open("rb") as stream:
            stream.seek(-4, io.SEEK_END)
            if stream.read() != b"PAR1":
                raise ValueError("it is no Parquet file, or its end is missing")


def _models(files: integrity.RunFiles) -> tuple[str, ...]:
    """Names of the models, from the summary."""
    whole = files.read(store.SUMMARY_FILE, checked.MOST_BYTES)
    with integrity.readable(files.folder / store.SUMMARY_FILE):
        head, *rows = csv.reader(io.StringIO(whole.decode()))
        place = head.index("model")
        return tuple(map(sheets.unguard, dict.fromkeys(row[place] for row in rows)))


def read(folders: Iterable[Path]) -> Iterator[Listed]:
    """What the records of runs say; those that cannot be read are named in a warning."""
    for folder in folders:
        try:
            yield look(folder)
        except (InputError, OSError) as error:
            log.warning("a damaged run is skipped: %s", error)


def places(name: str, results_dir: Path) -> list[Path]:
    """Folders of the runs of an experiment, or of all experiments without a name, oldest first.

    Args:
        name: Name of an experiment, or a folder of runs; "" for all in `results_dir`.
        results_dir: The folder of all experiments.

    Raises:
        InputError: There are none.
    """
    if not name:
        homes = sorted({p.parent.parent for p in Path(results_dir).glob(f"*/*/{store.RUN_FILE}")})
        found = [f for home in homes if not home.name.startswith(".") for f in store.runs(home)]
        if not found:
            raise InputError(f"{results_dir} holds no runs; set --results-dir.")
        return found
    path = Path(name)
    if path.is_dir() and (inside := store.runs(path)):
        return inside
    return store.runs(store.latest(results_dir, name).parent)


def chosen(
    runs: Sequence[Listed],
    where: Sequence[str] = (),
    since: str = "",
    state: str = "",
) -> list[Listed]:
    """The runs that pass all filters, oldest first.

    Args:
        runs: What there is.
        where: "field=value" or "field!=value" each; "*" in a value matches anything.
        since: Date or time in ISO 8601, in UTC unless it says otherwise.
        state: "finished" or "failures"; "" for both.

    Raises:
        InputError: A filter cannot be read, or no run has its field.
    """
    tests = [_test(text, runs) for text in where]
    first = _moment(since) if since else datetime.min.replace(tzinfo=UTC)
    states = {"": "", "finished": "finished", "failures": "finished with failures"}
    if state not in states:
        raise InputError(f"unknown --state {state!r}; known: finished, failures.")
    found = [
        run
        for run in runs
        if run.created >= first
        and states[state] in ("", run.record["state"])
        and all(test(run) for test in tests)
    ]
    return sorted(found, key=lambda run: run.created)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"--since {text!r} is no date; give one as in ISO 8601, for example 2026-11-01."
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _test(text: str, runs: Sequence[Listed]) -> Any:
    name, equal, value = text.partition("=")
    differs = name.endswith("!")
    name, value = name.removesuffix("!").strip(), value.strip()
    if not (equal and name):
        raise InputError(f"--where {text!r} is no filter; give field=value, as in captum=0.9.0.")
    if runs and not any(_matches(run, name) for run in runs):
        known = sorted({*COLUMNS, *(k for run in runs for k in run.versions)})
        raise InputError(
            f"no run has the field {name!r} of --where; known: {', '.join(known)}, or a dotted "
            f"name as in identity.device or config.limit.{suggestion(name, known)}"
        )
    return lambda run: _matches(run, name, value) != differs


def _matches(run: Listed, name: str, value: str = "*") -> bool:
    """Whether a run has a field with a value; methods match by each of their names."""
    try:
        found = run.field(name)
    except KeyError:
        return False
    own = found if isinstance(found, list) else [found]
    return value == "*" or any(fnmatchcase(str(one), value) for one in own)
