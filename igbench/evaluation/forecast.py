"""Forecast of the time that an evaluation takes, corrected while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

TRUST = 0.05
"""Share of the estimate that must be measured for it to weigh as much as the estimate itself."""

LEAST = 1e-6
"""Seconds of one sample in a stage that is estimated to cost nothing."""


class Progress:
    """Seconds done and left of a run whose stages differ in cost.

    Let stage k have n_k samples, of which d_k are done in s_k seconds, and let e_k be its estimated
    seconds for one sample.  A sample of stage k is expected to take

        s_k / d_k                         once the stage is measured (d_k > 0),
        e_k (S + c) / (E + c)             before that,

    with S the seconds measured in all, E the seconds that were estimated for the same work, and c
    5 % of the whole estimate, so that the first steps, which are short, decide little.

    Args:
        work: Samples that go through each stage, in the order of the stages.
        seconds: Estimated seconds of one sample by stage.
        clock: Seconds.
    """

    def __init__(
        self,
        work: Mapping[str, int],
        seconds: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.start = self.last = clock()
        self.todo = dict(work)
        self.estimated = {stage: max(LEAST, seconds.get(stage, 0.0)) for stage in work}
        self.done = dict.fromkeys(work, 0)
        self.spent = dict.fromkeys(work, 0.0)
        self.stage, self.size, self._share = "", 0, 0.0

    def advance(self, stage: str, samples: int) -> None:
        """Record that a stage is done for some samples; it took the time since the last call."""
        now = self.clock()
        self.spent[stage] += now - self.last
        self.done[stage] += samples
        self.todo[stage] -= samples
        self.last, self.stage, self.size = now, stage, samples

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not any(self.todo.values())

    def left(self) -> float:
        """Seconds that the rest is expected to take, less what the step under way has taken."""
        rate = self._rate()
        total = sum(n * self._per_sample(stage, rate) for stage, n in self.todo.items())
        waiting = min(self.clock() - self.last, self.size * self._per_sample(self._next(), rate))
        return max(0.0, total - waiting)

    def share(self) -> float:
        """Share of the cost that is done, 0 .. 1; never falls."""
        if self.finished:
            return 1.0
        elapsed, left = self.elapsed, self.left()
        now = elapsed / (elapsed + left) if elapsed + left > 0 else 0.0
        self._share = max(self._share, now)
        return self._share

    def _per_sample(self, stage: str, rate: float) -> float:
        if not stage:
            return 0.0
        if self.done[stage]:
            return self.spent[stage] / self.done[stage]
        return self.estimated[stage] * rate

    def _rate(self) -> float:
        """Measured over estimated seconds of what is done, drawn towards 1 in the beginning."""
        whole = sum((self.done[s] + self.todo[s]) * e for s, e in self.estimated.items())
        same = sum(self.done[s] * e for s, e in self.estimated.items())
        prior = TRUST * whole
        return (sum(self.spent.values()) + prior) / (same + prior) if prior else 1.0

    def _next(self) -> str:
        """The stage that follows the last one, which is under way where shards run in turn."""
        order = [stage for stage, n in self.todo.items() if n or stage == self.stage]
        if self.stage not in order or len(order) < 2:
            return ""
        return order[(order.index(self.stage) + 1) % len(order)]
