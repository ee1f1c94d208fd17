"""Random generators keyed by (seed, purpose, sample id, draw): the only source of randomness.

A generator depends on its key and on nothing else: not on the position in a batch, the device,
the method or the worker.
Numbers are drawn on the CPU and moved, so that every device sees the same ones.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def key(seed: int, purpose: str, sample_id: str, draw: int = 0) -> int:
    """A 63-bit seed from the four parts; equal parts give equal seeds on every machine.

    >>> key(0, "noise", "cat") in (key(0, "noise", "cat"), key(0, "ties", "cat"))
    True
    >>> key(0, "noise", "cat") == key(1, "noise", "cat")
    False
    """
    text = f"{seed}\x1f{purpose}\x1f{sample_id}\x1f{draw}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, sample_id: str, draw: int = 0) -> torch.Generator:
    """A CPU generator for one purpose on one sample.

    >>> a, b = generator(0, "noise", "cat"), generator(0, "noise", "cat")
    >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
    True
    """
    return torch.Generator().manual_seed(key(seed, purpose, sample_id, draw))


def per_sample(
    make: Callable[[torch.Generator], Tensor],
    seed: int,
    purpose: str,
    sample_ids: Sequence[str],
    like: Tensor,
) -> Tensor:
    """Stack `make(generator)` over samples, on the device and in the dtype of `like`.

    Integer and boolean results keep their own dtype.
    """
    stacked = torch.stack([make(generator(seed, purpose, s)) for s in sample_ids])
    return stacked.to(like) if stacked.is_floating_point() else stacked.to(like.device)


def repeat(seed: int, number: int) -> int:
    """The seed of a repeat of the same measurement; the first one, 0, has the seed itself.

    >>> repeat(7, 0), repeat(7, 1) == 7
    (7, False)
    """
    return key(seed, "repeat", "", number) if number else seed


@contextmanager
def global_state(seed: int, purpose: str, sample_id: str) -> Iterator[Callable[[], bool]]:
    """Seed the global generators of torch, numpy and Python, and restore them afterwards.

    For foreign code alone (Captum, shap, Quantus) that draws from global state.  One thread at a
    time; others that want the same wait.

    Yields:
        A function that says whether anything was drawn since.
    """
    value = key(seed, purpose, sample_id)
    with _ONE_AT_A_TIME, untouched():
        _seed_torch(value)
        np.random.seed(value % 2**32)  # noqa: NPY002  foreign code uses the legacy generator
        random.seed(value)
        start, dtype = _states(), torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)  # in which foreign code draws
        try:
            yield lambda: _states() != start
        finally:
            torch.set_default_dtype(dtype)


_ONE_AT_A_TIME = threading.RLock()


def _seed_torch(value: int) -> None:
    """`torch.manual_seed`, without its long way where there is no accelerator.

    For each kind of device that is not in use yet it formats the stack of calls.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)


@contextmanager
def alone() -> Iterator[None]:
    """A context in which no other thread is within `global_state`."""
    with _ONE_AT_A_TIME:
        yield


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the global generators of torch, numpy and Python as they were.

    >>> before = torch.get_rng_state()
    >>> with untouched():
    ...     _ = torch.rand(3)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices: list[int] | None = None  # looks for all of them
    if not torch.accelerator.is_available():
        devices = []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(python)


def _states() -> tuple[bytes, bytes, int, object]:
    """The states of the global generators of torch, numpy and Python."""
    _, words, position, *_ = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state().numpy().tobytes()
    return torch_state, np.asarray(words).tobytes(), int(position), random.getstate()
