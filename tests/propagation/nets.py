"""Small networks with the operations that rules have to see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

F64 = torch.float64


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and evaluation mode, with drawn weights and statistics."""
    g = torch.Generator().manual_seed(seed)
    module = module.to(F64).eval()
    with torch.no_grad():
        for name, v in [*module.named_parameters(), *module.named_buffers()]:
            if v.is_floating_point():
                noise = torch.randn(v.shape, generator=g, dtype=F64)
                fan = v[0].numel() if v.dim() > 1 else 4
                v.copy_(noise.abs() + 0.5 if "var" in name else noise / fan**0.5)
    return module


class Net3(nn.Module):
    """z = W x + c, (1, 2, -1) relu(z); f(1, 1, 2) = 3.5."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.relu = nn.Linear(3, 3), nn.ReLU()
        self.outer = nn.Linear(3, 1, bias=False)
        self.to(F64).eval()
        with torch.no_grad():
            self.inner.weight.copy_(torch.tensor([[1.0, 2, -1], [-1, 1, 1], [0, 0, 1]]))
            self.inner.bias.copy_(torch.tensor([-0.5, 0, -1]))
            self.outer.weight.copy_(torch.tensor([[1.0, 2, -1]]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3) to (N, 1)."""
        out: Tensor = self.outer(self.relu(self.inner(x)))
        return out


class Residual(nn.Module):
    """As ResNet: batch norms, one in-place ReLU that is used twice, an in-place sum, a max-pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.conv, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) to (N, 5)."""
        x = self.pool(self.relu(self.bn(self.stem(x))))
        out = self.bn2(self.conv(x))
        out += x
        scores: Tensor = self.head(self.relu(out).mean(dim=(2, 3)))
        return scores


class Dense(nn.Module):
    """As DenseNet: batch norm and functional ReLU before the convolution, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.bn, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)
        self.bn2, self.head = nn.BatchNorm2d(7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) to (N, 5)."""
        x = self.stem(x)
        x = torch.cat([x, self.conv(functional.relu(self.bn(x), inplace=True))], dim=1)
        x = functional.adaptive_avg_pool2d(functional.relu(self.bn2(x)), 1)
        scores: Tensor = self.head(x.flatten(1))
        return scores


class Separable(nn.Module):
    """As EfficientNet-Lite: padding outside, ReLU6, depthwise convolution, linear bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.depth, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4)
        self.point, self.act = nn.Conv2d(4, 4, 1), nn.ReLU6(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) to (N, 5)."""
        x = self.act(6 * self.bn(self.stem(functional.pad(x, (0, 1, 0, 1)))))
        x = x + self.point(self.act(self.bn2(self.depth(x))))
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores


class Gated(nn.Module):
    """As MobileNetV3: hard swish, and a squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.excite, self.head = nn.Conv2d(2, 4, 1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) to (N, 5)."""
        x = functional.hardswish(self.stem(x))
        gate = torch.sigmoid(self.excite(functional.silu(self.squeeze(x.mean((2, 3), True)))))
        scores: Tensor = self.head((x * gate).amax(dim=(2, 3)))
        return scores


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """What the function returns."""
        return self.function(x)


def vgg() -> nn.Module:
    """As VGG with batch norm: convolution, ReLU, max-pool; two dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5),
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {
    "dense": Dense,
    "gated": Gated,
    "residual": Residual,
    "separable": Separable,
    "vgg": vgg,
}


def images(n: int = 3, seed: int = 1) -> Tensor:
    """(N, 3, 8, 8) in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, 3, 8, 8, generator=g, dtype=F64) - 1
