"""Workers that load samples while the model computes: a thread with a time limit, or processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from igbench.errors import InputError
from igbench.evaluation import isolation

START = "fork" if sys.platform == "linux" else "spawn"
"""How processes begin.  A fork takes closures along, and is safe beside CUDA as long as it leaves
the device alone, as loading does; on other systems it is not safe."""

GRACE = 10.0
"""Seconds on top of the time limit for a process to start, and to hand over what it has."""

_POLL = 1.0


class Loaded(NamedTuple):
    """A sample, or why there is none."""

    x: Tensor | None
    reason: str = ""


class LostError(Exception):
    """A sample will not come: its process is gone, or does not answer."""


def attempt(load: Callable[[int], Tensor], i: int) -> Loaded:
    """Load one sample; whatever fails becomes a reason.

    The tensor is a copy with memory of its own, so that its strides, and with them the last bits of
    what a model makes of it, are the same in this process and from another.
    """
    try:
        x = load(i)
        if not isinstance(x, Tensor):
            return Loaded(None, f"the loader returned a {type(x).__name__}, not a tensor")
        return Loaded(x.detach().clone())
    except Exception as error:
        return Loaded(None, isolation.describe(error))


def too_long(timeout: float) -> str:
    """The reason recorded for a sample that timed out."""
    return f"loading took longer than {timeout:g} s"


class Limited(Dataset[Loaded]):
    """Index to what was loaded, within a limit of time; failures are values.

    With a limit, a thread of its own does it, which is abandoned with a load that does not end.

    Args:
        load: Index to sample.
        timeout: Seconds; None for no limit, and no thread.
    """

    def __init__(self, load: Callable[[int], Tensor], timeout: float | None) -> None:
        self.load, self.timeout, self.owner = load, timeout, os.getpid()

    def __getitem__(self, i: int) -> Loaded:
        """Load one."""
        if self.timeout is None:
            return attempt(self.load, i)
        # A new thread each time, since one that stays keeps the threads that torch gave it, and
        # OpenMP, which then counts more of these than cores, puts all of them to sleep between the
        # layers of a model: on two cores, the model was slower by half.
        done: queue.SimpleQueue[Loaded | BaseException] = queue.SimpleQueue()
        thread = threading.Thread(
            target=_answer, args=(self.load, i, done), name="igbench loading", daemon=True
        )
        thread.start()
        found = self._wait(done, self.timeout)
        if found is None:
            return Loaded(None, too_long(self.timeout))
        thread.join()
        if isinstance(found, BaseException):
            raise found
        return found

    def _wait(
        self, done: queue.SimpleQueue[Loaded | BaseException], timeout: float
    ) -> Loaded | BaseException | None:
        """The answer; None if there is none in time."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                return done.get(timeout=min(left, _POLL))
            except queue.Empty:
                self._end_if_orphaned()
        return None

    def _end_if_orphaned(self) -> None:
        """In a process whose run was killed: nobody will ask again."""
        if self.owner not in (os.getpid(), os.getppid()):
            os._exit(1)


def _answer(
    load: Callable[[int], Tensor], i: int, done: queue.SimpleQueue[Loaded | BaseException]
) -> None:
    try:
        done.put(attempt(load, i))
    except BaseException as error:  # a request to stop, which is for the calling thread
        done.put(error)


class LoaderWorkers:
    """Processes that load samples in order, from the beginning on.

    A thread receives what they send: should one of them stop in the middle of a message, this
    thread is abandoned with it.  It starts them as well, for processes that the main thread starts
    have a lost one raise an error in the main thread, wherever that is.

    Args:
        load: What each of them does.
        order: Positions.
        processes: How many.
        ahead: Samples that each may have ready.
        device: Where the samples will go; for CUDA, they come in pinned memory.

    Raises:
        InputError: They cannot be started.
    """

    def __init__(
        self,
        load: Limited,
        order: Sequence[int],
        *,
        processes: int,
        ahead: int,
        device: torch.device,
    ) -> None:
        self._limit = load.timeout
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Loaded | Sequence[Any] | Exception] = queue.SimpleQueue()
        loader = DataLoader(
            load,
            batch_size=None,
            sampler=order,
            num_workers=processes,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            timeout=_POLL,
            worker_init_fn=_begin,
            multiprocessing_context=multiprocessing.get_context(START),
            generator=torch.Generator(),  # or else seeds of processes come from the global one
            prefetch_factor=ahead,
        )
        self._thread = threading.Thread(
            target=_receive,
            args=(loader, device, self._asked, self._answers),
            name="igbench loading",
            daemon=True,
        )
        self._thread.start()
        started = self._answers.get()
        if isinstance(started, Exception):
            text = " ".join(str(started).split())
            raise InputError(
                f"processes that load samples cannot be started ({text}); set loading.workers=0."
            ) from started
        self._members: Sequence[Any] = started

    def receive(self) -> Loaded:
        """The next sample.

        Raises:
            LostError: It will not come; the message says why.
        """
        end = time.monotonic() + (math.inf if self._limit is None else self._limit + GRACE)
        self._asked.put(True)
        while True:
            try:
                found = self._answers.get(timeout=_POLL)
            except queue.Empty:
                self._check()
                if self._limit is not None and time.monotonic() > end:
                    raise LostError(too_long(self._limit)) from None
                continue
            if isinstance(found, Loaded):
                return found
            self._wait_for_an_end()
            self._check()
            raise LostError(f"the process that loads it sent nothing: {found}")

    def _wait_for_an_end(self) -> None:
        """Give a process time to be gone: its connections close before its exit code is known."""
        ended = connection.wait([process.sentinel for process in self._members], timeout=_POLL)
        for process in self._members:
            if process.sentinel in ended:
                process.join(timeout=_POLL)

    def _check(self) -> None:
        """Raise if a process is gone."""
        gone = [process.exitcode for process in self._members if not process.is_alive()]
        if gone:
            code = gone[0]
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended ({code})"
            hint = "; out of memory?" if -code in (signal.SIGKILL, signal.SIGBUS) else ""
            raise LostError(f"the process that loads it {how}{hint}")

    def dismiss(self) -> None:
        """End the processes, whatever they do."""
        for process in self._members:
            process.kill()
        self._asked.put(False)
        self._thread.join(timeout=GRACE)


def _receive(
    loader: DataLoader[Loaded],
    device: torch.device,
    asked: queue.SimpleQueue[bool],
    answers: queue.SimpleQueue[Loaded | Sequence[Any] | Exception],
) -> None:
    """Start processes and tell who they are; then, whenever asked, hand over a sample."""
    try:
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # of this thread: the one that memory is pinned for
        with warnings.catch_warnings():
            # More processes than cores; a fork beside threads; a pickle that fails, which is told.
            warnings.simplefilter("ignore")
            iterator = iter(loader)
    except Exception as error:
        answers.put(error)
        return
    answers.put(tuple(getattr(iterator, "_workers", ())))
    wanted = asked.get()
    while wanted:
        try:
            answers.put(next(iterator))
        except Exception as error:
            if "timed out" in str(error) and asked.empty():
                continue  # there is nothing yet
            answers.put(error)
        wanted = asked.get()


def _begin(number: int) -> None:
    """In a new process: a request to stop is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(found: Any) -> Any:
    return found
