"""Lock a folder so that one process at a time works in it.

The lock is a file that names its process.  It appears with its content at once, by a hard link,
and while its process lives the system holds a lock on the open file (flock).  The system is what
is believed about processes of the same kernel, in whatever container; the content is believed
about all others.  What cannot be told counts as locked.

A file is never changed, only replaced as a whole, and the lock of a process that has ended is
replaced by who holds the lock of the system on it, or, where there is none, a second file.  So two
that find the same one cannot both take it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from igbench.errors import InputError, printable

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

NAME = "lock.json"
GUARD = "lock.json.replaced"
"""File beside the lock while it is replaced, where the system has no locks."""

_MOST = 4096
"""Bytes that are read of a lock."""
_ATTEMPTS = 100
"""Each fails only because another process was faster."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of file systems without hard links."""
_NO_LOCKS = (
    errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF,
)  # fmt: skip
"""Error numbers of file systems without flock; EBADF is NFS about the file of another user."""
_OUTERMOST = "4026531836"
"""Number of the pid namespace of a machine itself, outside all containers."""

_LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay")
"""File systems of disks that one machine has mounted at a time."""

_open: set[int] = set()
"""Open files of the locks that this process holds; a fork must not hold them with it."""


class LockedError(InputError):
    """Another process holds the lock, or it cannot be told whether it still does."""


@dataclass(frozen=True)
class Owner:
    """The process that made a lock; "" for what the system does not tell.

    Attributes:
        pid: Number of the process.
        host: Name of the machine.
        born: Start of the process in ticks since the machine started.
        pids: Number of the pid namespace in which `pid` is valid.
        boot: Identifier of the running kernel, equal in all its containers.
        machine: Identifier of the machine.
        flock: Whether the system holds a lock on the file.
    """

    pid: int
    host: str
    born: str = ""
    pids: str = ""
    boot: str = ""
    machine: str = ""
    flock: bool = False


@contextmanager
def held(folder: Path, what: str = "this run") -> Iterator[None]:
    """Hold the lock of a folder, which is created if it does not exist.

    The lock of a process that has ended is taken over, if that is certain.

    Args:
        folder: The folder.
        what: What is locked, for messages.

    Raises:
        LockedError: Another process holds the lock.
        InputError: The folder cannot be written to, or its lock is a link or a folder.
    """
    path = folder / NAME
    try:
        mine = _acquire(path, what)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}.") from error
    try:
        yield
    finally:
        _release(path, mine)


def empty(folder: Path) -> None:
    """Delete everything in a folder except its lock; links are deleted, not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name == NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _acquire(path: Path, what: str) -> int:
    """Take the lock, and return its open file."""
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder or a file was removed by another process
            mine = _attempt(path, what)
            if mine is not None:
                _sweep(path)
                return mine
    raise LockedError(f"{what} is wanted by several processes at once; try again.")


def _sweep(path: Path) -> None:
    """Delete what killed processes left; those that are only late try again."""
    for other in path.parent.glob(f"{NAME}.*.tmp"):
        with suppress(OSError):
            other.unlink()


def _attempt(path: Path, what: str) -> int | None:
    """Try once; None if another process changed something meanwhile."""
    own = path.with_name(f"{NAME}.{secrets.token_hex(8)}.tmp")
    mine = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _open.add(mine)
    taken = False
    try:
        text = json.dumps(asdict(_me(flock=bool(_flock(mine)))))
        with os.fdopen(mine, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        taken = _create(own, path) or _replace(own, path, what)
    finally:
        own.unlink(missing_ok=True)
        if not taken:
            _close(mine)
    return mine if taken else None


def _create(own: Path, path: Path) -> bool:
    """Give the lock its name unless there is one; False if there is.

    Without hard links an empty file takes the name, which is then replaced like that of a process
    that has ended, by whoever is first.
    """
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
        return False
    return True


def _replace(own: Path, path: Path, what: str) -> bool:
    """Replace the lock of a process that has ended; False if another process did so before."""
    found = _look(path)
    try:
        owner, free = _owner(found), _flock(found)
        if free is False or not _ended(owner, path.parent, flocked=bool(free)):
            raise LockedError(_message(owner, path, what))
        with nullcontext() if free else _guarded(path, what):
            if not _is_at(found, path):
                return False
            own.replace(path)
            return True
    finally:
        os.close(found)


def _message(owner: Owner | None, path: Path, what: str) -> str:
    who = f"process {owner.pid} on {printable(owner.host)[:100]}" if owner else "another process"
    return f"{what} is locked by {who}; wait for it, or delete {path} if it is gone."


@contextmanager
def _guarded(path: Path, what: str) -> Iterator[None]:
    """Let one process at a time replace a lock, where the system cannot."""
    guard = path.with_name(GUARD)
    try:
        guard.touch(exist_ok=False)
    except FileExistsError:
        raise LockedError(
            f"{what} is being locked by another process; wait for it, or delete {path} and "
            f"{guard} if it is gone."
        ) from None
    try:
        yield
    finally:
        guard.unlink(missing_ok=True)


def _release(path: Path, mine: int) -> None:
    """Delete the own lock; nothing in a fork of the process that holds it."""
    if mine not in _open:
        return
    try:
        if _is_at(mine, path):
            path.unlink(missing_ok=True)
    finally:
        _close(mine)


def _close(descriptor: int) -> None:
    _open.discard(descriptor)
    os.close(descriptor)


def _forget() -> None:
    """Close the locks in a fork: the system would hold them as long as it lives."""
    while _open:
        os.close(_open.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _look(path: Path) -> int:
    """Open a lock for reading; neither follows a link nor waits for a pipe."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise InputError(f"{path} is not a file but a link, a folder or a device; delete it.")
    return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _flock(descriptor: int) -> bool | None:
    """Lock an open file: False if another process has, None if the system cannot."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _owner(descriptor: int) -> Owner | None:
    """The process that a lock names; None where it is none that was written here.

    A lock appears with its content, so an empty or a damaged one is left by a machine that lost
    its power, or is a stranger's.
    """
    try:
        found = json.loads(os.read(descriptor, _MOST))
        owner = Owner(**found)
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = {"int": int, "str": str, "bool": bool}
    right = all(type(getattr(owner, f.name)) is kinds[str(f.type)] for f in fields(Owner))
    return owner if right and 0 < owner.pid < 2**31 else None


def _me(flock: bool = False) -> Owner:
    pid = os.getpid()
    return Owner(pid, socket.gethostname(), _born(pid), _pids(), _boot(), _machine(), flock)


def _born(pid: int) -> str:
    """Start of a process in ticks since the machine started."""
    # The name of the process, in brackets, may hold spaces.
    words = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return words[19] if len(words) > 19 else ""


def _pids() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _boot() -> str:
    return _text("/proc/sys/kernel/random/boot_id").strip()


def _machine() -> str:
    """Hash of the number of this installation, or of its network hardware; "" without either."""
    number = _text("/etc/machine-id").strip()
    if not number:
        node = uuid.getnode()
        # Random ones have the last bit of the first byte, those of containers the one before it.
        number = "" if (node >> 40) & 0b11 else f"{node:012x}"
    return hashlib.sha256(f"igbench lock {number}".encode()).hexdigest()[:16] if number else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ended(owner: Owner | None, folder: Path, *, flocked: bool) -> bool:
    """Whether the process of a lock has ended for certain.

    Args:
        owner: The process, as its lock names it.
        folder: Where the lock is.
        flocked: Whether the system gave this process the lock on the file.
    """
    if owner is None:
        return True
    me, free = _me(), flocked and owner.flock
    if owner.boot and owner.boot == me.boot:  # the same kernel: it knows all its locks
        return free or (owner.pids == me.pids and not _running(owner))
    # Containers and copies of a machine may have the same names and numbers as another.
    alike = (owner.machine, owner.host, owner.pids) == (me.machine, me.host, me.pids)
    if not (alike and me.machine and me.pids in ("", _OUTERMOST)):
        return False
    if owner.boot and me.boot:  # this machine before it was started again, unless it is a copy
        return _is_local(folder)
    return free and not (owner.boot or me.boot)


def _is_local(folder: Path) -> bool:
    """Whether a folder is on a disk that no other machine can have mounted."""
    place, kinds = folder.resolve(), {}
    for line in _text("/proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        if len(words := mount.split()) > 4 and source:
            kinds[re.sub(r"\\(\d{3})", lambda o: chr(int(o[1], 8)), words[4])] = source.split()[0]
    mounts = [str(parent) for parent in (place, *place.parents) if str(parent) in kinds]
    return bool(mounts) and kinds[mounts[0]] in _LOCAL


def _running(owner: Owner) -> bool:
    """Whether a process of this machine and pid namespace is there."""
    if os.name != "posix":  # asking might end it
        return True
    try:
        os.kill(owner.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    born = _born(owner.pid)
    return not (born and owner.born) or born == owner.born
