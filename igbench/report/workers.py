"""Share the pieces of a report between this process and forks of it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import connection
from typing import Any, TypeVar, cast

T = TypeVar("T")

FORKS = 3
"""Forks, at most: the longest piece of a report is a fifth of all, so that more would wait."""
MOST = 1024
"""Pieces that processes share, at most: so many numbers fit into a pipe at once."""
PATIENCE = 120.0
"""Seconds without an answer of the forks after which this process does their pieces."""
_WIDTH = 2


def shared(pieces: Sequence[Callable[[], T]]) -> list[T]:
    """Do all pieces of work, a part of them in forks of this process, and return their results.

    Each process takes the next piece that is left, so the longest should come first.  Results do
    not depend on who did a piece.  What a fork does not deliver, for whatever reason, is done
    here: where a piece fails, its error is raised here.  Forks draw and write files alone; they
    leave threads, devices and what must be closed to this process.

    Args:
        pieces: Functions without arguments that depend on nothing that another one does, with
            results that can be pickled.

    Returns:
        The results, in the order of the pieces.
    """
    done: dict[int, T] = {}
    count = processes(len(pieces))
    if count > 1:
        with suppress(OSError):  # of no more processes or files: all is done below
            done = _together(pieces, count - 1)
    return [done[i] if i in done else piece() for i, piece in enumerate(pieces)]


def processes(pieces: int) -> int:
    """How many processes help: on Linux, where a fork is safe, one for each core up to `FORKS`.

    Args:
        pieces: How many there are to do.
    """
    alone = sys.platform != "linux" or multiprocessing.current_process().daemon
    return 1 if alone or pieces > MOST else min(pieces, len(os.sched_getaffinity(0)), 1 + FORKS)


def _together(pieces: Sequence[Callable[[], T]], forks: int) -> dict[int, T]:
    """Results by number, as far as there are some."""
    with ExitStack() as left:
        numbers = _numbers(len(pieces))
        left.callback(os.close, numbers)
        answers = [left.enter_context(_forked(pieces, numbers)) for _ in range(forks)]
        done = {i: pieces[i]() for i in _taken(numbers)}
        end = time.monotonic() + PATIENCE
        while answers and (ready := connection.wait(answers, max(0.0, end - time.monotonic()))):
            for answer in cast("list[connection.Connection]", ready):
                answers.remove(answer)
                with suppress(EOFError):  # it was ended
                    done |= answer.recv()
        return done


@contextmanager
def _forked(pieces: Sequence[Callable[[], Any]], numbers: int) -> Iterator[connection.Connection]:
    """Start a fork that takes pieces; yields where it answers, and ends it afterwards."""
    answers, end = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork").Process(
        target=_work, args=(pieces, numbers, end, os.getpid()), daemon=True
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which it leaves alone
            fork.start()
        end.close()
        yield answers
    finally:
        end.close()
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
    """Do pieces in a fork; those that fail are left to its parent."""
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
