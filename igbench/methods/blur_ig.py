"""Blur Integrated Gradients: the path runs from blurred to sharp."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.blur_path import blur_path
from igbench.integration.monotone import along
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class BlurIG:
    """Blur Integrated Gradients (Xu, Venugopalan and Sundararajan 2020), for images.

    Its start is the blurred image, whatever the baseline of the batch: entries sum to f(x) -
    f(x blurred by `sigma`).  Each step credits the change of the image itself, so that linear
    functions are exact for any number of steps.

    Args:
        sigma: Largest standard deviation of the blur, in pixels of the model's input.
        steps: Gradients for each sample.
        pace: Blurs are sigma (1 - a) ** pace at equal steps of a: 1 as in the paper, larger for
            finer steps where the image is nearly sharp and f changes most.  The integral is the
            same for all of them; its error is not.
    """

    sigma: float = 50.0
    steps: int = 100
    pace: float = 2.0

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - f(blurred x)."""
        return MethodSpec(
            f"Blur IG (sigma {self.sigma:g}, {self.steps} steps)",
            "Xu, Venugopalan, Sundararajan 2020",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the inputs are no images."""
        curve = blur_path(batch.x, sigma=self.sigma, pace=self.pace)
        return along(batch.score, curve, batch.target, steps=self.steps)
