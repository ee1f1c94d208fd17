"""Completeness: do the contributions add up to f(x) - f(x')?"""

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
    """The completeness gap |sum phi - (f(x) - f(x'))|, relative to |f(x) - f(x')|.

    Undefined where f(x) = f(x') to within rounding, if relative.

    Args:
        relative: Divide by |f(x) - f(x')|; otherwise the gap is in units of f.
    """

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
        """Name, with what the parameters decide."""
        return f"Completeness gap, {'relative' if self.relative else 'absolute'}"

    @property
    def undefined(self) -> str:
        """When there is no value."""
        return "f(x) equals f(x') to within rounding" if self.relative else "never"

    @property
    def sharing_key(self) -> object:
        """Only the two end points."""
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
