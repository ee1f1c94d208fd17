"""Integrate the gradient along any curve, by sums over its increments.

A path method integrates the gradient along some curve from x' to x (Friedman 2004, "Paths and
consistency in additive cost sharing"; Sundararajan, Taly and Yan 2017, section 4).  All of them
are complete, linear in f and give insensitive features nothing.  Only where all features run along
the same profile, which is Integrated Gradients again, are features treated symmetrically.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import InputError, check_positive, check_same_shape
from igbench.integration.integrate import path_integrals
from igbench.integration.paths import column
from igbench.integration.quadrature import nodes_and_weights


class Curve(Protocol):
    """One curve for each of N samples, over a in [0, 1], from a start to the input."""

    @property
    def x(self) -> Tensor:
        """The ends, (N, *F)."""
        ...

    def exact(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points of some samples, (rows, *F) float64, at positions a (rows,) float64."""
        ...


@dataclass(frozen=True)
class Increments:
    """A curve cut into equal steps of a, as a path whose velocity is the increment of each step.

    With the nodes of the middle rule this makes `path_integrals` a Riemann-Stieltjes sum,
    sum_k grad f(p(a_k)) * (p(a_k + h) - p(a_k - h)) with h = 1/(2 steps): the increments add up to
    the displacement, so linear functions are exact for any number of steps and any curve, and no
    derivative of the curve is needed.

    Attributes:
        curve: The curve.
        steps: Number of cells of [0, 1].
    """

    curve: Curve
    steps: int

    @property
    def displacement(self) -> Tensor:
        """End minus start, (N, *F) float64."""
        sample = torch.arange(len(self.curve.x), device=self.curve.x.device)
        a = torch.zeros(len(sample), dtype=torch.float64, device=sample.device)
        return self.curve.exact(sample, a + 1) - self.curve.exact(sample, a)

    def points(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points, (rows, *F), in the dtype of the inputs."""
        return self.curve.exact(sample, a).to(self.curve.x.dtype)

    def velocity(self, sample: Tensor, a: Tensor) -> Tensor:
        """Increment over the cell around a, times the number of cells."""
        cell = (a * self.steps).floor()
        end = self.curve.exact(sample, (cell + 1) / self.steps)
        return (end - self.curve.exact(sample, cell / self.steps)) * self.steps


def along(score: Score, curve: Curve, target: Tensor | None = None, *, steps: int = 50) -> Tensor:
    """Path integral of the gradient along a curve, (N, *F) in the dtype of the inputs.

    phi = integral over a of grad f(p(a)) * p'(a), by the sum of `Increments`; for smooth f and
    curves its error is O(1/steps^2).  Entries sum to f(end) - f(start) up to that error.

    Args:
        score: f.
        curve: One curve for each sample.
        target: (N,) class indices, or None.
        steps: Number of gradients for each sample.

    Raises:
        InputError: No steps, or an output without gradient.
    """
    nodes, weights = nodes_and_weights("middle", steps)
    found = path_integrals(score, Increments(curve, steps), target, nodes, weights[None])[0]
    return found.to(curve.x.dtype)


@dataclass(frozen=True)
class Power:
    """p_i(a) = x'_i + a^q_i (x_i - x'_i): features with a larger power come later.

    With equal powers the curve is the straight line at another pace, so the integral is that of
    Integrated Gradients.  For f = x_1 x_2 and x' = 0 feature i gets q_i / (q_1 + q_2) of f.

    Attributes:
        x: (N, *F) ends.
        baseline: (N, *F) starts.
        power: q above zero, one number or one for each feature (*F).
    """

    x: Tensor
    baseline: Tensor
    power: float | Tensor = 2.0

    def __post_init__(self) -> None:
        check_same_shape("the baseline", self.baseline, self.x)
        power = torch.as_tensor(self.power)
        check_positive("the power of the path", float(power.min()))
        if power.dim() and power.shape != self.x.shape[1:]:
            raise InputError(
                f"the power of the path has shape {tuple(power.shape)}; give one number, or one "
                f"for each feature: {tuple(self.x.shape[1:])}."
            )

    def exact(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points (rows, *F) float64."""
        start = self.baseline[sample].double()
        power = torch.as_tensor(self.power, dtype=torch.float64, device=a.device)
        share = column(a, self.x) ** power
        return start + share * (self.x[sample].double() - start)


@dataclass(frozen=True)
class Waypoints:
    """Straight pieces x' -> via_1 -> ... -> via_W -> x, each for the same share of a.

    Every feature must move in one direction only, as the axioms of monotone paths require.  A
    number of steps that is a multiple of W + 1 keeps every cell inside one piece.

    Attributes:
        x: (N, *F) ends.
        baseline: (N, *F) starts.
        via: (N, W, *F) points between them, in order.
    """

    x: Tensor
    baseline: Tensor
    via: Tensor

    def __post_init__(self) -> None:
        check_same_shape("the baseline", self.baseline, self.x)
        if self.via.dim() != self.x.dim() + 1 or self.via[:, 0].shape != self.x.shape:
            raise InputError(
                f"the waypoints have shape {tuple(self.via.shape)}; expected (N, W, *F) with W of "
                f"at least 1 for inputs of shape {tuple(self.x.shape)}."
            )
        towards = (self.x - self.baseline).sign().unsqueeze(1)
        move = self._corners().diff(dim=1).sign()
        if bool(((move != 0) & (move != towards)).any()):
            raise InputError(
                "a waypoint leads a feature away from the input or past it; each feature must move "
                "from its baseline to its input in one direction."
            )

    def _corners(self) -> Tensor:
        return torch.cat([self.baseline.unsqueeze(1), self.via, self.x.unsqueeze(1)], dim=1)

    def exact(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points (rows, *F) float64."""
        pieces = self.via.shape[1] + 1
        piece = (a * pieces).floor().clamp(max=pieces - 1)
        part = column(a * pieces - piece, self.x)
        corners = self._corners()
        start = corners[sample, piece.long()].double()
        return start + part * (corners[sample, piece.long() + 1].double() - start)
