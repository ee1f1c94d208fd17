"""Names of classes: as given by the user, of ImageNet-1k, or numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from igbench import files
from igbench.errors import InputError, one_line

MOST = 2**24
"""Bytes of a file of names that are read."""


def class_names(
    given: str | Sequence[str] | None, count: int, default: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names of `count` classes.

    Args:
        given: The names, or the path of a file with them: one a line, or a JSON list.
        count: Number of outputs of the model.
        default: Names where none are given and their number fits; else "0", "1", ...

    Raises:
        InputError: The file cannot be read, or the number of names is not `count`.

    >>> class_names(["cat", "dog"], 2), class_names(None, 3), class_names(None, 1, ["cat"])
    (('cat', 'dog'), ('0', '1', '2'), ('cat',))
    """
    if given is None:
        known = default is not None and len(default) == count
        return tuple(default or ()) if known else tuple(str(k) for k in range(count))
    names = _read(Path(given).expanduser()) if isinstance(given, str) else tuple(given)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise InputError(f"model.class_names holds {wrong[0]!r}, which is no text; quote the name.")
    if len(names) != count:
        raise InputError(
            f"model.class_names has {len(names)} names, but the model has {count} outputs; give "
            "one name for each, in the order of the outputs."
        )
    return tuple(names)


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = files.text(path, MOST)
        if path.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        found = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"model.class_names={path} cannot be read ({one_line(error)}); give a list, or a text "
            "file with one name a line."
        ) from error
    if not isinstance(found, list):
        raise InputError(f"model.class_names={path} must hold a JSON list of names.")
    return tuple(found)
