"""Open files of strangers: regular ones alone, up to a size, as bytes or as text."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that takes the place of a file is not waited for
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)  # Windows
)


def size(path: Path, most: int | None = None) -> int:
    """Size of a regular file in bytes.  Links are followed.

    Args:
        path: The file.
        most: Largest size that is allowed; None for any.

    Raises:
        FileNotFoundError: There is nothing of this name.
        OSError: It is no regular file (a pipe would be waited for, a device never ends), a link to
            nothing or to itself, or too large.
    """
    try:
        return _checked(path.stat(), most)
    except FileNotFoundError as error:
        if path.is_symlink():
            to = str(path.readlink())
            raise OSError(f"it is a link to {to!r}, which is not there") from error
        raise


@contextmanager
def opened(path: Path, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading; raises as `size` does."""
    size(path, most)  # before it is opened, which some devices answer to
    descriptor = os.open(path, _FLAGS)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - of a descriptor
        _checked(os.fstat(descriptor), most)  # another file may have taken its place
        yield stream


def text(path: Path, most: int) -> str:
    """The text of a regular file in UTF-8, without a byte order mark.

    Args:
        path: The file.
        most: Largest size in bytes that is read.

    Raises:
        OSError: As `size` raises it.
        ValueError: It is not UTF-8, or holds NUL characters.
    """
    with opened(path, most) as stream:
        found = stream.read(most + 1).decode("utf-8-sig")
    if "\0" in found:
        raise ValueError("it holds NUL characters, so it is no text")
    return found


def _checked(status: os.stat_result, most: int | None) -> int:
    """The size in a status, unless it is of something else or too large."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(f"it is {kind}, not a regular file")
    if most is not None and status.st_size > most:
        raise OSError(f"it has more than {most:,} bytes")
    return status.st_size
