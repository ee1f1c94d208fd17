"""The game of one sample: its features as players, present as in x, or absent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.features import Features, on, spread, total
from igbench.core.perturb import remove
from igbench.core.players import players, said_of
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods.base import BaseMethod
from igbench.schema import MethodSpec


class PlayersMethod(BaseMethod):
    """Base of methods that switch players of a sample; the title names those that were chosen.

    Class attributes, beside those of `BaseMethod`:

        features: The players, see `igbench.core.players.players`.
    """

    foldable = True
    needs_gradient = False
    features: str | Tensor | None

    @property
    def spec(self) -> MethodSpec:
        """The definition that is kept on the record of every score."""
        found = super().spec
        return replace(found, title=found.title + said_of(self.features))


@dataclass(frozen=True)
class Game:
    """v(S) = f(x on the players of S, what is absent elsewhere) for one sample.

    Players whose elements are the same present and absent change nothing: they take no part, and
    get 0.

    Attributes:
        score: f.
        target: (1,) class index, or None.
        x: (*F) the sample.
        absent: (*F) what is in place of absent players.
        features: All players of the sample.
        live: (n,) numbers of those that take part, rising.
        part: (*F) boolean on the CPU, the elements that take part.
    """

    score: Score
    target: Tensor | None
    x: Tensor
    absent: Tensor
    features: Features
    live: Tensor
    part: Tensor

    @property
    def count(self) -> int:
        """Number n of players."""
        return len(self.live)

    def value(self, masks: Tensor) -> Tensor:
        """Values of coalitions (D, n), true where a player is in: (D,) float64 on the CPU."""
        removed = ~masks.to(self.x.device)
        return self.values_without(len(masks), lambda draw: removed[draw])

    def values_without(self, draws: int, removed: Callable[[Tensor], Tensor]) -> Tensor:
        """Values of D coalitions that are made when they are needed: (D,) float64 on the CPU.

        Args:
            draws: D.
            removed: Maps numbers of draws (rows,) to booleans (rows, n), true where a player is
                absent; all on the device of the sample.
        """
        device, features = self.x.device, on(self.features, self.x.device)
        live = self.live.to(device)

        def rows(draw: Tensor) -> Tensor:
            gone = torch.zeros(len(draw), features.count, dtype=torch.bool, device=device)
            gone[:, live] = removed(draw)
            return remove(self.x, self.absent, gone, features)

        found = self.score.evaluate_draws(draws, self.target, rows, device=device, full=True)
        return found.to("cpu", torch.float64)

    def spread(self, values: Tensor) -> Tensor:
        """A map (*F), like x, of values (n,): each shared out evenly over its elements."""
        sizes = total(self.part[None], self.features)[0]
        each = torch.zeros(self.features.count, dtype=torch.float64)
        each[self.live] = values.double().cpu() / sizes[self.live]
        return (spread(each[None], self.features)[0].cpu() * self.part).to(self.x)


def game(features: str | Tensor | None, batch: Batch, i: int, absent: Tensor | None = None) -> Game:
    """The game of one sample.

    Args:
        features: The players, see `igbench.core.players.players`.
        batch: Samples.
        i: Position of the sample.
        absent: (*F) what is in place of absent players; None for the baseline.

    >>> from igbench.core.score import Score
    >>> x = torch.tensor([[1.0, 5.0, 2.0]])
    >>> start = torch.tensor([[0.0, 5.0, 0.0]])
    >>> found = game(None, Batch(Score(lambda z: z.prod(dim=1)), x, start, None, ("a",)), 0)
    >>> found.count, found.value(torch.tensor([[True, False], [True, True]]))
    (2, tensor([ 0., 10.], dtype=torch.float64))
    """
    x, all_players = batch.x[i], players(features, batch, i)
    absent = batch.baseline[i] if absent is None else absent
    if batch.active is not None:
        absent = absent.where(batch.active[i].to(x.device), x)
    part = torch.ones(x.shape, dtype=torch.bool) if batch.active is None else batch.active[i].cpu()
    moved = total((x != absent)[None].cpu(), all_players)[0]
    live = moved.nonzero()[:, 0]
    return Game(batch.score, batch.target_of(i), x, absent, all_players, live, part)


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
    if isinstance(budget, Integral) and not isinstance(budget, bool) and budget > 0:
        return int(budget)
    text = budget.removesuffix("n") if isinstance(budget, str) else ""
    if text != budget and text.isdecimal() and int(text) > 0:
        return int(text) * count
    raise InputError(
        f"evaluations={budget!r} must be a whole number above zero, or one for each player, as in "
        "'40n'."
    )
