"""Linearity: is the map of a sum of two functions the sum of their maps?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score
from igbench.errors import InputError, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged, repeated
from igbench.metrics.reexplain import LOST, Wrapped, explained, l1, method_of_batch, subset


@dataclass(frozen=True)
class Linearity(BaseMetric):
    """|phi(a f + b g) - a phi(f) - b phi(g)|_1 / (|a phi(f)|_1 + |b phi(g)|_1), 0 where linear.

    Sundararajan, Taly and Yan 2017, section 4 ("linearity").  g(x) = v . x with independent normal
    v, drawn by the seed alone: the same function for all samples and methods.  b = |phi(f)|_1 /
    |phi(g)|_1 for each sample, so that both parts weigh the same whatever the units of f; 1 where
    the map of g is zero, as it is for methods that look at a layer of the network.  Range
    [0, inf); a map that does not depend on the model has 1/2 (at a = 1).

    The value is the mean over R such functions, and the standard error is that of this mean; they
    are those of all samples, so that the errors of samples do not average out.

    f takes part in g with the weight 0, as methods may need its layers.

    Args:
        a: Weight of f, not zero.
        repeats: Number R of random functions; no standard error for 1.

    Raises:
        InputError: a is zero, no functions.
    """

    name = "linearity"
    family = "axiomatic"
    explains = "Is the map of a sum of two functions the sum of their maps?"
    direction = "lower"
    reference = "Sundararajan, Taly, Yan 2017, section 4"
    title = "Linearity (relative L1 gap, f plus a random linear function)"
    range = (0, math.inf)
    unit = "element"
    undefined = LOST
    shared_draws = True

    a: float = 1.0
    repeats: int = 2

    def __post_init__(self) -> None:
        check_positive("repeats", self.repeats)
        if self.a == 0 or not math.isfinite(self.a):
            raise InputError(f"a is {self.a}; linearity needs a weight of f other than zero.")

    @property
    def sharing_key(self) -> object:
        """Only the random functions."""
        return (Linearity, self.repeats)

    def observe(self, batch: Batch) -> list[Tensor]:
        """The slopes v, R of (*F)."""
        found = []
        for own in repeated(batch, self.repeats):
            g = rng.generator(own.metric_seed, "linearity", "")
            found.append(torch.randn(batch.x.shape[1:], generator=g, dtype=torch.float64))
        return [v.to(batch.x) for v in found]

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Tensor]
    ) -> dict[str, Measurement]:
        """The gap of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            gaps = []
            for v in observation:
                plain = replace(batch, score=Combined(batch.score, 0.0, 1.0, v))
                of_g = explained(name, attribution, plain)
                every = [self._gap(name, attribution, of_g, batch, v, i) for i in range(len(batch))]
                gaps.append(torch.cat(every))
            result[name] = averaged(torch.stack(gaps), LOST)
        return result

    def _gap(
        self,
        name: str,
        attribution: Attribution,
        of_g: Tensor,
        batch: Batch,
        v: Tensor,
        i: int,
    ) -> Tensor:
        """The gap of one sample, (1,)."""
        own = replace(attribution, values=attribution.values[i : i + 1])
        size_f, size_g = l1(own.values), l1(of_g[i : i + 1])
        b = float(size_f / size_g) if float(size_g) > 0 else 1.0
        score = Combined(batch.score, self.a, b, v)
        both = explained(name, own, replace(subset(batch, torch.tensor([i])), score=score))
        parts = self.a * own.values.double() + b * of_g[i : i + 1].double()
        return l1(both.double() - parts) / (abs(self.a) * size_f + b * size_g)


class Combined(Wrapped):
    """a f(x) + b v . x.

    Args:
        score: f.
        a: Weight of f.
        b: Weight of the linear function.
        v: (*F) its slopes.
    """

    def __init__(self, score: Score, a: float, b: float, v: Tensor) -> None:
        super().__init__(score)
        self.a, self.b, self.v = a, b, v

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Scalar of every row, (N,)."""
        line = (x * self.v).flatten(1).sum(dim=1)
        return self.a * super().forward(x, target) + self.b * line
