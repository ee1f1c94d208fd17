"""Load samples ahead of the evaluation loop, with bounded memory, timeouts and per-sample errors.

Nothing here decides a number: a sample is the same tensor whoever loads it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.errors import InputError, SampleError
from igbench.evaluation.loader_workers import Limited, Loaded, LoaderWorkers, LostError

log = logging.getLogger(__name__)

MOST = 4
"""Processes that "auto" starts at most."""


@dataclass(frozen=True)
class Loading:
    """How samples are loaded.

    Attributes:
        workers: Processes that load ahead.  0: this process loads what is needed, when it is.
            "auto": 0 where the model runs on the CPU, which processes would compete for, and up to
            4 for a GPU.
        prefetch: Batches that processes load ahead of the one at work.
        timeout: Seconds after which a load times out.  None: never, and without processes
            samples are loaded in the calling thread.

    Raises:
        InputError: A number that makes no sense.
    """

    workers: int | Literal["auto"] = 0
    prefetch: int = 2
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.workers != "auto" and not _whole(self.workers, least=0):
            raise InputError(
                f"loading.workers={self.workers} must be auto, or a whole number of at least 0."
            )
        if not _whole(self.prefetch, least=1):
            raise InputError(
                f"loading.prefetch={self.prefetch} must be a whole number of at least 1."
            )
        if self.timeout is not None and not _seconds(self.timeout):
            raise InputError(
                f"loading.timeout={self.timeout} must be a number of seconds above 0, or null for "
                "no limit."
            )

    def processes(self, device: torch.device, samples: int, batch: int) -> int:
        """How many processes load so many samples; "auto" needs none where one batch is all."""
        if self.workers != "auto":
            return min(self.workers, samples)
        if device.type != "cuda" or samples <= batch:
            return 0
        return min(MOST, max(0, _cores() - 1))


def _whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@contextmanager
def opened(
    data: Data, order: Sequence[int], settings: Loading, *, device: torch.device, batch: int
) -> Iterator[Data]:
    """The same data, loaded as the settings say while the context lasts.

    Args:
        data: Any; data that are opened already are given back as they are.
        order: Positions of the samples, in the order in which they will be requested.
        settings: Who loads, how far ahead, how long at most.
        device: Where the samples will go; for CUDA, processes hand over pinned memory.
        batch: Samples in one batch.

    Yields:
        Data whose `load` raises `SampleError`, for whatever reason a sample is missing.

    Raises:
        InputError: Processes are requested and cannot be started.
    """
    if isinstance(data.load, Stream):
        yield data
        return
    stream = Stream(data.load, order, settings, device=device, batch=batch)
    try:
        yield replace(data, load=stream)
    finally:
        stream.close()


def first(data: Data, settings: Loading) -> tuple[int, Tensor] | None:
    """Position and value of the first sample that can be loaded; None if there is none."""
    return next(iter(some(data, settings, 1)), None)


def some(data: Data, settings: Loading, count: int) -> list[tuple[int, Tensor]]:
    """Positions and values of the first samples that can be loaded, `count` at most."""
    everywhere, here = range(len(data)), replace(settings, workers=0)
    found: list[tuple[int, Tensor]] = []
    with opened(data, everywhere, here, device=torch.device("cpu"), batch=1) as open_data:
        for i in everywhere:
            if len(found) == count:
                break
            try:
                found.append((i, open_data.load(i)))
            except SampleError:
                continue
    return found


class Stream:
    """Index to sample, for samples that are requested in a known order.

    Processes, if there are any, start at once.  They hold no more samples than fit into the batches
    ahead, rounded up to a multiple of their number.
    """

    def __init__(
        self,
        load: Callable[[int], Tensor],
        order: Sequence[int],
        settings: Loading,
        *,
        device: torch.device,
        batch: int,
    ) -> None:
        self._load, self._timeout = load, settings.timeout
        self._here = Limited(load, settings.timeout)
        self._order, self._at = order, 0
        self._processes = settings.processes(device, len(order), batch)
        self._ahead = math.ceil(settings.prefetch * batch / max(1, self._processes))
        self._device = device
        self._crew = self._start(order, self._processes) if self._processes else None

    def __call__(self, i: int) -> Tensor:
        """The sample at a position; one out of order is loaded by this process.

        Raises:
            SampleError: There is none; the message says why.
        """
        if self._processes and self._at < len(self._order) and self._order[self._at] == i:
            found = self._next()
        else:
            found = self._here[i]
        if found.x is None:
            raise SampleError(found.reason)
        return found.x

    def close(self) -> None:
        """End processes, loads that do not end included."""
        self._dismiss()

    def _next(self) -> Loaded:
        i = self._order[self._at]
        try:
            found = self._received(i)
        except InputError as error:  # there were processes before, but no more can be had
            log.warning("%s; going on without", error)
            self._processes = 0
            found = self._here[i]
        self._at += 1
        if self._at == len(self._order):
            self._dismiss()
        return found

    def _received(self, i: int) -> Loaded:
        """The sample that is next.

        When a process is lost, or does not answer, the sample that is waited for is loaded again
        by one that has nothing else to do, so that it is clear whether it is to blame; then all
        goes on behind it.
        """
        if self._crew is None:
            self._crew = self._start(self._order[self._at :], self._processes)
        try:
            return self._crew.receive()
        except LostError as error:
            log.warning("%s; loading again what was lost", error)
        self._dismiss()
        alone = self._start([i], 1)
        try:
            return alone.receive()
        except LostError as error:
            return Loaded(None, str(error))
        finally:
            alone.dismiss()

    def _start(self, order: Sequence[int], processes: int) -> LoaderWorkers:
        return LoaderWorkers(
            Limited(self._load, self._timeout),
            order,
            processes=processes,
            ahead=self._ahead,
            device=self._device,
        )

    def _dismiss(self) -> None:
        if self._crew is not None:
            self._crew.dismiss()
            self._crew = None
