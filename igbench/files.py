"""Files and folders that may be a stranger's: names, links, reading, and writing whole files.

Standard library only.  What a run folder holds is data: a name never leaves the folder of results,
a link in it is refused, and a file that is written replaces the old one in one step.  Of pictures,
weights and tables only regular files are read, up to a size; links to them are the user's.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from igbench.errors import InputError, printable

LONGEST_NAME = 200
"""Bytes of a name, so that a suffix and a mark of a temporary file still fit into 255."""

_NEVER = re.compile(r'[\\/:*?"<>|]')
"""Characters that separate parts of a path, or that a file system does not take."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names of devices on Windows, with any suffix."""

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


def check_name(what: str, name: object) -> str:
    """The name of an experiment, a run, a method, a metric or a map, if it is safe in a path.

    Args:
        what: What it names, for the message.
        name: The name.

    Returns:
        The name.

    Raises:
        InputError: It is no text, empty, overlong or reserved, begins with a dot or a hyphen, ends
            with a dot or a space, or has characters that cannot be printed or separate paths.

    >>> check_name("method", "ig (50 steps)")
    'ig (50 steps)'
    >>> check_name("method", "../ig")
    Traceback (most recent call last):
    igbench.errors.InputError: method=../ig cannot be a folder ... the path separator '/'; ...
    """
    fault = name_fault(name)
    if fault:
        shown = printable(name if isinstance(name, str) else repr(name))
        shown = shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"
        raise InputError(
            f"{what}={shown} cannot be a folder in results_dir or a file there, as it {fault}; use "
            "letters, digits and _ - . alone."
        )
    assert isinstance(name, str)
    return name


def name_fault(name: object) -> str:
    """Why a name cannot be that of a file or a folder; "" if it can.

    >>> name_fault("nul.txt"), name_fault("a/b"), name_fault("digits_resnet")
    ('is reserved on some systems', "has the path separator '/'", '')
    """
    if not isinstance(name, str):
        return f"is of type {type(name).__name__}"
    if not name:
        return "is empty"
    if found := _NEVER.search(name):
        what = "the path separator " if found[0] in "/\\" else ""
        return f"has {what}{found[0]!r}"
    if name[0] in ".-":
        return f"begins with {name[0]!r}"
    if name[0] == " " or name[-1] in ". ":
        return "begins or ends with a space or a dot"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if len(name.encode()) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    return "is reserved on some systems" if _RESERVED.fullmatch(name) else ""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all, in the place of an earlier one.

    The temporary file beside it has a random name and must be new, so that no link that lies there
    is followed; a link or a hard link in the place of the file itself is replaced, not written to.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)  # less the umask, as any file
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: Path, most: int | None = None) -> None:
    """Refuse to read what is no plain file; a missing one is left to the reader.

    Args:
        path: A file in a run folder.
        most: Largest size in bytes.

    Raises:
        InputError: It is a link, a folder, a pipe or a device, or larger.
    """
    try:
        found = path.lstat()
    except OSError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise _link(path)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{printable(str(path))} is not a file; copy the run again without it.")
    if most is not None and found.st_size > most:
        raise InputError(
            f"{printable(str(path))} has {found.st_size:,} bytes, of at most {most:,}; it is not "
            "what igbench writes. Copy the run again."
        )


def refuse_link(path: Path) -> None:
    """Refuse a file or a folder of a run that is a link.

    Raises:
        InputError: It is a link, whatever it points to.
    """
    if path.is_symlink():
        raise _link(path)


def refuse_links(folder: Path) -> None:
    """Refuse a folder in which anything, at any depth, is neither a plain file nor a folder.

    The folder itself may be a link, as it is the user who names it.  A missing one has none.

    Raises:
        InputError: A link, a pipe or a device is in it.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                check_file(Path(entry.path))


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


def _link(path: Path) -> InputError:
    return InputError(
        f"{printable(str(path))} is a link; links inside a folder of results are not followed. "
        "Copy what it points to into its place, or remove it."
    )


def cache_folder(cache_dir: Path | str | None) -> Path:
    """The folder of trained models: the argument, else `IGBENCH_CACHE`, else the user's cache.

    Users without a home, as in some containers, get a folder that cannot be written.
    """
    given = cache_dir or os.environ.get("IGBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.devnull)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(home / ".cache")
    return Path(base) / "igbench"
