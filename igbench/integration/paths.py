"""Paths from the baseline to the input: the protocol, and the straight line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from igbench.errors import check_same_shape


class Path(Protocol):
    """One path for each of N samples, over a in [0, 1]."""

    @property
    def displacement(self) -> Tensor:
        """End minus start, (N, *F)."""
        ...

    def points(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points of some samples, (rows, *F), from numbers of samples and positions (rows,)."""
        ...

    def velocity(self, sample: Tensor, a: Tensor) -> Tensor | None:
        """Derivatives by a, (rows, *F); None where they equal the displacement everywhere."""
        ...


@dataclass(frozen=True)
class Line:
    """The straight line x' + a (x - x') of Integrated Gradients.

    Attributes:
        x: (N, *F) ends.
        baseline: (N, *F) starts.
    """

    x: Tensor
    baseline: Tensor

    def __post_init__(self) -> None:
        check_same_shape("the baseline", self.baseline, self.x)

    @property
    def displacement(self) -> Tensor:
        """The difference x - x'."""
        return self.x - self.baseline

    def points(self, sample: Tensor, a: Tensor) -> Tensor:
        """Points x' + a (x - x'), (rows, *F)."""
        at = column(a.to(self.x.dtype), self.x)
        return torch.lerp(self.baseline[sample], self.x[sample], at)

    def velocity(self, sample: Tensor, a: Tensor) -> None:
        """None: the velocity is the displacement everywhere."""


def column(a: Tensor, like: Tensor) -> Tensor:
    """Numbers (n,) as (n, 1, ...), to scale rows shaped like those of `like` (N, *F)."""
    return a.view(-1, *[1] * (like.dim() - 1))
