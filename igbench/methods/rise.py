"""RISE: how f goes with what random smooth masks show of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import InputError, NotDefinedError, check_images, check_whole
from igbench.methods.base import BaseMethod
from igbench.schema import MethodSpec
from igbench.surrogates.random_masks import Masks, Shown, draw_masks, shown


@dataclass(frozen=True)
class Rise(BaseMethod):
    """Covariance of f with random smooth masks, or the mean of f where a pixel is shown (RISE).

    f is evaluated on x M + x' (1 - M) for random masks M of an image, see
    `igbench.surrogates.random_masks.Masks`.

    *Centred*: phi = cov(f, M) / (p (1 - p) a C), with the number a of pixels that share what is
    credited to one (about a cell) and C channels: contributions, which for a linear f with equal
    ones sum to f(x) - f(x') in expectation, less what is credited beyond the border.  For cells of
    one pixel it is the Banzhaf value at p = 0.5, in the limit.

    *As published*, `centred=False`: S = E[f M] / E[M], by the empirical mean of the masks: the same
    ranking in expectation, on top of the mean of f, whose noise it carries; a pixel without
    influence gets the mean of f, so the map is read as local, and zero has no meaning.

    The error of the map falls like 1 / sqrt(`samples`); `estimate` gives it pixel by pixel.  For a
    photograph and EfficientNet-Lite0 it was a third of the map at 500 masks (root mean squares), so
    it is about a quarter by default and an eighth at the paper's 4000 for VGG-16; for ResNet-50 it
    has 8000, with 7 x 7 cells and p = 0.5, and explains the probability.  Its repository has 6000,
    8 x 8 cells and p = 0.1.  For images alone.  Cost: `samples` forwards for each sample.

    Args:
        cells: Cells along each axis.
        p: Probability that a cell is shown.
        samples: Masks for each sample.
        centred: Whether the mean of f is taken out.

    Raises:
        InputError: Settings out of range.

    Source: Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of
    Black-box Models" (BMVC), eq. 6.
    """

    foldable = True

    cells: int = 7
    p: float = 0.5
    samples: int = 1000
    centred: bool = True

    reference = "Petsiuk, Das, Saenko 2018, eq. 6"
    needs_gradient = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("cells", self.cells, least=1)
        check_whole("samples", self.samples, least=2)
        if not 0 < self.p < 1:
            raise InputError(f"p={self.p} must lie between 0 and 1.")

    @property
    def spec(self) -> MethodSpec:
        """The definition that is kept on the record of every score."""
        kind: Literal["global", "local"] = "global" if self.centred else "local"
        form = "centred" if self.centred else "as published"
        title = f"RISE, {form} ({self.samples} masks, {self.cells} cells, p {self.p:g})"
        # As published it may be negative for a logit, so it is no magnitude.
        return MethodSpec(title, self.reference, kind, signed=True, needs_gradient=False)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where the inputs are no images."""
        check_images("rise", batch.x)
        maps = []
        for i in range(len(batch)):
            masks, found = self.estimate(batch, i)
            own = self._credited(masks, found.covariance, batch) if self.centred else found.mean
            maps.append(own.to(batch.x).expand(batch.x.shape[1:]))
        return torch.stack(maps)

    def estimate(self, batch: Batch, i: int) -> tuple[Masks, Shown]:
        """The masks of one sample, and what f says under them."""
        x, baseline = batch.x[i], batch.baseline[i]
        drawn = draw_masks(
            (x.shape[1], x.shape[2]),
            self.samples,
            self.cells,
            self.p,
            batch.seed,
            batch.sample_ids[i],
        )
        masks = drawn.to(x.device)

        def rows(draw: Tensor) -> Tensor:
            return torch.lerp(baseline, x, masks(draw)[:, None].to(x.dtype))

        values = batch.score.evaluate_draws(
            self.samples, batch.target_of(i), rows, device=x.device, full=True
        )
        found = shown(values, masks, self.p)
        if not self.centred and not bool(found.shown.all()):
            raise NotDefinedError(
                f"rise: {self.samples} masks never show some pixels, so there is no mean of f "
                "where they are shown; raise method.rise.samples or .p."
            )
        return masks, found

    def _credited(self, masks: Masks, covariance: Tensor, batch: Batch) -> Tensor:
        return covariance / (self.p * (1 - self.p) * masks.area * batch.x.shape[1])
