"""Functions in float64 whose attributions are known exactly, and maps of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.integration.integrate import input_gradient

Function = Callable[[Tensor], Tensor]
Map = Callable[[Batch], Tensor]


def row(*values: float) -> Tensor:
    """One sample, (1, d) float64."""
    return torch.tensor([values], dtype=torch.float64)


def linear(*w: float) -> Function:
    """The function w . x."""
    return lambda x: x @ torch.tensor(w, dtype=x.dtype)


def quadratic(*a: float) -> Function:
    """The function sum a_i x_i^2 / 2."""
    return lambda x: 0.5 * (x**2 @ torch.tensor(a, dtype=x.dtype))


def product(x: Tensor) -> Tensor:
    """The function x1 x2 ... xd."""
    return x.prod(dim=1)


def mixed(x: Tensor) -> Tensor:
    """The function x1^2 x2 + 2 x3."""
    return x[:, 0] ** 2 * x[:, 1] + 2 * x[:, 2]


def readout(w: Tensor) -> Function:
    """The function w . x of images, w (C, H, W)."""
    return lambda x: (x * w.to(x)).flatten(1).sum(dim=1)


def classes(*w: tuple[float, ...]) -> Function:
    """A linear function for each class, (N, d) to (N, K)."""
    return lambda x: x @ torch.tensor(w, dtype=x.dtype).T


def network() -> nn.Sequential:
    """A fixed network of 4 inputs, 3 ReLU units and 1 output, float64."""
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            count = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(torch.cos(1 + i + 2 * count).view_as(parameter))
    return net.eval()


NETWORK = network()


def scaled(*a: float) -> Map:
    """The map a * x, the gradient of `quadratic`."""
    return lambda batch: batch.x * torch.tensor(a, dtype=batch.x.dtype)


def gradient_times_input(batch: Batch) -> Tensor:
    """The map x times the gradient of the score."""
    return batch.x * input_gradient(batch.score, batch.x, batch.target)


def minus_baseline(batch: Batch) -> Tensor:
    """The map x - x'."""
    return batch.x - batch.baseline


def count_relus(batch: Batch) -> Tensor:
    """The map x times 1 + the number of ReLU modules, which depends on the implementation."""
    modules = batch.score.model.modules() if isinstance(batch.score.model, nn.Module) else ()
    return batch.x * (1 + sum(isinstance(m, nn.ReLU) for m in modules))


def by_weights(learnt: Tensor, other: Tensor) -> Map:
    """One map while the last layer of `NETWORK` has its weights, another if it does not."""

    def choose(batch: Batch) -> Tensor:
        assert isinstance(batch.score.model, nn.Module)
        same = torch.equal(
            batch.score.model.get_parameter("2.weight"), NETWORK.get_parameter("2.weight")
        )
        return (learnt if same else other).expand_as(batch.x)

    return choose


def ramp(side: int) -> Tensor:
    """An image (1, 1, side, side) that rises linearly: column + 2 row."""
    line = torch.arange(side, dtype=torch.float64)
    return (line[None, :] + 2 * line[:, None])[None, None]


def spot(side: int, row: int, column: int) -> Tensor:
    """An image (1, 1, side, side) that is 1 at one pixel and 0 elsewhere."""
    image = torch.zeros(1, 1, side, side, dtype=torch.float64)
    image[0, 0, row, column] = 1
    return image


def interior(side: int) -> Tensor:
    """An image (1, 1, side, side) that is 1 inside and 0 on its border."""
    image = torch.zeros(1, 1, side, side, dtype=torch.float64)
    image[0, 0, 1:-1, 1:-1] = 1
    return image


def sigmoid(z: float) -> float:
    """The number 1 / (1 + exp(-z))."""
    return 1 / (1 + math.exp(-z))


def entropy(*sizes: float) -> float:
    """The entropy -sum p ln p of shares of positive sizes.

    >>> round(entropy(1, 1), 4)
    0.6931
    """
    shares = [s / sum(sizes) for s in sizes]
    return -sum(p * math.log(p) for p in shares)
