"""Feature ablation: the change of the output without each player."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.methods.coalitions import PlayersMethod, game


@dataclass(frozen=True)
class FeatureAblation(PlayersMethod):
    """Change of the output without each player, spread evenly over its elements.

    phi_g = f(x) - f(x with x' on g).  The entries of a player sum to phi_g; all of them sum to
    f(x) - f(x') for linear functions, and to nothing in particular where players interact.  Players
    with x = x' get 0.  Cost: 1 + players forwards for each sample.

    Args:
        features: The players, see `igbench.core.players.players`: "superpixel:S", "patch:P",
            "pixel", "element", feature numbers (*F), or None for what fits the samples.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (ECCV),
    section 4.2, on any players.

    >>> from igbench.methods import explain
    >>> explain(FeatureAblation(), lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]])).tolist()
    [[6.0, 6.0]]
    """

    features: str | Tensor | None = None

    label = "Feature ablation"
    reference = "Zeiler, Fergus 2014, section 4.2"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the players do not fit the samples."""
        return torch.stack([self._of_one(batch, i) for i in range(len(batch))])

    def _of_one(self, batch: Batch, i: int) -> Tensor:
        own = game(self.features, batch, i)
        if not own.count:
            return own.spread(torch.zeros(0))
        numbers = torch.arange(1, 1 + own.count, device=batch.x.device)
        # Draw 0 removes nobody: its number is no player's.
        values = own.values_without(1 + own.count, lambda draw: draw[:, None] == numbers)
        return own.spread(values[0] - values[1:])
