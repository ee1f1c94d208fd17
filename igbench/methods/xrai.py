"""XRAI: Integrated Gradients summed over regions of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench import baselines as references
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.errors import InputError, check_images, check_positive
from igbench.methods.base import BaseMethod
from igbench.methods.ig_averaged import AveragedIG
from igbench.surrogates.regions import LEAST_NEW, SCALES, grow, regions, relative_side


@dataclass(frozen=True)
class Xrai(BaseMethod):
    """Mean Integrated Gradients of regions of an image, grown greedily (XRAI).

    Integrated Gradients, averaged over black and white, are summed over channels; then the segment
    whose pixels that are not covered yet have the largest mean is added, again and again, and its
    new pixels get that mean, spread evenly over channels.  Segments are those of Felzenszwalb's
    method at six scales, a little dilated; see `igbench.surrogates.regions`.  Entries sum to what
    those of Integrated Gradients do, f(x) - mean f(b) over the baselines b, exactly: it is a map
    of contributions, which tells regions and not pixels apart.  (The authors' code takes the
    largest channel in place of the sum.)  For images alone.

    Cost: `n_steps` gradients for each sample and baseline, and about a second of segmentation for
    an image of 224 pixels a side.

    Args:
        baselines: Names from `igbench.baselines.NAMED`, or baselines.
        rule: Quadrature rule, one of `igbench.integration.quadrature.RULES`.
        n_steps: Gradients for each sample and baseline.
        scales: Scales of the segmentations, for images of 224 pixels a side.
        data: Defines black and white.  An experiment gives its own.

    Raises:
        InputError: No scale, or one that is not above zero; unknown baselines.

    Source: Kapishnikov, Bolukbasi, Viegas and Terry 2019, "XRAI: Better Attributions Through
    Regions" (ICCV), algorithm 1.
    """

    foldable = True

    baselines: tuple[str | references.Baseline, ...] = ("black", "white")
    rule: str = "gauss_legendre"
    n_steps: int = 50
    scales: Sequence[float] = SCALES
    data: Data | None = None

    label = "XRAI ({rule}, {n_steps} steps each)"
    reference = "Kapishnikov, Bolukbasi, Viegas, Terry 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        AveragedIG(self.baselines, self.rule, self.n_steps)  # which checks them
        if not self.scales:
            raise InputError("xrai needs at least one scale of segments; scales is empty.")
        for scale in self.scales:
            check_positive("scales", scale)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            NotDefinedError: The inputs are no images.
            InputError: There are no data, or a baseline that does not fit or equals a sample.
        """
        check_images("xrai", batch.x)
        if self.data is None:
            raise InputError(
                "xrai needs the data (what black and white are); give Xrai(data=...) from Python."
            )
        base = AveragedIG(self.baselines, self.rule, self.n_steps, self.data)(batch)
        maps = [self._grown(x, own) for x, own in zip(batch.x, base, strict=True)]
        return torch.stack(maps).to(batch.x).expand_as(batch.x)

    def _grown(self, x: Tensor, base: Tensor) -> Tensor:
        """The map of one sample from its Integrated Gradients (C, H, W), (1, H, W)."""
        image = x.detach().cpu().double().numpy()
        least = round(LEAST_NEW * relative_side(image) ** 2)
        total = base.detach().cpu().double().sum(dim=0).numpy()
        return torch.from_numpy(grow(total, regions(image, self.scales), least))[None] / len(image)
