"""Lock a folder so that one process at a time works in it."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from igbench.errors import InputError

NAME = "lock.json"

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of file systems without hard links."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it does not exist.

    The lock of a dead process of this machine is taken over.  Processes of other machines cannot
    be checked, so their locks stay until they are deleted.

    Raises:
        InputError: Another process holds the lock, or the folder cannot be written to.
    """
    mine = _me()
    path = folder / NAME
    try:
        while not _take(path, mine):
            owner = _read(path)
            if owner is not None and _alive(owner):
                raise InputError(
                    f"this run is locked by process {owner.get('pid')} on {owner.get('host')}; "
                    f"wait for it, or delete {path} if it is gone."
                )
            _take_away(path, owner)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}.") from error
    try:
        yield
    finally:
        if _read(path) == mine:
            path.unlink(missing_ok=True)


def _me() -> dict[str, object]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "born": _born(pid)}


def _born(pid: int) -> str:
    """Start of a process in ticks since boot; "" where the system has no /proc."""
    try:
        # The name of the process, in brackets, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _take(path: Path, mine: dict[str, object]) -> bool:
    """Create the file with its content at once, unless it exists.

    Without hard links it is empty for a moment, and another process may consider it stale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{mine['host']}.{mine['pid']}.tmp")
    try:
        own.write_text(json.dumps(mine), encoding="utf-8")
        os.link(own, path)
    except FileExistsError:
        return False
    except FileNotFoundError:  # another process just finished and removed the folder
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _take_plainly(path, mine)
    finally:
        own.unlink(missing_ok=True)
    return True


def _take_plainly(path: Path, mine: dict[str, object]) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(mine, file)
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def _take_away(path: Path, seen: dict[str, object] | None) -> None:
    """Remove a stale file, unless another process replaced it meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.stale")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if seen != _read(aside):
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def _read(path: Path) -> dict[str, object] | None:
    """The content of the file; None if it is missing or cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _alive(owner: dict[str, object]) -> bool:
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return isinstance(pid, int)
    if pid == os.getpid():
        return owner.get("born") == _born(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _born(pid) == owner.get("born")
