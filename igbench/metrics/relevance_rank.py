"""Relevance rank: how many of the top pixels are on what people marked?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.metrics.masked import Masked
from igbench.rows import MetricSpec
from igbench.types import Batch


@dataclass(frozen=True)
class RelevanceRank(Masked):
    """|top K pixels on the mask| / K with K the size of the mask (Arras, Osman and Samek 2022).

    Their "relevance rank accuracy", section 3.  In [0, 1]; a random order has the share of the mask
    in the image.  Of tied pixels of which only some are among the top K, each counts alike: the
    value is the expectation over their orders.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Relevance rank accuracy", "Arras, Osman, Samek 2022, section 3")

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the top pixels on the mask."""
        many = int(mask.sum())
        least = relevance.topk(many).values[-1]
        above, tied = relevance > least, relevance == least
        share = (many - int(above.sum())) / int(tied.sum())
        return (int(mask[above].sum()) + share * int(mask[tied].sum())) / many
