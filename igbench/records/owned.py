"""Tell which folders hold nothing but what igbench writes, and delete those."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path, PurePath

from igbench.errors import InputError
from igbench.files import refuse_links
from igbench.records import store

_FILES = (
    store.RUN_FILE, store.SCORES_FILE, store.CURVES_FILE, store.SUMMARY_FILE, "report.html",
    "lock.json",
)  # fmt: skip
_DRAWN = frozenset({"md", "tex", "html", "csv", "png", "svg", "pdf", "webp"})
"""Suffixes of what reports write."""
_FOLDERS = {store.MAPS_FOLDER: frozenset({"safetensors"}), "tables": _DRAWN, "plots": _DRAWN}
"""Folder of a run to the suffixes of the files in it."""


def strangers(folder: Path) -> list[str]:
    """Paths in the folder of a run or a baseline that igbench did not write, sorted.

    Raises:
        InputError: Something in it is a link, a pipe or a device.
    """
    refuse_links(folder)
    found = (p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir())
    return sorted(str(path) for path in found if not _known(path))


def _known(path: PurePath) -> bool:
    name = path.name.split(".")
    if len(path.parts) == 1:
        return path.name in _FILES or (path.name.startswith(_FILES) and name[-1] == "tmp")
    return name[-1] in _FOLDERS.get(path.parts[0], ())


def delete(folder: Path) -> None:
    """Delete the folder of a run or a baseline; no reader sees half of it.

    Raises:
        InputError: Something in it is not of igbench, or it cannot be deleted.
    """
    others = strangers(folder)
    if others:
        raise InputError(
            f"{folder} holds {others[0]}, which igbench did not write; move it away first."
        )
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.deleted")
    try:
        folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise InputError(f"cannot delete {folder}: {error.strerror}.") from error
