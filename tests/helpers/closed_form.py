"""Models whose attributions can be worked out by hand, in float64, as functions (N, d) -> (N,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.core.score import Score

Function = Callable[[Tensor], Tensor]


def row(*values: float) -> Tensor:
    """One sample."""
    return torch.tensor([values], dtype=torch.float64)


def batch_of(
    model: Function | nn.Module, x: Tensor, target: Tensor | None = None, batch_size: int = 32
) -> Batch:
    """Samples s0, s1, ... from a baseline of zeros."""
    ids = tuple(f"s{i}" for i in range(len(x)))
    return Batch(Score(model, batch_size=batch_size), x, torch.zeros_like(x), target, ids)


def linear(*w: float) -> Function:
    """w . x"""
    return lambda x: x @ torch.tensor(w, dtype=x.dtype)


def product(x: Tensor) -> Tensor:
    """x1 x2 ... xd"""
    return x.prod(dim=1)


def square_times(x: Tensor) -> Tensor:
    """x1^2 x2"""
    return x[:, 0] ** 2 * x[:, 1]


def quadratic(a: Tensor) -> Function:
    """x'Ax / 2"""
    return lambda x: 0.5 * ((x @ a.to(x)) * x).sum(dim=1)


def saturating(x: Tensor) -> Tensor:
    """1 - relu(1 - x)"""
    return 1 - torch.relu(1 - x[:, 0])


def hinge(*w: float) -> Function:
    """relu(w . x - 1)"""
    return lambda x: torch.relu(x @ torch.tensor(w, dtype=x.dtype) - 1)


def ridge(x: Tensor) -> Tensor:
    """sigmoid(x1 + 2 x2)"""
    return torch.sigmoid(x[:, 0] + 2 * x[:, 1])


def cube(x: Tensor) -> Tensor:
    """x^3"""
    return x[:, 0] ** 3


class SmallNet(nn.Module):
    """A convolutional classifier for (1 or 3, 8, 8) images; weights from a fixed seed.

    Smooth, or piecewise linear.
    """

    def __init__(self, channels: int = 3, classes: int = 4, smooth: bool = True) -> None:
        super().__init__()
        self.bend = torch.tanh if smooth else torch.relu
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.Softplus() if smooth else nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
        )
        self.head = nn.Linear(8, classes)
        g = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g) * 0.4)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 8, 8) to (N, K)."""
        return self.head(self.bend(self.features(x)).mean(dim=(2, 3)))


def small_net(dtype: torch.dtype = torch.float64) -> SmallNet:
    """A `SmallNet` in a precision."""
    return SmallNet().to(dtype)


def images(n: int, seed: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """N random (3, 8, 8) images."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=g, dtype=torch.float64).to(dtype)


def mlp(seed: int, inputs: int = 20, width: int = 32) -> nn.Sequential:
    """A random ReLU network of three layers and three outputs, in float64."""
    net = nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    ).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)
    return net.eval()
