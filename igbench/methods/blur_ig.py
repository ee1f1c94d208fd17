"""Blur Integrated Gradients: the path runs from the blurred image to the sharp one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_positive, check_whole
from igbench.integration.blur_path import blur_path
from igbench.integration.monotone import along
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class BlurIG(BaseMethod):
    """Blur Integrated Gradients: the gradient integrated over Gaussian blurs of the image.

    phi = integral over a of grad f(p(a)) * p'(a), with p(a) the image blurred by
    sigma (1 - a) ** pace.  The path starts at the blurred image, whatever the baseline of the
    batch: entries sum to f(x) - f(x blurred by `sigma`).  Each step credits the change of the image
    itself, so linear functions are exact for any number of steps.  For images (C, H, W) alone.
    Cost: `steps` gradients for each sample.

    Args:
        sigma: Largest standard deviation of the blur, in pixels of the model's input.
        steps: Gradients for each sample.
        pace: 1 for equal steps of the standard deviation, as in the paper; larger for finer steps
            where the image is nearly sharp and f changes most.  The integral is the same for all of
            them; its error is not.

    Source: Xu, Venugopalan and Sundararajan 2020, "Attribution in Scale and Space" (CVPR).
    """

    foldable = True

    sigma: float = 50.0
    steps: int = 100
    pace: float = 2.0

    label = "Blur IG (sigma {sigma:g}, {steps} steps)"
    reference = "Xu, Venugopalan, Sundararajan 2020"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("sigma", self.sigma)
        check_positive("pace", self.pace)
        check_whole("steps", self.steps, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the inputs are no images."""
        curve = blur_path(batch.x, sigma=self.sigma, pace=self.pace)
        return along(batch.score, curve, batch.target, steps=self.steps)
