"""The game of one sample: its features as players, present as in x or absent as in the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from igbench.core import perturb
from igbench.core.batch import Batch
from igbench.core.features import Features, as_unit, spread, total
from igbench.core.players import players
from igbench.errors import InputError


@dataclass(frozen=True)
class Game:
    """v(S) = f(x on the players of S, x' elsewhere) for one sample.

    Players for whom x and x' agree on all elements change nothing: they take no part, and get 0.

    Attributes:
        batch: The batch of the sample.
        i: Its position.
        features: All players of the sample.
        live: (n,) numbers of those that take part.
        part: (*F) boolean, the elements that take part.
    """

    batch: Batch
    i: int
    features: Features
    live: Tensor
    part: Tensor

    @property
    def count(self) -> int:
        """Number n of players."""
        return len(self.live)

    def value(self, masks: Tensor) -> Tensor:
        """Values of coalitions (D, n), true where a player is in: (D,) float64 on the CPU."""
        x, own = self.batch.x[self.i], self.batch.baseline[self.i]
        removed = torch.zeros(len(masks), self.features.count, dtype=torch.bool)
        removed[:, self.live] = ~masks.cpu()
        build = perturb.removals(x, own.where(self.part, x), removed, self.features)
        found = self.batch.score.evaluate_draws(
            len(masks), self.batch.target_of(self.i), build, device=x.device, full=True
        )
        return found.cpu().double()

    def spread(self, values: Tensor) -> Tensor:
        """A map (*F), like x, of values (n,): each shared out evenly over its elements."""
        x = self.batch.x[self.i]
        sizes = total(self.part[None].cpu(), self.features)[0]
        each = torch.zeros(self.features.count, dtype=torch.float64)
        each[self.live] = values.double().cpu() / sizes[self.live]
        return (spread(each[None], self.features)[0] * self.part.cpu()).to(x)


def game(features: str | Tensor | None, batch: Batch, i: int) -> Game:
    """The game of one sample.

    Args:
        features: The players, see `igbench.core.players.players`.
        batch: Samples.
        i: Position of the sample.

    >>> from igbench.core.score import Score
    >>> x = torch.tensor([[1.0, 5.0, 2.0]])
    >>> start = torch.tensor([[0.0, 5.0, 0.0]])
    >>> found = game(None, Batch(Score(lambda z: z.prod(dim=1)), x, start, None, ("a",)), 0)
    >>> found.count, found.value(torch.tensor([[True, False], [True, True]]))
    (2, tensor([ 0., 10.], dtype=torch.float64))
    """
    all_players = players(features, batch, i)
    part = torch.ones_like(batch.x[i], dtype=torch.bool)
    if batch.active is not None:
        part = batch.active[i].to(part.device)
    moved = total(((batch.x[i] != batch.baseline[i]) & part)[None].cpu(), all_players)[0]
    return Game(batch, i, all_players, moved.nonzero()[:, 0], part)


def as_features(features: Any) -> str | Tensor | None:
    """Features as a name, a tensor of numbers, or None for what fits."""
    return None if features is None else as_unit(features)


def evaluations_of(budget: int | str, count: int) -> int:
    """Number of evaluations that a budget means for n players: "40n", or a whole number.

    Args:
        budget: The budget.
        count: n.

    Raises:
        InputError: It is neither, or not above zero.

    >>> evaluations_of("40n", 50), evaluations_of(500, 50)
    (2000, 500)
    """
    if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0:
        return budget
    text = budget.removesuffix("n") if isinstance(budget, str) else ""
    if text != budget and text.isdigit() and int(text) > 0:
        return int(text) * count
    raise InputError(
        f"evaluations={budget!r} must be a whole number above zero, or one for each player, as in "
        "'40n'."
    )
