"""Multilayer perceptrons for tables, trained at first use and cached; they need no download.

Training gives the same bits on every machine, so that runs share a hash of the weights, see
`igbench.models.training`.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.data import adult, breast_cancer
from igbench.data.tables import Split
from igbench.errors import check_whole
from igbench.models import training, weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained weights depend on.  Raise `version` with the code below.

    Attributes:
        name: Of the model.
        widths: Numbers of units of the layers, input and output included.
        least_accuracy: Cached weights with a lower one are not the trained ones; the model is
            trained again.
        version: Of the code.
        seed: Of everything random.
        epochs: Passes over the rows.
        batch: Rows of a step.
        peak_rate: Largest step size.
        momentum: Of the steps.
        weight_decay: L2 penalty.
        grid: What gradients and weights are rounded to.
    """

    name: str
    widths: tuple[int, ...]
    least_accuracy: float
    version: int = 1
    seed: int = 0
    epochs: int = 12
    batch: int = 256
    peak_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    grid: float = 2.0**-18

    def digest(self) -> str:
        """12 hexadecimal digits that change with any field."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


ADULT = Recipe("tabular_adult", (65, 64, 32, 2), 0.8, epochs=6, weight_decay=1e-3)
BREAST_CANCER = Recipe(
    "tabular_breast_cancer", (30, 16, 2), 0.9, epochs=40, batch=32, peak_rate=0.05
)


@checked
def tabular_adult(*, hidden: Sequence[int] = (64, 32), cache_dir: str | None = None) -> Model:
    """The perceptron for `data=adult`, trained in seconds at first use.

    Maps (N, 65) encoded rows to (N, 2) logits, by hidden layers with ReLU.

    Args:
        hidden: Units of each hidden layer; none for a linear model, logistic regression.
        cache_dir: Where the trained weights are kept; None for `$IGBENCH_CACHE`, or else the
            user's cache folder (on Linux `~/.cache/igbench`).

    Raises:
        InputError: A hidden layer without units.
    """
    return _model(_with_hidden(ADULT, hidden), adult.load_split, "UCI Adult", cache_dir)


@checked
def tabular_breast_cancer(*, hidden: Sequence[int] = (16,), cache_dir: str | None = None) -> Model:
    """The perceptron for `data=breast_cancer`, trained in a second at first use.

    Maps (N, 30) standardised rows to (N, 2) logits, by hidden layers with ReLU.

    Args:
        hidden: Units of each hidden layer; none for a linear model, logistic regression.
        cache_dir: Where the trained weights are kept; None for `$IGBENCH_CACHE`, or else the
            user's cache folder (on Linux `~/.cache/igbench`).

    Raises:
        InputError: A hidden layer without units.
    """
    recipe = _with_hidden(BREAST_CANCER, hidden)
    return _model(recipe, breast_cancer.load_split, "scikit-learn breast cancer", cache_dir)


def _with_hidden(recipe: Recipe, hidden: Sequence[int]) -> Recipe:
    """The recipe with other hidden layers, under a name of its own."""
    for units in hidden:
        check_whole("hidden", units, least=1)
    if tuple(hidden) == recipe.widths[1:-1]:
        return recipe
    suffix = "_".join(map(str, hidden)) or "linear"
    widths = (recipe.widths[0], *hidden, recipe.widths[-1])
    return replace(recipe, name=f"{recipe.name}_{suffix}", widths=widths)


def network(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU of its own after each but the last."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(split: Split, recipe: Recipe) -> nn.Sequential:
    """Train from scratch on the CPU; the global generators are neither used nor changed.

    Returns:
        The module in float32 and eval mode.
    """
    module = _initial(recipe).train()
    shuffle = rng.generator(recipe.seed, "training order", recipe.name)
    rows, labels = _part(split, split.train)
    rows = rows.double()
    optimizer = torch.optim.SGD(
        module.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    whole = len(rows) // recipe.batch * recipe.batch
    steps, step = recipe.epochs * (whole // recipe.batch), 0
    with torch.enable_grad(), weights.one_thread():
        for _ in range(recipe.epochs):
            order = torch.randperm(len(rows), generator=shuffle)[:whole]
            for chosen in order.split(recipe.batch):
                rate = recipe.peak_rate * training.one_cycle(step / steps)
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
                nn.functional.cross_entropy(module(rows[chosen]), labels[chosen]).backward()
                training.on_grid((p.grad for p in module.parameters()), recipe.grid)
                optimizer.step()
                training.on_grid(module.parameters(), recipe.grid)
                step += 1
    return module.float().eval()


def accuracy(module: nn.Module, split: Split) -> float:
    """Share of the held-out rows that `module` classifies right, in [0, 1]."""
    rows, labels = _part(split, split.held_out)
    with torch.inference_mode():
        return float((module(rows).argmax(dim=1) == labels).double().mean())


def _model(recipe: Recipe, load: Callable[[], Split], table: str, cache_dir: str | None) -> Model:
    split = load()
    path = weights.cache_folder(cache_dir) / f"{recipe.name}-{recipe.digest()}.safetensors"
    module = training.cached(
        path,
        lambda: network(recipe.widths).float(),
        recipe.name,
        lambda own: accuracy(own, split) >= recipe.least_accuracy,
    )
    if module is None:
        module = train(split, recipe)
        training.keep(module, path, recipe.name)
    share = accuracy(module, split)
    return Model(
        name=recipe.name,
        module=weights.ready(module),
        class_names=split.class_names,
        cam_layer="",
        weights_hash=weights.state_hash(module),
        source=(
            f"trained on {table}, recipe {recipe.version} ({recipe.digest()}), accuracy "
            f"{share:.1%} on {len(split.held_out):,} held-out rows"
        ),
    )


def _part(split: Split, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Encoded rows (n, W) and their classes (n,)."""
    rows = split.encoder.encode(split.frame.iloc[list(chosen)])
    return rows, torch.tensor([split.labels[i] for i in chosen])


@torch.no_grad()
def _initial(recipe: Recipe) -> nn.Sequential:
    with weights.untouched_rng():
        module = network(recipe.widths).double()
    for name, tensor in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(tensor)
    training.draw_weights(module, recipe.seed, recipe.name, recipe.grid)
    return module
