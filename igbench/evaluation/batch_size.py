"""Measure the batch size at which a model is fastest, and remember it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from igbench.core.inference import full_precision
from igbench.core.memory import keeps_freed
from igbench.core.outputs import repeat_target
from igbench.core.score import Score, frozen
from igbench.evaluation.rows_memory import Answer, Readings, recall, remember
from igbench.integration.integrate import input_gradient

MAX_ROWS = 512
"""Largest number of rows that is tried."""

MIN_SPEEDUP = 1.03
"""How much faster per row a larger call must be to be worth its memory."""

MIN_GAIN = 1.02
"""How much faster per row a doubling must be for still larger calls to be tried."""

MAX_ELEMENTS = 2**28
"""Largest number of input elements in one call, whatever the speed: 1 GiB in float32."""

ROUNDS = 6
"""How often a number of rows is timed beside the best so far, at most."""

CALM = 1.03
"""A reading within 3 % of the lowest repeats it: nothing else slowed the machine meanwhile."""

NEAR = 1.06
"""Sizes within 6 % of the fastest may be the fastest, and are timed further."""

MIN_SECONDS = 0.03
"""Least seconds of each timing, of forwards and of gradients: short bursts are faster than what
lasts."""

MAX_SECONDS = 6.0
"""Seconds of timings, as they would take undisturbed, after which no further round begins."""

LONG_CALL = 0.6
"""Seconds of a forward and a gradient that make what a call costs by itself small: beyond it,
larger ones are not tried; beyond half of it not after one doubling that brought nothing."""

SPEED_CHANGE = 1.5
"""Factor between the seconds of a run and those remembered that makes an answer doubtful."""

MIN_RUN = 20.0
"""Seconds in the model that tell the speed of a run."""

ENOUGH = 0.95
"""Share of the seconds wanted that is enough: a call more would overshoot by far."""

FORWARD, GRADIENT = 0, 1


@dataclass(frozen=True)
class Question:
    """What is to be fast: a score at a sample, and where answers are kept.

    Attributes:
        score: f; its folded copy stands in, if it has one, as it will in the run.
        x: (1, *F) a sample.
        target: (1,) or None.
        memory: File of earlier answers (JSON).
        weights: Hash that identifies the model.
    """

    score: Score
    x: Tensor
    target: Tensor | None
    memory: Path
    weights: str

    @property
    def name(self) -> str:
        """Key of the answer: weights, device, dtype, shape, threads, allocator, and folding."""
        x = self.x
        parts = (
            *(self.weights, str(x.device), str(x.dtype), tuple(x.shape)),
            *(torch.get_num_threads(), keeps_freed()),
            *(("folded",) if self.score.fold.module is not None else ()),
        )
        return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()

    def known(self) -> Answer | None:
        """The remembered answer."""
        return recall(self.memory).get(self.name)


def best_rows(question: Question, clock: Callable[[], float] = time.perf_counter) -> int:
    """Rows per call at which a forward and a gradient together are fastest on this device.

    1, 2, 4, ... rows are tried, each beside the best so far, until two doublings in a row bring
    nothing, a call takes long, memory runs out, or a bound is reached; then those within 6 % of the
    fastest are timed in further rounds.  What else runs on the machine can only slow a timing, so
    that the speed of a size is its lowest reading, of forwards and gradients apart.  All timings of
    a round last equally long: a short one would more easily fall between two bursts of a neighbour.
    Rounds end when one repeats the lowest readings of all its sizes, or after 6 s.

    The answer is the smallest number within 3 % of the fastest.  It is kept in a file by weights,
    device, dtype, shape, number of threads, whether freed memory is kept and whether the model is
    folded, with its spread, so that later runs cut their batches alike and give the same bits.

    Args:
        question: What is to be fast.
        clock: Seconds.
    """
    known = question.known()
    return measured(question, clock).rows if known is None else known.rows


def measured(question: Question, clock: Callable[[], float] = time.perf_counter) -> Answer:
    """Measure the answer, add the evidence to what is known of it, and remember it.

    A known number stays while it is within 3 % of the fastest.
    """
    known = question.known()
    found = _search(question.score, question.x, question.target, clock)
    readings = pooled(found, (known.readings if known else None) or {})
    rows = choice(readings, None if known is None else known.rows)
    before = () if known is None else tuple(dict.fromkeys((known.rows, *known.earlier)))
    answer = Answer(
        rows,
        tuple(min(kind) for kind in readings[rows]),
        spread(readings),
        (known.measured if known else 0) + 1,
        datetime.now(UTC).isoformat(timespec="seconds"),
        earlier=tuple(n for n in before if n != rows),
        readings=readings,
    )
    remember(question.memory, question.name, answer)
    return answer


def another_speed(answer: Answer, forward: float, backward: float, seconds: float) -> bool:
    """Whether a run was so much faster or slower than remembered that the answer is in doubt.

    Args:
        answer: What is remembered.
        forward: Model rows of the run.
        backward: Those with a gradient.
        seconds: Of the stages with model rows.
    """
    if seconds < MIN_RUN or len(answer.seconds) != 2:
        return False
    alone, both = answer.seconds
    expected = (forward - backward) * alone + backward * both
    return not 1 / SPEED_CHANGE <= seconds / expected <= SPEED_CHANGE


def pooled(one: Readings, other: Readings) -> dict[int, tuple[tuple[float, ...], ...]]:
    """The two lowest readings of each size and kind in two measurements."""
    return {
        rows: tuple(
            tuple(sorted(sum(kinds, ()))[:2])
            for kinds in zip(*(each[rows] for each in (one, other) if rows in each), strict=True)
        )
        for rows in sorted({*one, *other})
    }


def choice(readings: Readings, known: int | None = None) -> int:
    """Smallest number of rows within 3 % of the fastest; the known one if it is within them."""
    bound = MIN_SPEEDUP * min(map(_floor, readings.values()))
    fast = [rows for rows in readings if _floor(readings[rows]) <= bound]
    return known if known in fast else min(fast)


def spread(readings: Readings) -> float:
    """Largest gap between the two lowest readings of sizes that may be the fastest.

    >>> round(spread({1: ((2.0, 2.1),), 8: ((1.0, 1.02),)}), 6)
    0.02
    """
    gaps = [
        kind[1] / kind[0] - 1 if len(kind) > 1 else math.inf
        for rows in _near(readings)
        for kind in readings[rows]
    ]
    return max(gaps)


def _floor(kinds: Sequence[Sequence[float]]) -> float:
    return sum(min(kind) for kind in kinds)


def _near(readings: Readings) -> list[int]:
    bound = NEAR * min(map(_floor, readings.values()))
    return [rows for rows in readings if _floor(readings[rows]) <= bound]


Timer = Callable[[int, int, float], float]
"""Rows in a call, forward or gradient, and least seconds, to seconds per row; infinite where they
do not fit into memory."""


@dataclass
class Search:
    """A search for the fastest number of rows.

    Attributes:
        timer: Times calls.
        kinds: Forwards, and gradients where there are some.
        found: All readings by rows and kind.
    """

    timer: Timer
    kinds: Sequence[int]
    found: dict[int, tuple[list[float], ...]] = field(default_factory=dict)

    def run(self, most: int) -> Readings:
        """Grow to at most so many rows, settle on the fastest, and return the lowest readings."""
        self._grow(most)
        while len(near := _near(self._readings())) > 1 and not self._calm(near):
            if self._spent() > MAX_SECONDS:
                break
            self._round(near)
        return self._readings()

    def _readings(self) -> dict[int, tuple[tuple[float, ...], ...]]:
        return {
            rows: tuple(tuple(sorted(kind)[:2]) for kind in kinds)
            for rows, kinds in self.found.items()
        }

    def _grow(self, most: int) -> None:
        self._fits(1)
        for _ in range(2):
            self._round([1])
        best, worse, rows = 1, 0, 1
        while 2 * rows <= most and worse < 2 and not self._long(rows, worse):
            rows *= 2
            if self._fits(rows):
                self._beside(rows, best)
            if rows not in self.found:
                return
            own, other = _floor(self.found[rows]), _floor(self.found[best])
            worse = 0 if MIN_GAIN * own < other else worse + 1
            best = rows if own < other else best

    def _long(self, rows: int, worse: int) -> bool:
        return rows * _floor(self.found[rows]) * (1 + worse) > LONG_CALL

    def _fits(self, rows: int) -> bool:
        """Whether calls fit into memory.

        The first call of a size is not counted: it takes new memory, and chooses kernels.
        """
        return all(math.isfinite(self.timer(rows, kind, 0.0)) for kind in self.kinds)

    def _beside(self, rows: int, best: int) -> None:
        for number in range(ROUNDS):
            self._round([best, rows] if number % 2 else [rows, best])
            if number and self._calm([best, rows]):
                return
            if rows not in self.found or (number > 1 and self._spent() > MAX_SECONDS):
                return

    def _round(self, sizes: Sequence[int]) -> None:
        """Time some sizes, each for as long as the longest call takes, within bounds."""
        timed = [(rows, self.found[rows]) for rows in sizes if rows in self.found]
        least = [
            min(LONG_CALL, max([MIN_SECONDS, *(rows * min(own[k]) for rows, own in timed)]))
            for k in range(len(self.kinds))
        ]
        for rows in sizes:
            new = [self.timer(rows, *each) for each in zip(self.kinds, least, strict=True)]
            if not all(map(math.isfinite, new)):  # others have taken the memory since
                self.found.pop(rows, None)
                continue
            kept = self.found.setdefault(rows, tuple([] for _ in self.kinds))
            for values, value in zip(kept, new, strict=True):
                values.append(value)

    def _spent(self) -> float:
        """Seconds of all timings, if each had gone like the lowest of its size."""
        return sum(
            len(kind) * max(MIN_SECONDS, rows * min(kind))
            for rows, kinds in self.found.items()
            for kind in kinds
        )

    def _calm(self, sizes: Collection[int]) -> bool:
        """Whether the last readings of all sizes repeat their lowest."""
        return all(
            len(kind) > 1 and max(sorted(kind)[1], kind[-1]) <= CALM * min(kind)
            for rows in sizes
            for kind in self.found.get(rows, ())
        )


def _search(score: Score, x: Tensor, target: Tensor | None, clock: Callable[[], float]) -> Readings:
    kept = score.batch_size
    kinds = (FORWARD, GRADIENT) if score.differentiable else (FORWARD,)

    def timer(rows: int, kind: int, least: float) -> float:
        many = x.expand(rows, *x.shape[1:]).contiguous()
        score.batch_size = rows
        call = score if kind == FORWARD else partial(input_gradient, score)
        with torch.set_grad_enabled(kind == GRADIENT):
            return _seconds_per_row(call, score, many, repeat_target(target, rows), least, clock)

    try:
        with frozen(score.model), full_precision(x.device), score.folding(True):
            return Search(timer, kinds).run(min(MAX_ROWS, MAX_ELEMENTS // x.numel()))
    finally:
        score.batch_size = kept


def _seconds_per_row(
    call: Callable[[Tensor, Tensor | None], object],
    score: Score,
    x: Tensor,
    target: Tensor | None,
    least: float,
    clock: Callable[[], float],
) -> float:
    """For calls that last long enough together; infinite where they do not fit into memory."""
    passes, start = 0, clock()
    try:
        while passes == 0 or clock() - start < ENOUGH * least:
            call(x, target)
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            passes += 1
    except RuntimeError as error:
        if not score.shrink(error):
            raise
        return math.inf
    return (clock() - start) / (passes * len(x))
