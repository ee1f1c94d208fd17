"""A small ResNet for 8 x 8 digits, trained at first use and cached; needs no download.

Training gives the same bits on every machine, so that runs share a hash of the weights, see
`igbench.models.training`.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.data.digits import Digits, load_split
from igbench.models import training, weights

logger = logging.getLogger(__name__)

LEAST_ACCURACY = 0.95
"""Cached weights with a lower accuracy are not the trained ones; the model is trained again."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained weights depend on.  Raise `version` with the code below."""

    version: int = 1
    seed: int = 0
    epochs: int = 12
    batch: int = 32
    peak_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    grid: float = 2.0**-18

    def digest(self) -> str:
        """12 hexadecimal digits that change with any field."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut: (N, a, H, W) to (N, b, H / stride, W / stride).

    Each activation is a module of its own and is used once, for explainers that hook modules.
    """

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(b)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(b)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or a != b:
            self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Residual block with the activation after the sum."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(branch + self.shortcut(x))
        return out


class DigitsResNet(nn.Module):
    """ResNet with eight weight layers: (N, 1, 8, 8) to (N, 10) logits; last feature map 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU()
        self.layer1 = Block(12, 12, 1)
        self.layer2 = Block(12, 24, 2)
        self.layer3 = Block(24, 24, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fc(self.pool(x).flatten(1))
        return out


@checked
def digits_resnet(*, cache_dir: str | None = None) -> Model:
    """The small ResNet for `data=digits`, trained in some seconds at first use.

    Maps (N, 1, 8, 8) in [0, 1] to (N, 10) logits.

    Args:
        cache_dir: Where the trained weights are kept; None for `$IGBENCH_CACHE`, or else the
            user's cache folder (on Linux `~/.cache/igbench`).

    Source: He et al. 2016, "Deep Residual Learning" (CVPR), for the blocks.
    """
    recipe = Recipe()
    data = load_split()
    path = weights.cache_folder(cache_dir) / f"digits_resnet-{recipe.digest()}.safetensors"
    module = training.cached(
        path,
        lambda: DigitsResNet().float(),
        "digits_resnet",
        lambda own: accuracy(own, data) >= LEAST_ACCURACY,
    )
    if module is None:
        module = train(data, recipe)
        training.keep(module, path, "digits_resnet")
    logger.info("digits_resnet: accuracy %.4f on held-out digits", accuracy(module, data))
    return Model(
        name="digits_resnet",
        module=weights.ready(module),
        class_names=tuple(str(k) for k in range(10)),
        cam_layer="layer3",
        weights_hash=weights.state_hash(module),
        source=f"trained on scikit-learn digits, recipe {recipe.version} ({recipe.digest()})",
    )


def accuracy(module: nn.Module, data: Digits) -> float:
    """Share of the held-out digits that `module` names right, in [0, 1]."""
    chosen = list(data.held_out)
    with torch.inference_mode():
        predicted = module(data.images[chosen]).argmax(dim=1)
    return float((predicted == data.labels[chosen]).double().mean())


def train(data: Digits, recipe: Recipe) -> DigitsResNet:
    """Train from scratch on the CPU; the global generators are neither used nor changed.

    Returns:
        The module in float32 and eval mode.
    """
    module = _initial(recipe).train()
    shuffle = rng.generator(recipe.seed, "training order", "digits_resnet")
    chosen = torch.tensor(data.train)
    images, labels = data.images[chosen].double(), data.labels[chosen]
    optimizer = torch.optim.SGD(
        module.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * (len(chosen) // recipe.batch)
    step = 0
    with torch.enable_grad(), weights.one_thread():
        for _ in range(recipe.epochs):
            order = torch.randperm(len(chosen), generator=shuffle)
            for rows in order[: steps // recipe.epochs * recipe.batch].split(recipe.batch):
                optimizer.param_groups[0]["lr"] = recipe.peak_rate * training.one_cycle(
                    step / steps
                )
                optimizer.zero_grad()
                nn.functional.cross_entropy(module(images[rows]), labels[rows]).backward()
                training.on_grid((p.grad for p in module.parameters()), recipe.grid)
                optimizer.step()
                training.on_grid(module.parameters(), recipe.grid)
                step += 1
    training.on_grid(module.buffers(), recipe.grid)
    return module.float().eval()


@torch.no_grad()
def _initial(recipe: Recipe) -> DigitsResNet:
    """Uniform weights of variance 2 / fan-in, drawn in float64 for the sake of equal bits."""
    with weights.untouched_rng():
        module = DigitsResNet().double()
    nn.init.zeros_(module.fc.bias)
    training.draw_weights(module, recipe.seed, "digits_resnet", recipe.grid)
    return module
