"""Peak memory of a piece of work, and settings of the allocator."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_MEBI = 2**20
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # from malloc.h
_kept = False  # the setting of this process: the allocator has no query for it


def keep_freed() -> bool:
    """Set the allocator of glibc to keep freed memory for reuse; returns whether that worked.

    By default it returns the activations of every forward pass to the system, which provides them
    again page by page, filled with zeros: for a small network on images that took nearly half of
    the time.  The setting is that of the whole process, so programs make it, and the library does
    not by itself.  Call `give_back` between pieces of work of different kinds.  Does nothing
    on other systems, and where the environment (MALLOC_..., GLIBC_TUNABLES) has settings for the
    allocator.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ)
    if own or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = _libc()
    if libc is None:
        return False
    global _kept
    done = libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1) == 1
    _kept = done and libc.mallopt(_MMAP_MAX, 0) == 1
    return _kept


def keeps_freed() -> bool:
    """Whether this process keeps freed memory since it called `keep_freed`."""
    return _kept


def give_back() -> None:
    """Return free memory to the system, so that none is kept in pieces of the wrong size."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """The C library, if it is that of GNU."""
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None)
    return found if hasattr(found, "gnu_get_libc_version") else None


def reset_peak(device: torch.device) -> None:
    """Start a new measurement, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is that of the process's whole life
        return


def peak(device: torch.device) -> float:
    """Peak since `reset_peak` in MiB: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBI
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return lifetime_peak(device)


def lifetime_peak(device: torch.device) -> float:
    """Peak since the process began, in MiB; on CUDA, of the device since the last reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBI
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / _MEBI if sys.platform == "darwin" else used / 1024
