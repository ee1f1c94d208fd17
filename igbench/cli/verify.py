"""Verify runs: finished ones by the hashes in their records, others by those of their shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from igbench.errors import InputError, printable
from igbench.records import store
from igbench.records.integrity import RunFiles, open_run

GOOD, DAMAGED, UNKNOWN = 0, 2, 3
"""Exit statuses: as written; not as written; written without hashes."""

SHARDS = "shards"


def show(console: Console, names: Sequence[str], results_dir: Path) -> int:
    """Print a line for each run; returns the exit status, that of a damaged run before all others.

    Args:
        console: Where to print.
        names: Run folders, folders of stopped runs, identifiers, and folders of runs or names of
            experiments for all runs in them.
        results_dir: The folder of all experiments.

    Raises:
        InputError: No run matches a name.
    """
    folders = dict.fromkeys(f for name in names for f in _folders(name, results_dir))
    statuses = []
    for folder in folders:
        text, status = _stopped(folder) if _is_stopped(folder) else _finished(folder)
        console.print(printable(f"{folder}: {text}"), highlight=False, markup=False)
        statuses.append(status)
    return DAMAGED if DAMAGED in statuses else max(statuses)


def _is_stopped(folder: Path) -> bool:
    return (folder / SHARDS).is_dir() and not (folder / store.RUN_FILE).exists()


def _folders(name: str, results_dir: Path) -> list[Path]:
    path = Path(name)
    if path.name == SHARDS:
        path = path.parent
    if _is_stopped(path):
        return [path]
    if (path / store.RUN_FILE).exists():
        return [path]
    by_name = results_dir / name if path.name == name and name not in ("", ".", "..") else path
    for home in (path, by_name):
        found = [*store.runs(home), *sorted(p.parent for p in home.glob(f".*.partial/{SHARDS}"))]
        if found:
            return found
    return [store.resolve(name, results_dir)]


def _finished(folder: Path) -> tuple[str, int]:
    try:
        files = open_run(folder)
        store.read_run(folder)
        if files.hashes is None:
            return _unverified(files), UNKNOWN
    except InputError as error:
        return f"damaged: {error}", DAMAGED
    faults = [f"{name} ({reason})" for name, reason in files.faults().items()]
    if faults:
        return f"damaged: {', '.join(faults)}", DAMAGED
    return f"ok, {len(files.hashes) + 1} files", GOOD


def _unverified(files: RunFiles) -> str:
    """The text for a run without hashes, all of whose files can be read.

    Raises:
        InputError: One cannot.
    """
    for name in (store.SCORES_FILE, store.CURVES_FILE):
        store.read_table(files, name)
    store.read_summary(files.folder)
    store.read_maps(files)
    return "cannot be verified: it was written without hashes; all its files can be read"


def _stopped(folder: Path) -> tuple[str, int]:
    from igbench.run import checkpoint

    good, damaged = checkpoint.verify(folder / SHARDS)
    if damaged:
        reasons = ", ".join(one.reason for one in damaged)
        return f"damaged: {reasons}; run the same command again.", DAMAGED
    return f"ok so far, {good} saved shards", GOOD
