"""Guided Integrated Gradients: the path moves features with small gradients first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.guided import check_path, guided_integrated_gradients
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class GuidedIG(BaseMethod):
    """Guided Integrated Gradients: the integral of grad f(p) * dp on a path that adapts to f.

    In each step the features with the smallest absolute gradients move first, so that the path
    avoids large gradients; see `igbench.integration.guided`.  Entries sum to f(x) - f(x') up to the
    error of the sum over steps.  Cost: `steps` gradients for each sample, one after the other, and
    one more with the trapezoid rule.

    Args:
        fraction: Share of the features that move together, lowest gradients first, in (0, 1].
        max_dist: Largest lead or lag of a feature on the straight line, as a share of its way, in
            [0, 1]; 0 is the straight line.
        steps: Steps of the path.
        rule: "trapezoid", or "left", as published.

    Source: Kapishnikov et al. 2021, "Guided Integrated Gradients" (CVPR).

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, 2.0])  # for a linear f the path does not matter
    >>> explain(GuidedIG(steps=4), f, torch.ones(1, 2)).numpy().round(4).tolist()
    [[1.0, 2.0]]
    """

    foldable = True

    fraction: float = 0.25
    max_dist: float = 0.02
    steps: int = 200
    rule: str = "trapezoid"

    label = "Guided IG (fraction {fraction:g}, distance {max_dist:g}, {steps} steps, {rule})"
    reference = "Kapishnikov et al. 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.fraction, self.max_dist, self.steps, self.rule)

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
