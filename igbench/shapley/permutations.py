"""Shapley values by sampling orders of the players in pairs of an order and its reverse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from igbench.errors import NotDefinedError
from igbench.shapley.estimate import Estimate, Value, evaluate
from igbench.shapley.exact import exact_values


def antithetic_permutations(
    value: Value, players: int, evaluations: int, generator: torch.Generator
) -> Estimate:
    """Mean of what each player adds along random orders and their reverses.

    Every order sums to v(all) - v(none), so the estimate does in every draw; it is unbiased, and
    exact for games whose interactions are of pairs alone, as a quadratic has.  An order costs n - 1
    coalitions, besides the empty and the full one; one that several orders visit is evaluated once.
    Where all coalitions fit into the budget they are enumerated.  The standard error is sd / sqrt
    over the pairs; with fewer than 20 of them it is itself uncertain (quantiles of Student's t).

    Args:
        value: v.
        players: n.
        evaluations: Largest number of coalitions to evaluate.
        generator: Source of the orders.

    Raises:
        NotDefinedError: The budget is less than 2 n, the cost of one order and its reverse.

    Source: Castro et al. 2009 (sampling); Mitchell et al. 2022 (antithetic orders).

    >>> g = torch.Generator().manual_seed(0)
    >>> v = lambda masks: (masks.double() @ torch.tensor([1.0, 2, 3, 4]).double()).square()
    >>> antithetic_permutations(v, 4, 8, g).values  # 10 times the weight of each
    tensor([10., 20., 30., 40.], dtype=torch.float64)
    """
    if players <= 3 or 2**players <= evaluations:
        return exact_values(value, players)
    pairs = (evaluations - 2) // (2 * (players - 1))
    if pairs < 1:
        raise NotDefinedError(
            f"{evaluations} evaluations are too few for {players} players; one order and its "
            f"reverse cost {2 * players}: raise evaluations, or choose coarser features."
        )
    forward = torch.stack([torch.randperm(players, generator=generator) for _ in range(pairs)])
    orders = torch.stack([forward, forward.flip(1)], dim=1).flatten(0, 1)
    masks, places = distinct(prefixes(orders))
    values = evaluate(value, masks)[places].view(2 * pairs, players + 1)
    gains = torch.empty(2 * pairs, players, dtype=torch.float64)
    gains.scatter_(1, orders, values.diff(dim=1))
    means = gains.view(pairs, 2, players).mean(dim=1)
    spread = means.std(dim=0) if pairs > 1 else torch.full((players,), math.nan).double()
    return Estimate(means.mean(dim=0), spread / math.sqrt(pairs), len(masks))


def prefixes(orders: Tensor) -> Tensor:
    """Coalitions that orders (R, n) pass, from the empty to the full one, (R x (n + 1), n).

    >>> prefixes(torch.tensor([[1, 0]])).int().tolist()
    [[0, 0], [0, 1], [1, 1]]
    """
    ranks = orders.argsort(dim=1)
    steps = torch.arange(orders.shape[1] + 1)
    return (ranks[:, None, :] < steps[None, :, None]).flatten(0, 1)


def distinct(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones among coalitions (D, n), and which of them each is, (D,)."""
    found, places = masks.unique(dim=0, return_inverse=True)
    return found, places
