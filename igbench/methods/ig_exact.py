"""Exact Integrated Gradients of piecewise-linear networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_whole
from igbench.integration.exact import exact_integrated_gradients
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class ExactIntegratedGradients(BaseMethod):
    """Integrated Gradients of a piecewise-linear network, exact to rounding: an oracle.

    Such a network is linear between kinks on the line from x' to x, so the integral is a finite
    sum: (x - x') times the gradient of each piece, weighted by its length.  Entries sum to
    f(x) - f(x').  Cost: one gradient for each piece, and 22 (float32) to 50 (float64) forwards for
    each kink.  For networks of linear layers, ReLU and its kin, and pooling, explained by a logit.

    Args:
        max_pieces: Largest number of pieces on a line; lines with more are refused.

    Source: Sotoudeh and Thakur 2019, "Computing Linear Restrictions of Neural Networks" (NeurIPS).

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: torch.relu(x[:, 0] + x[:, 1] - 1)  # half of the line is flat
    >>> explain(ExactIntegratedGradients(), f, torch.ones(1, 2)).numpy().round(4).tolist()
    [[0.5, 0.5]]
    """

    max_pieces: int = 20_000

    label = "Integrated Gradients (exact, piecewise linear)"
    reference = "Sotoudeh, Thakur 2019"
    role = "oracle"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("max_pieces", self.max_pieces, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the network is not piecewise linear."""
        return exact_integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, max_pieces=self.max_pieces
        ).attribution
