"""Linearity axiom: attribution of a sum of two functions against the sum of their attributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score, Wrapped
from igbench.errors import InputError, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged, repeated
from igbench.metrics.reexplain import LOST, explained, l1, method_of_batch


@dataclass(frozen=True)
class Linearity(BaseMetric):
    """Linearity gap: |phi(a f + b g) - a phi(f) - b phi(g)|_1 / (|a phi(f)|_1 + |b phi(g)|_1).

    g(x) = v . x with independent normal v, drawn by the seed alone: the same function for all
    samples and methods.  b = |phi(f)|_1 / |phi(g)|_1 for each sample, so that both parts weigh the
    same whatever the units of f; 1 where the map of g is zero, as it is for methods that read a
    layer of the network.  f takes part in g with the weight 0, as methods may need its layers.

    Lower is better, in [0, inf); 0 for linear methods, 1/2 (at a = 1) for a map that does not
    depend on the model.  Undefined where a map is zero or not finite.  The value is the mean over R
    such functions, and the standard error is that of this mean; all samples share the functions, so
    that the errors of samples do not average out.  Cost: 2 R explanations for each method.

    Source: Sundararajan, Taly and Yan 2017, section 4, linearity.

    Args:
        a: Weight of f, not zero.
        repeats: Number R of random functions; 1 gives no standard error.

    Raises:
        InputError: a is zero or not finite, fewer than one function, or no method to explain with.

    Example:
        A map that shows the input whatever the model is.

        >>> import torch
        >>> from igbench.metrics import linearity
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> linearity(lambda x: x.sum(dim=1), x, x, method=lambda batch: batch.x).tolist()
        [0.5]
    """

    name = "linearity"
    family = "axiomatic"
    needs_method = True
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
        super().__post_init__()
        check_positive("repeats", self.repeats)
        if self.a == 0 or not math.isfinite(self.a):
            raise InputError(f"a is {self.a}; linearity needs a weight of f other than zero.")

    @property
    def sharing_key(self) -> object:
        """Metrics with the same number of repeats share the random functions."""
        return (Linearity, self.repeats)

    def observe(self, batch: Batch) -> list[Tensor]:
        """The slopes v, R of (*F)."""
        found = []
        for own in repeated(batch, self.repeats):
            g = rng.generator(own.metric_seed, "linearity", "")
            found.append(perturb.drawn(_normal(g), batch.x.shape[1:], batch.still))
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
        both = explained(name, own, replace(batch.select(slice(i, i + 1)), score=score))
        parts = self.a * own.values.double() + b * of_g[i : i + 1].double()
        return l1(both.double() - parts) / (abs(self.a) * size_f + b * size_g)


def _normal(g: torch.Generator) -> Callable[[torch.Size], Tensor]:
    return lambda shape: torch.randn(shape, generator=g, dtype=torch.float64)


class Combined(Wrapped):
    """Scalar a f(x) + b v . x.

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
