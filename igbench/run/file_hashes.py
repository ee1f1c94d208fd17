"""Hash files, and read them again only when they were touched."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from igbench.run.notes import recall, remember

MISSING = "missing"
"""What stands for a file that is not there, or cannot be read."""

SETTLED = 2 * 10**9
"""Nanoseconds after which a file that is changed has another time than before, on any disk."""


def hashes(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """SHA-256 of each file, or `MISSING`.

    Size, times and number of a file are compared with those at which it was last read; where they
    are the same, it is not read.  Links stand for what they point to.

    Args:
        paths: Of files; relative ones are those of the current folder.
        folder: Where hashes are remembered, in one file for all files below a common folder.
    """
    absolute = {path: str(path if path.is_absolute() else path.absolute()) for path in paths}
    if not absolute:
        return {}
    memory = folder / f"{_common(absolute.values())}.json"
    known, found, new = recall(memory), dict[Path, str](), dict[str, Any]()
    for path, place in absolute.items():
        before = _signature(place)
        entry = known.get(place)
        if before and isinstance(entry, list) and entry[:-1] == before:
            found[path] = str(entry[-1])
            continue
        found[path] = _sha256(place) if before else MISSING
        if before and _settled(before) and _signature(place) == before:
            new[place] = [*before, found[path]]
    if new:
        remember(memory, {**known, **new})
    return found


def _common(places: Iterable[str]) -> str:
    """A name for the folder that files have in common."""
    try:
        common = os.path.commonpath(list(places))
    except ValueError:  # different drives
        common = ""
    return hashlib.sha256(os.fsencode(common)).hexdigest()[:16]


def _signature(place: str) -> list[int] | None:
    """What changes when a file does; None for what is no file that can be read."""
    try:
        found = os.stat(place)  # noqa: PTH116  twice as fast as that of a path
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _settled(signature: list[int]) -> bool:
    """Whether a change from now on would be seen."""
    return time.time_ns() - max(signature[1:3]) > SETTLED


def _sha256(place: str) -> str:
    try:
        with Path(place).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return MISSING
