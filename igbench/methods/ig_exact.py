"""Exact Integrated Gradients of piecewise-linear networks, as a method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.exact import exact_integrated_gradients
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class ExactIntegratedGradients:
    """One gradient for each linear piece of the line (Sotoudeh and Thakur 2019).

    For networks of linear layers, ReLU and its kin, and pooling, explained by a logit.

    Args:
        max_pieces: Refuse lines with more pieces than this.
    """

    max_pieces: int = 20_000

    @property
    def spec(self) -> MethodSpec:
        """Global and signed."""
        return MethodSpec(
            "Integrated Gradients (exact, piecewise linear)",
            "Sotoudeh, Thakur 2019",
            kind="global",
            signed=True,
            role="oracle",
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return exact_integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, max_pieces=self.max_pieces
        ).attribution
