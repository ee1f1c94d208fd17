"""Feature ablation: the change of the output without each player."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.perturb import check_removal, occluded
from igbench.methods.coalitions import PlayersMethod, game
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class FeatureAblation(PlayersMethod):
    """Change of the output without each player, spread evenly over its elements.

    phi_g = f(x) - f(x with x' on g).  The entries of a player sum to phi_g; all of them sum to
    f(x) - f(x') for linear functions, and to nothing in particular where players interact.  Players
    with x = x' get 0.  Cost: 1 + players forwards for each sample.

    Args:
        features: The players, see `igbench.core.players.players`: "superpixel:S", "patch:P",
            "pixel", "element", feature numbers (*F), or None for what fits the samples.
        occluder: What stands in place of a player: the "baseline", or another name of
            `igbench.core.perturb.occluded`, such as "delete" and "hide" for words.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (ECCV),
    section 4.2, on any players.

    >>> from igbench.methods import explain
    >>> explain(FeatureAblation(), lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]])).tolist()
    [[6.0, 6.0]]
    """

    features: str | Tensor | None = None
    occluder: str = "baseline"

    label = "Feature ablation"
    reference = "Zeiler, Fergus 2014, section 4.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_removal(None, self.occluder)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the players do not fit the samples."""
        absent = occluded(batch, self.occluder)
        return torch.stack([self._of_one(batch, i, absent[i]) for i in range(len(batch))])

    @property
    def spec(self) -> MethodSpec:
        """The definition, whose title names what is in place of a player."""
        found = super().spec
        if self.occluder == "baseline":
            return found
        return replace(found, title=f"{found.title}, {self.occluder} in place")

    def _of_one(self, batch: Batch, i: int, absent: Tensor) -> Tensor:
        own = game(self.features, batch, i, absent)
        if not own.count:
            return own.spread(torch.zeros(0))
        numbers = torch.arange(1, 1 + own.count, device=batch.x.device)
        # Draw 0 removes nobody: its number is no player's.
        values = own.values_without(1 + own.count, lambda draw: draw[:, None] == numbers)
        return own.spread(values[0] - values[1:])
