"""Completeness gap: difference between sum phi and f(x) - f(x')."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.base import BaseMetric


@dataclass(frozen=True)
class Completeness(BaseMetric):
    """Completeness gap: |sum phi - (f(x) - f(x'))| / |f(x) - f(x')|.

    The sum is over all elements of the map; x' is the baseline.

    Lower is better, in [0, inf).  Undefined where f(x) = f(x') to within rounding, if relative;
    always defined otherwise.  Exact, no standard error.  Cost: 2 model rows for each sample, shared
    by all methods.

    Source: Sundararajan, Taly and Yan 2017, proposition 1.

    Args:
        relative: Divide by |f(x) - f(x')|; otherwise the gap is in units of f.

    Example:
        f = x1^2 + x2^2 rises by 5 from the baseline 0; gradient times input sums to 10.

        >>> import torch
        >>> from igbench.metrics import completeness
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> completeness(lambda x: (x**2).sum(dim=1), x, x.new_tensor([[2.0, 8.0]])).tolist()
        [1.0]
    """

    foldable = True
    name = "completeness"
    family = "axiomatic"
    explains = "Do the contributions add up to f(x) - f(x')?"
    direction = "lower"
    reference = "Sundararajan, Taly, Yan 2017, proposition 1"
    needs = "global signed"
    range = (0, math.inf)
    min_effect = 0.005

    relative: bool = True

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Completeness gap, {'relative' if self.relative else 'absolute'}"

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return "f(x) equals f(x') to within rounding" if self.relative else "never"

    @property
    def sharing_key(self) -> object:
        """All variants share the two end points."""
        return "endpoints"

    def observe(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """f(x) and f(x'), both (N,)."""
        return (
            batch.score.evaluate(batch.x, batch.target),
            batch.score.evaluate(batch.baseline, batch.target),
        )

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: tuple[Tensor, Tensor],
    ) -> dict[str, Measurement]:
        """The gap of every attribution."""
        start, end = observation[1].double(), observation[0].double()
        change = end - start
        rounding = 8 * torch.finfo(batch.x.dtype).eps * (start.abs() + end.abs())
        scale = change.abs() if self.relative else torch.ones_like(change)
        result = {}
        for name, attribution in attributions.items():
            gap = (attribution.values.flatten(1).double().sum(dim=1) - change).abs() / scale
            if self.relative:
                gap = torch.where(change.abs() > rounding, gap, math.nan)
            result[name] = Measurement(gap, reason="f(x) equals f(x') to within rounding")
        return result
