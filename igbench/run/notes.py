"""Keep what was measured of files in the cache folder, in one file that is whole or not used."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def recall(path: Path) -> dict[str, Any]:
    """What was noted; nothing where the file is missing, damaged or something else.

    >>> recall(Path("nowhere.json"))
    {}
    """
    try:
        seal, _, text = path.read_bytes().partition(b"\n")
        found = json.loads(text) if seal == _seal(text) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(path: Path, notes: Mapping[str, Any]) -> None:
    """Write notes in one step; a folder that is read-only is no error.

    Args:
        path: The file.
        notes: All of them, as JSON has it; those of before are replaced.
    """
    text = json.dumps(notes, separators=(",", ":")).encode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(_seal(text) + b"\n" + text)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        log.warning(
            "cannot remember the hashes of files in %s: %s; they are read again next time",
            path,
            error,
        )


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
