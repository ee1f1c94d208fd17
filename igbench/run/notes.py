"""Keep what was measured of files in the cache folder, in one file that is whole or not used."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from igbench.files import write_whole

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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _seal(text) + b"\n" + text)
    except OSError as error:
        log.warning(
            "cannot remember the hashes of files in %s: %s; they are read again next time",
            path,
            error,
        )


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
