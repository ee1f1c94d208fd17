"""Guided Integrated Gradients: the path avoids large gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.guided import guided_integrated_gradients
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class GuidedIG:
    """Guided Integrated Gradients, see `igbench.integration.guided`.

    Args:
        fraction: Share of the features that move together, lowest gradients first.
        max_dist: Largest lead or lag of a feature on the straight line, as a share of its way.
        steps: Steps of the path, one after the other; each needs a gradient.
        rule: "trapezoid", at one gradient more, or "left", as published.
    """

    fraction: float = 0.25
    max_dist: float = 0.02
    steps: int = 200
    rule: str = "trapezoid"

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - f(x')."""
        return MethodSpec(
            f"Guided IG (fraction {self.fraction:g}, distance {self.max_dist:g}, "
            f"{self.steps} steps, {self.rule})",
            "Kapishnikov et al. 2021",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return guided_integrated_gradients(
            batch.score,
            batch.x,
            batch.baseline,
            batch.target,
            fraction=self.fraction,
            max_dist=self.max_dist,
            steps=self.steps,
            rule=self.rule,
        )
