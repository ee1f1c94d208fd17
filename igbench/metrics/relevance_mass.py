"""Relevance mass: how much of the map is on what people marked?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.metrics.masked import Masked
from igbench.rows import MetricSpec
from igbench.types import Batch


@dataclass(frozen=True)
class RelevanceMass(Masked):
    """Relevance on the mask / relevance of the image (Arras, Osman and Samek 2022).

    Their "relevance mass accuracy", section 3, with the positive part, or the magnitude, of the sum
    over channels as the relevance of a pixel.  In [0, 1]; a constant map has the share of the mask
    in the image.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Relevance mass accuracy", "Arras, Osman, Samek 2022, section 3")

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the relevance on the mask."""
        return min(1.0, float(relevance[mask].sum() / relevance.sum()))
