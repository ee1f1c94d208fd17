"""How much memory did a piece of work need at its peak?"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_MEBI = 2**20


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
