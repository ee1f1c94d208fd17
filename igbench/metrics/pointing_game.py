"""Pointing game: is the largest value of the map on what people marked?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from igbench import checks
from igbench.metrics.masked import Masked
from igbench.rows import MetricSpec
from igbench.types import Batch


@dataclass(frozen=True)
class PointingGame(Masked):
    """1 if the maximum of the map is within `tolerance` of the mask, 0 if not (Zhang et al. 2018).

    Section 4.2 of "Top-down Neural Attention by Excitation Backprop".  Distances are Euclidean,
    between centres of pixels.  Of tied maxima each counts alike: the value is the share of them
    that hit, what drawing one has as its expectation.  The mean over samples is the paper's
    accuracy.

    Args:
        tolerance: In pixels; 15 in the paper, for images whose short side is some 224.

    Raises:
        InputError: A negative tolerance; see `Masked`.
    """

    tolerance: float = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance < 0:
            raise checks.InputError(f"tolerance is {self.tolerance}; it must not be negative.")

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition(
            f"Pointing game, {self.tolerance:g} pixels", "Zhang et al. 2018, section 4.2"
        )

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the maxima that hit."""
        pixels = mask.view(-1, batch.x.shape[-1]).cpu().numpy()
        far = torch.from_numpy(ndimage.distance_transform_edt(~pixels)).flatten()
        first = (relevance == relevance.max()).cpu()
        return float((far[first] <= self.tolerance).double().mean())
