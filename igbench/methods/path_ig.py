"""The gradient integrated along any curve (path method)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_whole
from igbench.integration.monotone import Curve, Power, along
from igbench.methods.base import BaseMethod


def power_curve(batch: Batch) -> Curve:
    """The straight line at another pace, x' + a^2 (x - x'), hence Integrated Gradients."""
    return Power(batch.x, batch.baseline, 2.0)


@dataclass(frozen=True)
class PathIG(BaseMethod):
    """The gradient integrated along curves of the user's.

    phi = integral over a of grad f(p(a)) * p'(a) for a curve p from anywhere to x.  Entries sum to
    f(x) - f(start of the curve) up to the error of the sum.  Cost: `steps` gradients for each
    sample.  Curves: `Power` and `Waypoints` of `igbench.integration.monotone`, or any `Curve`.

    Args:
        curve: Maps a batch to its curves; each may depend on its own sample alone.
        steps: Gradients for each sample.
        title: Name in tables.

    Source: Friedman 2004, "Paths and consistency in additive cost sharing" (International Journal
    of Game Theory); Sundararajan, Taly and Yan 2017, section 4.

    >>> import torch
    >>> from igbench.methods import explain
    >>> powers = torch.tensor([1.0, 3.0])  # the second feature comes later
    >>> method = PathIG(lambda b: Power(b.x, b.baseline, powers), steps=1000)
    >>> f = lambda x: x[:, 0] * x[:, 1]
    >>> explain(method, f, torch.ones(1, 2)).numpy().round(3).tolist()  # q_i / (q_0 + q_1)
    [[0.25, 0.75]]
    """

    foldable = True

    curve: Callable[[Batch], Curve] = power_curve
    steps: int = 50
    title: str = "Path integral"

    label = "{title} ({steps} steps)"
    reference = "Friedman 2004; Sundararajan, Taly, Yan 2017, section 4"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("steps", self.steps, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return along(batch.score, self.curve(batch), batch.target, steps=self.steps)
