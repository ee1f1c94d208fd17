"""Remember what was measured, in one JSON object of the cache folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from igbench.files import write_whole

log = logging.getLogger(__name__)


def recall(memory: Path) -> dict[str, Any]:
    """All entries of a file; none where it is missing, damaged or something else.

    >>> recall(Path("nowhere.json"))
    {}
    """
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(memory: Path, known: Mapping[str, Any], what: str, advice: str) -> None:
    """Write all entries in one step; a folder that is read-only is no error.

    Args:
        memory: The file.
        known: The entries, as JSON has them.
        what: What cannot be remembered where that fails, for the log.
        advice: What to do then.
    """
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(known, allow_nan=False).encode())
    except OSError as error:
        log.warning("cannot remember %s in %s: %s; %s", what, memory, error, advice)
