"""Share the pieces of a report between this process and a fork of it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 1024
"""Pieces that two processes share, at most: so many numbers fit into a pipe at once."""
PATIENCE = 120.0
"""Seconds without an answer of the fork after which this process does its pieces."""
_WIDTH = 2


def shared(pieces: Sequence[Callable[[], T]]) -> list[T]:
    """Do all pieces of work, a part of them in a fork of this process, and return their results.

    Each process takes the next piece that is left, so the longest should come first.  Results do
    not depend on who did a piece.  What the fork does not deliver, for whatever reason, is done
    here: where a piece fails, its error is raised here.  The fork draws and writes files alone; it
    leaves threads, devices and what must be closed to this process.

    Args:
        pieces: Functions without arguments that depend on nothing that another one does, with
            results that can be pickled.

    Returns:
        The results, in the order of the pieces.
    """
    done: dict[int, T] = {}
    if can_share(len(pieces)):
        with suppress(OSError):  # of no more processes or files: all is done below
            done = _together(pieces)
    return [done[i] if i in done else piece() for i, piece in enumerate(pieces)]


def can_share(count: int) -> bool:
    """Whether a second process helps: on Linux, where a fork is safe, with a second core."""
    return (
        sys.platform == "linux"
        and 1 < count <= MOST
        and len(os.sched_getaffinity(0)) > 1
        and not multiprocessing.current_process().daemon
    )


def _together(pieces: Sequence[Callable[[], T]]) -> dict[int, T]:
    """Results by number, as far as there are some."""
    numbers = _numbers(len(pieces))
    answers, end = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork").Process(
        target=_work, args=(pieces, numbers, end, os.getpid()), daemon=True
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which it leaves alone
            fork.start()
        end.close()
        done = {i: pieces[i]() for i in _taken(numbers)}
        if answers.poll(PATIENCE):
            with suppress(EOFError):  # it was ended
                done |= answers.recv()
        return done
    finally:
        os.close(numbers)
        answers.close()
        if fork.pid is not None:
            fork.kill()
            fork.join()


def _numbers(count: int) -> int:
    """The end of a pipe that holds the numbers of all pieces, each of which one process gets."""
    numbers, full = os.pipe()
    os.write(full, b"".join(i.to_bytes(_WIDTH, "big") for i in range(count)))
    os.close(full)
    return numbers


def _taken(numbers: int) -> Iterator[int]:
    """The numbers that are left, one after another."""
    while number := os.read(numbers, _WIDTH):
        yield int.from_bytes(number, "big")


def _work(
    pieces: Sequence[Callable[[], Any]], numbers: int, end: connection.Connection, parent: int
) -> None:
    """Do pieces in the fork; those that fail are left to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()  # it ends soon
    done: dict[int, Any] = {}
    for i in _taken(numbers):
        if os.getppid() != parent:
            return
        with suppress(Exception):  # which the parent meets again
            done[i] = pieces[i]()
    with suppress(OSError):  # the parent was ended
        end.send(done)
