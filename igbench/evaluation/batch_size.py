"""Measure the batch size at which a model is fastest, and remember it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from igbench.core.memory import keeps_freed
from igbench.core.outputs import repeat_target
from igbench.core.score import Score, frozen
from igbench.files import write_whole
from igbench.integration.integrate import input_gradient

log = logging.getLogger(__name__)

MAX_ROWS = 512
"""Largest number of rows that is tried."""

MIN_SPEEDUP = 1.03
"""How much faster per row a larger call must be to be worth its memory."""

MAX_ELEMENTS = 2**28
"""Largest number of input elements in one call, whatever the speed: 1 GiB in float32."""

ROUNDS = 5
"""How often all numbers of rows are timed, one after another: the machine's slow minutes slow all
of them, so that only the numbers of one round are compared."""

MIN_SECONDS = 0.05
"""Least seconds of each timing: short bursts are faster than what lasts."""

LONG_CALL = 0.6
"""Seconds of a forward and a gradient that make what a call costs by itself small: beyond it,
larger ones are not tried."""


def best_rows(
    score: Score,
    x: Tensor,
    target: Tensor | None,
    *,
    memory: Path,
    weights: str,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Rows per call at which a forward and a gradient together are fastest on this device.

    1, 2, 4, ... rows are tried until two doublings in a row bring less than 3 %, a call takes long,
    memory runs out, or a bound is reached; then all of them are timed in five rounds.  The answer
    is the smallest number within 3 % of the fastest, by the median over the rounds of the seconds
    relative to the mean of the round.  It is kept in a file by weights, device, dtype, shape,
    number of threads and whether freed memory is kept, so that later runs cut their batches alike
    and give the same bits.

    Args:
        score: f.
        x: (1, *F) a sample.
        target: (1,) or None.
        memory: File of earlier answers (JSON).
        weights: Hash that identifies the model.
        clock: Seconds.
    """
    parts = (
        *(weights, str(x.device), str(x.dtype), tuple(x.shape)),
        *(torch.get_num_threads(), keeps_freed()),
    )
    name = hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
    known = recall(memory)
    if name in known:
        return known[name]
    rows = _search(score, x, target, clock)
    remember(memory, name, rows)
    return rows


def _search(score: Score, x: Tensor, target: Tensor | None, clock: Callable[[], float]) -> int:
    kept = score.batch_size
    try:
        with frozen(score.model):
            seconds: dict[int, list[float]] = {n: [] for n in _growing(score, x, target, clock)}
            for _ in range(ROUNDS):
                for rows, found in seconds.items():
                    found.append(_seconds_per_row(score, x, target, rows, clock))
    finally:
        score.batch_size = kept
    return _smallest_fast(seconds)


def _smallest_fast(seconds: Mapping[int, Sequence[float]]) -> int:
    """Smallest number of rows within 3 % of the fastest, by seconds in each round."""
    fit = {rows: found for rows, found in seconds.items() if math.isfinite(max(found))}
    rounds = [statistics.geometric_mean(each) for each in zip(*fit.values(), strict=True)]
    typical = {
        rows: statistics.median(own / mean for own, mean in zip(found, rounds, strict=True))
        for rows, found in fit.items()
    }
    bound = MIN_SPEEDUP * min(typical.values())
    return min(rows for rows, ratio in typical.items() if ratio <= bound)


def _growing(
    score: Score, x: Tensor, target: Tensor | None, clock: Callable[[], float]
) -> Iterator[int]:
    """1, 2, 4, ... rows, as long as more may be worth it."""
    best, worse, rows = math.inf, 0, 1
    while rows <= MAX_ROWS and rows * x.numel() <= MAX_ELEMENTS and worse < 2:
        # Twice, as the first call of a size is slower: it takes new memory, and chooses kernels.
        found = min(_seconds_per_row(score, x, target, rows, clock) for _ in range(2))
        if math.isfinite(found):
            yield rows
        if rows * found > LONG_CALL:
            return
        worse = 0 if MIN_SPEEDUP * found < best else worse + 1
        best = min(best, found)
        rows *= 2


def _seconds_per_row(
    score: Score, x: Tensor, target: Tensor | None, rows: int, clock: Callable[[], float]
) -> float:
    """For a forward and a gradient; infinite where they do not fit into memory."""
    many = x.expand(rows, *x.shape[1:]).contiguous()
    targets = repeat_target(target, rows)
    score.batch_size = rows
    passes, start = 0, clock()
    try:
        while passes == 0 or clock() - start < MIN_SECONDS:
            with torch.no_grad():
                score(many, targets)
            if score.differentiable:
                input_gradient(score, many, targets)
            if many.is_cuda:
                torch.cuda.synchronize(many.device)
            passes += 1
    except RuntimeError as error:
        if not score.shrink(error):
            raise
        return math.inf
    return (clock() - start) / (passes * rows)


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
        write_whole(memory, json.dumps(recall(memory) | {name: rows}).encode())
    except OSError as error:
        log.warning(
            "cannot remember the batch size in %s: %s; set batch_size=%d, or a stopped run may "
            "begin again with another one",
            memory,
            error,
            rows,
        )
