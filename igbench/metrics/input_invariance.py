"""Input invariance: does the map stay when the input is shifted and the model undoes it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from igbench.checks import InputError
from igbench.metrics.again import (
    LOST,
    Wrapped,
    explained,
    method_of_batch,
    relative_l1,
)
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement, Score


@dataclass(frozen=True)
class InputInvariance:
    """|phi(f_2, x + m) - phi(f, x)|_1 / |phi(f, x)|_1 with f_2(z) = f(z - m), 0 where invariant.

    Kindermans et al. 2019, "The (un)reliability of saliency methods", section 2: the same constant
    is added to every element of the input, and the first thing that the second network does is to
    take it off again, so both compute the same from the same image.  A baseline is an input too:
    moved along (`shift_baseline`), Integrated Gradients are invariant; left where it was, it means
    something else to f_2, and they are not.  Range [0, inf).

    Args:
        shift: m, in units of the model's input.
        shift_baseline: Move the baseline along with the input.

    Raises:
        InputError: The shift is zero.
    """

    shift: float = 1.0
    shift_baseline: bool = False

    def __post_init__(self) -> None:
        if self.shift == 0 or not math.isfinite(self.shift):
            raise InputError(f"shift is {self.shift}; it must be another number than zero.")

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        along = "moved along" if self.shift_baseline else "left"
        return MetricSpec(
            f"Input invariance (relative L1 gap, shift {self.shift:g}, baseline {along})",
            "lower",
            0,
            math.inf,
            1,
            "Kindermans et al. 2019, section 2",
            unit="element",
            undefined=LOST,
            min_effect=0.01,
        )

    @property
    def observation_key(self) -> object:
        """There is nothing to observe."""
        return "nothing"

    def observe(self, batch: Batch) -> None:
        """Nothing."""

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The gap of every attribution."""
        changed = replace(
            batch,
            score=Moved(batch.score, self.shift),
            x=batch.x + self.shift,
            baseline=batch.baseline + (self.shift if self.shift_baseline else 0.0),
        )
        result = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            gap = relative_l1(explained(name, attribution, changed), attribution.values)
            result[name] = Measurement(gap, reason=LOST)
        return result


class Moved(Wrapped):
    """f(z - m).

    Args:
        score: f.
        shift: m.
    """

    def __init__(self, score: Score, shift: float) -> None:
        super().__init__(score)
        self.shift = shift

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Scalar of every row, (N,)."""
        return super().forward(x - self.shift, target)
