"""Files of models without gradients: what is read, what is refused, and how rows reach a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from igbench import files
from igbench.errors import InputError, one_line

PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")
"""Endings of files that run code when they are read."""

MOST = 2**31
"""Bytes of a file that are read."""


@dataclass(frozen=True)
class Content:
    """A file that was read whole, so that what is checked is what is used.

    Attributes:
        path: Where it was.
        data: Its bytes.
    """

    path: Path
    data: bytes

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits over the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def read(path: str | None, model: str, suffix: str, how: str) -> Content:
    """Read the file of a model.

    Args:
        path: As configured.
        model: Name of the choice, for messages.
        suffix: How such a file ends, for messages.
        how: How such a file is written.

    Raises:
        InputError: There is none, it is a pickle, or it cannot be read.
    """
    if not path:
        raise InputError(f"model={model} needs a file; set model.path=FILE{suffix}, {how}.")
    file = Path(path).expanduser()
    if file.suffix.lower() in PICKLES:
        raise InputError(
            f"{path!r} is a pickle, which runs code of its own when it is read; where you trust "
            "it, load it and write it again, skops.io.dump(model, 'model.skops'), and use "
            "model=sklearn model.path=model.skops."
        )
    try:
        with files.opened(file, MOST) as stream:
            return Content(file, stream.read(MOST))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path!r}; set model.path=FILE{suffix}.") from error
    except OSError as error:
        raise InputError(f"{path!r} cannot be read: {one_line(error)}.") from error


def column_names(names: Sequence[object]) -> tuple[str, ...]:
    """Names of columns as texts.

    >>> column_names(["age", 3])
    ('age', '3')
    """
    return tuple(str(name) for name in names)
