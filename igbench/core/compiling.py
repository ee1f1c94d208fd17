"""Settings of `torch.compile` for one compilation, restored afterwards; and sizes of its calls."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from igbench.files import cache_folder

log = logging.getLogger(__name__)

SMALL = 4
"""Calls have `most` rows, or `most` over this: two sizes, each of which is compiled once."""

MOST_VERSIONS = 64
"""Compiled versions of the same code that dynamo may keep: it counts those of all models of a class
together, and would silently stop to compile at 8."""

FOLDERS = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables of the environment that inductor reads and sets."""

DEFAULT = str(Path(tempfile.gettempdir()) / "torchinductor_")
"""How inductor's own folder begins, which it writes into these variables when it is imported."""

_LOCK = threading.RLock()


@contextmanager
def settings(backend: str, device: torch.device) -> Iterator[None]:
    """Settings of dynamo and inductor while something is compiled; one thread at a time.

    Inductor records CUDA graphs on CUDA.  Its code goes to `compiled` in the cache folder of
    igbench, unless TORCHINDUCTOR_CACHE_DIR says where, and is found there by other processes.
    Weights are not frozen: that made EfficientNet-Lite0 no faster on a CPU, inductor keeps no
    frozen graph of convolutions there, and weights that change later would not be seen.

    Args:
        backend: Name of a backend of `torch.compile`.
        device: Where the model runs.
    """
    with _LOCK, ExitStack() as stack:
        stack.enter_context(_folder(cache_folder(None) / "compiled"))
        from torch._dynamo import config as dynamo  # which may write into the environment

        limit = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
        stack.enter_context(dynamo.patch({limit: max(MOST_VERSIONS, getattr(dynamo, limit))}))
        if backend == "inductor" and device.type == "cuda":
            from torch._inductor import config as inductor

            stack.enter_context(inductor.patch({"triton.cudagraphs": True}))
        yield


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Let inductor keep its code in a folder, if that can be written and no other one is set."""
    before = {name: os.environ.get(name) for name in FOLDERS}
    for name, value in before.items():
        if value is not None and value.startswith(DEFAULT):
            del os.environ[name]
    try:
        if FOLDERS[0] not in os.environ:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                os.environ[FOLDERS[0]] = str(folder.absolute())
    except OSError as error:
        log.debug("compiled code is not kept in %s: %s", folder, error)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def surroundings(device: torch.device) -> tuple[object, ...]:
    """What compiled code depends on besides its inputs; it is compiled anew where any changes."""
    return (
        *(torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)),
        *(torch.get_num_threads(), torch.get_float32_matmul_precision()),
        torch.are_deterministic_algorithms_enabled(),
    )


def call_size(rows: int, most: int) -> int:
    """Rows of each call for a number of rows: `most`, or a quarter where at most two such will do.

    >>> [call_size(n, 64) for n in (1, 16, 17, 32, 33, 64)]
    [16, 16, 16, 16, 64, 64]
    >>> [call_size(1, most) for most in (1, 2, 3, 8)]
    [1, 2, 1, 2]
    """
    small = max(1, most // SMALL)
    return small if rows <= 2 * small < most else most


def filled(x: Tensor, size: int) -> Tensor:
    """Rows (N, *F) and copies of the last one, (size, *F), in one of two memory layouts."""
    last = x.dim() == 4 and not x.is_contiguous()
    last = last and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    shape = (size, *x.shape[1:])
    wide = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
    if x.shape == wide.shape and x.stride() == wide.stride():
        return x
    wide[: len(x)] = x
    wide[len(x) :] = x[-1:]
    return wide


def lacking(device: torch.device) -> str:
    """What inductor needs on a device and does not find; "" where nothing is missing."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "the package triton is not installed"
        known = (os.environ.get("CC", "cc"), "gcc", "clang")
        return "" if any(map(shutil.which, known)) else "there is no C compiler (cc)"
    defaults = {"darwin": "clang++", "win32": "cl"}
    compiler = os.environ.get("CXX") or defaults.get(sys.platform, "g++")
    return "" if shutil.which(compiler) else f"there is no C++ compiler ({compiler})"
