"""How many rows in one call of the model are fastest?  Measured once, then remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from igbench.attr.integrate import input_gradient
from igbench.types import Score, frozen

log = logging.getLogger(__name__)

MOST = 512
"""Largest number of rows that is tried."""

GAIN = 1.03
"""How much faster per row a larger call must be to be worth its memory."""

SPACE = 2**28
"""Largest number of input elements in one call, whatever the speed: 1 GiB in float32."""


def best_rows(
    score: Score,
    x: Tensor,
    target: Tensor | None,
    *,
    memory: Path,
    weights: str,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Rows per call at which gradients are fastest on this device.

    1, 2, 4, ... rows are timed until two doublings in a row bring less than 3 %, memory runs out,
    or a bound is reached.  The answer is kept in a file by weights, device, dtype, shape and number
    of threads, so that later runs cut their batches alike and give the same bits.

    Args:
        score: f.
        x: (1, *F) a sample.
        target: (1,) or None.
        memory: File of earlier answers (JSON).
        weights: Hash that identifies the model.
        clock: Seconds.
    """
    parts = (weights, str(x.device), str(x.dtype), tuple(x.shape), torch.get_num_threads())
    name = hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
    known = recall(memory)
    if name in known:
        return known[name]
    rows = _search(score, x, target, clock)
    remember(memory, name, rows)
    return rows


def _search(score: Score, x: Tensor, target: Tensor | None, clock: Callable[[], float]) -> int:
    best, best_rate, worse, rows = 1, 0.0, 0, 1
    kept = score.rows
    try:
        with frozen(score.model):
            while rows <= MOST and rows * x.numel() <= SPACE and worse < 2:
                score.rows = rows
                many = x.expand(rows, *x.shape[1:]).contiguous()
                targets = None if target is None else target.expand(rows)
                try:
                    rate = rows / min(_seconds(score, many, targets, clock) for _ in range(2))
                except RuntimeError as error:
                    if score.shrink(error):
                        break
                    raise
                if rate > GAIN * best_rate:
                    best, best_rate, worse = rows, rate, 0
                else:
                    worse += 1
                rows *= 2
    finally:
        score.rows = kept
    return best


def _seconds(score: Score, x: Tensor, target: Tensor | None, clock: Callable[[], float]) -> float:
    start = clock()
    gradient = input_gradient(score, x, target)
    if gradient.is_cuda:
        torch.cuda.synchronize(gradient.device)
    return clock() - start


def recall(memory: Path) -> dict[str, int]:
    """Earlier answers; none if the file is missing or not what it should be."""
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
        return {str(k): int(v) for k, v in found.items() if int(v) > 0}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def remember(memory: Path, name: str, rows: int) -> None:
    """Add an answer, replacing the file in one step; a folder that is read-only is no error."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(recall(memory) | {name: rows}), encoding="utf-8")
        temporary.replace(memory)
    except OSError as error:
        log.warning(
            "cannot remember the batch size in %s: %s; set batch_size=%d, or a stopped run may "
            "begin again with another one",
            memory,
            error,
            rows,
        )
