"""Models that people bring, each beside the plain one that it should give the numbers of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weights(seed: int = 0, classes: int = 3, inputs: int = 6) -> Tensor:
    """(K, F) weights of a linear model."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(classes, inputs, generator=g, dtype=torch.float32)


def rows(n: int = 4, inputs: int = 6, seed: int = 1) -> Tensor:
    """(N, F) samples."""
    return torch.randn(n, inputs, generator=torch.Generator().manual_seed(seed))


def plain(bend: bool = True) -> nn.Sequential:
    """A small network with fixed weights, in eval mode."""
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh() if bend else nn.Identity(), nn.Linear(8, 3))
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.5)
    return net.eval()


class Around(nn.Module):
    """Base of models around the plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        self.eval()


class InPlace(Around):
    """Subtracts and adds a half in place, as preprocessing in forward does."""

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        x += 0.5
        return self.net(x)


class Shift(nn.Module):
    """A linear model of x - 0.5, taken in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", weights())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        return x @ self.w.T


class Clamped(Around):
    """Clamps in place through an alias."""

    def forward(self, x: Tensor) -> Tensor:
        view = x.view(-1)
        view.clamp_(-10, 10)
        return self.net(x)


class Cached(Around):
    """Keeps a table that it makes at the first call, from its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = self.net[2].weight * 1.0
        return nn.functional.linear(torch.tanh(self.net[0](x)), self.table, self.net[2].bias)


class Remembering(Around):
    """Keeps its last activations, as hand-written Grad-CAM does."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.net[0](x)
        return self.net[2](self.net[1](self.last))


class Counting(Around):
    """Counts its calls in a buffer, which nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


class Mixed(Around):
    """Its head works in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.net[2].double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[1](self.net[0](x)).double())


class Dropping(Around):
    """Drops at random, in eval mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(nn.functional.dropout(x, 0.5, training=True))


class Noisy(Around):
    """Adds noise to its outputs."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        return out + torch.randn_like(out)


class BatchNormed(Around):
    """Normalises over the batch: batch norm without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.norm(x) if len(x) > 1 else x)


class Centred(Around):
    """Subtracts the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - x.mean(dim=0))


class SharedSoftmax(Around):
    """Takes the softmax over the wrong axis."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(dim=0)


class Running(Around):
    """Keeps a running mean of what it has seen, and subtracts it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(dim=0)
        return self.net(x - self.mean)


class Recurrent(Around):
    """Starts from the state that the call before left."""

    state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = 0.0 if self.state is None else self.state
        self.state = x.detach().mean() + before
        return self.net(x + before)


class Warming(Around):
    """Gives other outputs from the third call on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) * (1.0 if self.calls < 4 else 2.0)
