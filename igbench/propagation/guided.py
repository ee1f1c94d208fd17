"""Guided backprop and deconvolution: other gradients at the ReLUs of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.integration.integrate import take
from igbench.propagation.graph import without_rule
from igbench.propagation.mode import (
    COMPARISONS,
    ELEMENTWISE,
    Call,
    Rules,
    check_scalar,
    derivative,
    propagate,
    with_rule,
)


class Guided(Rules):
    """Pass positive gradients alone at every ReLU.

    ReLUs are functions that are 0 below 0, the identity above, and constant from an upper bound on
    where they have one: relu, relu6, hardtanh and clamp from 0, threshold at 0.

    Args:
        title: Name of the method in messages.
        gated: Whether gradients also have to pass the ReLU itself, as in guided backprop.
    """

    advice = (
        "it is defined for networks of ReLUs; use smoothgrad for sensitivities of other networks"
    )
    refused = Rules.refused | COMPARISONS | {"glu"}

    def __init__(self, title: str, gated: bool) -> None:
        super().__init__()
        self.title = title
        self.gated = gated
        self.handlers = dict.fromkeys(ELEMENTWISE, self._activation)

    def _activation(self, call: Call) -> Tensor:
        if not is_relu(call):
            raise self.undefined(call.name)
        if not self.gated:
            return with_rule(call.evaluate(call.x.detach()), (call.x,), lambda g: g.clamp(min=0))
        gate = derivative(call.evaluate, call.x)
        value = call.evaluate(call.x.detach())
        return with_rule(value, (call.x,), lambda g, gate: g.clamp(min=0) * gate, gate)

    def check(self, output: Tensor, x: Tensor) -> None:
        """Raise for an operation that the mode did not see, or has no rule for."""
        name = without_rule(output, x, linear_layers=True)
        if name:
            raise self.undefined(name)


def is_relu(call: Call) -> bool:
    """Whether a call is a ReLU, with or without an upper bound.

    >>> is_relu(Call(torch.clamp, (torch.ones(1),), {"min": 0}))
    True
    >>> is_relu(Call(torch.nn.functional.hardtanh, (torch.ones(1), -1.0, 1.0), {}))
    False
    """
    if call.name in ("relu", "relu6"):
        return True
    low, high, *_ = (*_numbers(call), None, None)
    if call.name == "threshold":
        return low == high == 0
    if call.name in ("hardtanh", "clamp", "clip", "clamp_min"):
        return low == 0 and (high is None or high > 0)
    return False


def _numbers(call: Call) -> list[Any]:
    """The bounds of an activation, given by position or by name."""
    defaults = {"hardtanh": (-1.0, 1.0)}.get(call.name, (None, None))
    found = [*call.args[1:3], *defaults[len(call.args[1:3]) :]]
    for i, names in enumerate((("min", "min_val", "threshold"), ("max", "max_val", "value"))):
        found[i] = next((call.kwargs[n] for n in names if n in call.kwargs), found[i])
    return [None if isinstance(v, Tensor) else v for v in found]


def guided_gradient(
    score: Score, x: Tensor, target: Tensor | None = None, *, gated: bool, title: str
) -> Tensor:
    """Gradients that keep their positive parts at ReLUs, (N, *F).

    Args:
        score: f, a logit of a network of ReLUs.
        x: (N, *F).
        target: (N,) or None.
        gated: True for guided backprop, False for deconvolution.
        title: Name of the method in messages.

    >>> f = Score(lambda x: torch.relu(x[:, 0] - x[:, 1]) - torch.relu(x[:, 1]))
    >>> guided_gradient(f, torch.tensor([[2.0, 1.0]]), gated=True, title="Guided backprop").tolist()
    [[1.0, -1.0]]
    """
    check_scalar(title, score)
    maps = score.in_chunks(
        len(x),
        lambda part: propagate(score, x[part], take(target, part), Guided(title, gated))[1],
    )
    return torch.cat(list(maps))
