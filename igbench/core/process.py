"""Notice what a piece of work leaves changed in the process, and undo it: settings, generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional
from torch.nn.modules import module as _module

_MISSING = object()


@dataclass(frozen=True)
class Change:
    """Something that is no longer what it was.

    Attributes:
        key: What it is; equal for the same thing.
        text: What was done, to follow the name of who did it.
        undo: Makes it what it was.
    """

    key: object
    text: str
    undo: Callable[[], object]


def _device() -> str:
    return str(torch.get_default_device())


def _set_device(name: str) -> None:
    torch.set_default_device(None if name == "cpu" else name)


def _numpy_state() -> tuple[Any, ...]:
    kind, words, *rest = np.random.get_state()  # noqa: NPY002
    return (kind, np.asarray(words).tobytes(), *rest)


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    kind, words, *rest = state
    np.random.set_state((kind, np.frombuffer(words, np.uint32), *rest))  # noqa: NPY002


def _torch_state() -> bytes:
    return bytes(torch.get_rng_state().numpy().tobytes())


def _set_torch_state(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _cuda_states() -> tuple[bytes, ...]:
    if not torch.cuda.is_initialized():
        return ()
    return tuple(bytes(s.numpy().tobytes()) for s in torch.cuda.get_rng_state_all())


def _set_cuda_states(states: tuple[bytes, ...]) -> None:
    torch.cuda.set_rng_state_all(
        [torch.frombuffer(bytearray(s), dtype=torch.uint8) for s in states]
    )


def _backend(backend: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return partial(getattr, backend, name), partial(setattr, backend, name)


_DRAWN = (
    "drew from, or seeded, the global generator of {}; draw from igbench.core.rng.generator("
    "batch.seed, ...), or give a function, whose generators are seeded and put back"
)
DRAWN_BY_PYTHON = _DRAWN.format("Python's random")
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "changed torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "changed torch's default device": (_device, _set_device),
    "changed the gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "changed torch's deterministic algorithms": (
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    "changed torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "changed torch's anomaly detection": (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda v: torch.set_anomaly_enabled(*v),
    ),
    "left autocast on or off": (
        lambda: tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")),
        lambda v: [
            torch.set_autocast_enabled(kind, on)
            for kind, on in zip(("cpu", "cuda"), v, strict=True)
        ],
    ),
    "changed cuDNN's deterministic flag": _backend(torch.backends.cudnn, "deterministic"),
    "changed cuDNN's benchmark flag": _backend(torch.backends.cudnn, "benchmark"),
    "switched cuDNN on or off": _backend(torch.backends.cudnn, "enabled"),
    "switched oneDNN on or off": _backend(torch.backends.mkldnn, "enabled"),
    "changed NumPy's handling of errors": (np.geterr, lambda v: np.seterr(**v)),
    _DRAWN.format("torch"): (_torch_state, _set_torch_state),
    _DRAWN.format("torch on CUDA"): (_cuda_states, _set_cuda_states),
    _DRAWN.format("NumPy"): (_numpy_state, _set_numpy_state),
    DRAWN_BY_PYTHON: (random.getstate, random.setstate),
}
"""What was done to a setting of the process, how to read it, and how to set it."""


class Process:
    """Settings, generators, global hooks and functions of torch as they are now.

    >>> before = Process()
    >>> torch.set_default_dtype(torch.float64)
    >>> [change.text for change in before.changes()]
    ["changed torch's default dtype"]
    >>> put_back(before.changes())
    >>> torch.get_default_dtype()
    torch.float32
    """

    def __init__(self) -> None:
        self.settings = {text: read() for text, (read, _) in _SETTINGS.items()}
        hooks = [(k, v) for k, v in vars(_module).items() if k.startswith("_global_")]
        self.hooks = [(k, v, dict(v)) for k, v in hooks if isinstance(v, dict)]
        self.functions = dict(vars(torch.nn.functional))

    def changes(self) -> Iterator[Change]:
        """What is not as it was."""
        for text, before in self.settings.items():
            read, write = _SETTINGS[text]
            if before != () and read() != before:  # (): CUDA was not in use
                yield Change(text, text, partial(write, before))
        for name, own, before in self.hooks:
            if not same_parts(own, before):
                yield Change(name, "left or removed a global hook of torch", filled(own, before))
        own = vars(torch.nn.functional)
        for name, before in self.functions.items():
            if own.get(name) is not before:
                text = f"replaced torch.nn.functional.{name}"
                yield Change(name, text, partial(own.__setitem__, name, before))


def put_back(changes: Iterable[Change]) -> None:
    """Undo changes, in their order."""
    for change in changes:
        change.undo()


def same_parts(part: Any, before: Mapping[Any, Any]) -> bool:
    """Whether a dictionary or a set has the same keys and the very same values."""
    if len(part) != len(before):
        return False
    if not isinstance(part, Mapping):
        return part == before.keys()
    return all(before.get(key, _MISSING) is value for key, value in part.items())


def filled(part: Any, before: Mapping[Any, Any]) -> Callable[[], object]:
    """Fill a dictionary or a set as it was."""

    def fill() -> None:
        part.clear()
        part.update(before)

    return fill
