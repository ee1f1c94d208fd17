"""Shapley values by enumeration of all coalitions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from igbench.errors import InputError
from igbench.shapley.estimate import Estimate, Value, evaluate

MOST = 24
"""Players of whom all coalitions can be held in memory."""


def exact_values(value: Value, players: int) -> Estimate:
    """The Shapley values from all 2^n coalitions.

    phi_i = sum over S without i of s! (n - s - 1)! / n! (v(S + i) - v(S)).

    Args:
        value: v.
        players: n.

    Raises:
        InputError: More than 24 players.

    Source: Shapley 1953, "A value for n-person games".

    >>> exact_values(lambda masks: masks[:, :2].all(dim=1), 3)  # both of the first two are needed
    Estimate(values=tensor([0.5000, 0.5000, 0.0000], dtype=torch.float64),
    std_error=tensor([0., 0., 0.], dtype=torch.float64), evaluations=8)
    """
    if players > MOST:
        raise InputError(
            f"{players} players have 2^{players} coalitions, too many to enumerate; use at most "
            f"{MOST}, or an estimator that samples."
        )
    masks = coalitions(players)
    values, sizes = evaluate(value, masks), masks.sum(dim=1)
    weights = torch.tensor(
        [1 / (players * math.comb(players - 1, s)) for s in range(players)], dtype=torch.float64
    )
    numbers = torch.arange(len(masks))
    found = torch.zeros(players, dtype=torch.float64)
    for i in range(players):
        without = numbers[~masks[:, i]]
        gain = values[without + 2**i] - values[without]
        found[i] = (weights[sizes[without]] * gain).sum()
    return Estimate(found, torch.zeros_like(found), len(masks))


def coalitions(players: int) -> Tensor:
    """All coalitions of n players, (2^n, n): number k has the players of the bits of k.

    >>> coalitions(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    numbers = torch.arange(2**players)
    return torch.stack([numbers >> i & 1 == 1 for i in range(players)], dim=1)
