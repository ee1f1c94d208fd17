"""Effective complexity: how many features does the map say matter at all?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from igbench.checks import InputError
from igbench.metrics.magnitudes import ZERO, Magnitudes
from igbench.rows import MetricSpec


@dataclass(frozen=True)
class EffectiveComplexity(Magnitudes):
    """Number of features with |phi_i| > threshold * max |phi|, from 1 to G.

    After Nguyen and Rodriguez Martinez 2020, who count features above a tolerance.  The threshold
    is relative to the largest magnitude of the same map, since an absolute one would compare the
    scales of the methods.  Undefined for a map of zeros.

    Args:
        threshold: Relative to the largest magnitude, at least 0 and below 1.

    Raises:
        InputError: A threshold outside [0, 1).
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(
                f"threshold is {self.threshold}; it is relative to the largest magnitude, so it "
                "must be at least 0 and below 1."
            )

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Effective complexity (features above {self.threshold:g} of the largest)",
            "lower",
            1,
            math.inf,
            1,
            "after Nguyen, Rodriguez Martinez 2020, effective complexity",
            unit=self.features or "as the data",
            undefined=ZERO,
            min_effect=0.5,
        )

    def of(self, sizes: Tensor) -> Tensor:
        """Count of every row, (N, G) to (N,)."""
        floor = self.threshold * sizes.amax(dim=1, keepdim=True)
        return (sizes > floor).sum(dim=1).to(sizes)
