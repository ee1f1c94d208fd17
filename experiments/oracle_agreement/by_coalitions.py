"""Methods that remove features, beside Captum, shap, lime and formulas."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from captum import attr
from setting import (
    REPEATS,
    SINGLE,
    Comparison,
    Found,
    apart,
    batch_of,
    colours,
    drawn,
    of_shap,
    over_draws,
    over_seeds,
    same,
    same_mean,
    target_of,
)
from torch import Tensor, nn

from igbench import methods
from igbench.core.batch import Batch
from igbench.core.perturb import all_subsets
from igbench.core.score import Score
from igbench.methods.coalitions import game
from igbench.methods.shap import halves
from igbench.surrogates.linear import likeness, surrogate

ON = "digits ResNet"


def bands(count: int) -> Tensor:
    """Feature numbers of a digit: bands of pixels, (1, 8, 8)."""
    return (torch.arange(64) * count // 64).view(1, 8, 8)


def comparisons(batch: Batch) -> list[Comparison]:
    """Rows of the methods that evaluate alone."""
    few, ten = batch.select(slice(0, 2)), bands(10)
    row = Comparison
    return [
        row("exact_shapley", "Captum's ShapleyValues", ON, partial(captum_exact, few)),
        row(
            "exact_shapley",
            "shap.KernelExplainer, all coalitions",
            ON,
            partial(kernel, few, methods.ExactShapley(ten)),
        ),
        row(
            "kernel_shap",
            "shap.KernelExplainer, all coalitions",
            ON,
            partial(kernel, few, methods.KernelShap("exact", features=ten)),
        ),
        row(
            "kernel_shap",
            "Captum's KernelShap",
            ON,
            partial(
                captum_sampled, few, "KernelShap", methods.KernelShap("leverage", 60, bands(8))
            ),
        ),
        row(
            "shapley_sampling",
            "Captum's ShapleyValueSampling",
            ON,
            partial(
                captum_sampled,
                few,
                "ShapleyValueSampling",
                methods.ShapleySampling(60, bands(8)),
            ),
        ),
        row("partition_shap", "formula: the orders of the tree", ON, partial(owen, few)),
        row("feature_ablation", "Captum's FeatureAblation / size", ON, partial(ablation, batch)),
        row("occlusion", "Captum's Occlusion / size, stride 2", ON, partial(occlusion, batch, 2)),
        row("occlusion", "Captum's Occlusion / size, stride 1", ON, partial(occlusion, batch, 1)),
        row("lime", "lime, its masks", "small CNN", lime_masks),
        row("lime", "lime, own masks on either side", "small CNN", lime_drawn),
        row("rise", "formula: all masks", "MLP", rise),
    ]


def captum_exact(batch: Batch) -> Found:
    """All 5! orders; Captum gives a feature's value to each of its elements."""
    numbers = bands(5)
    theirs = attr.ShapleyValues(batch.score.model).attribute(
        batch.x,
        batch.baseline,
        batch.target,
        feature_mask=numbers[None],
        perturbations_per_eval=200,
    )
    ours = methods.ExactShapley(features=numbers)(batch)
    return same(theirs, ours * sizes(numbers), SINGLE, "Captum adds in float32")


def sizes(numbers: Tensor) -> Tensor:
    """The number of elements of the feature of each element."""
    return numbers.flatten().bincount()[numbers]


def values_of(batch: Batch, i: int, numbers: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """V of coalitions (D, n), from a baseline of zero."""

    def values(masks: np.ndarray) -> np.ndarray:
        kept = torch.from_numpy(np.asarray(masks, dtype=float))[:, numbers]
        found = batch.score.evaluate(batch.x[i] * kept, target_of(batch, i, len(kept)))
        return found.numpy()

    return values


def kernel(batch: Batch, method: Any) -> Found:
    """Shap's regression over all coalitions of ten bands."""
    shap = importlib.import_module("shap")
    numbers = bands(10)
    maps = []
    for i in range(len(batch)):
        explainer = shap.KernelExplainer(values_of(batch, i, numbers), np.zeros((1, 10)))
        found = explainer.shap_values(np.ones((1, 10)), nsamples=2**10, l1_reg=False, silent=True)
        maps.append(torch.from_numpy(np.asarray(found).reshape(10))[numbers])
    return same(torch.stack(maps), method(batch) * sizes(numbers))


def captum_sampled(batch: Batch, name: str, method: Any) -> Found:
    """Captum's estimators and ours on the same bands, some budget each."""
    numbers = bands(8)
    kernel = name == "KernelShap"
    explainer = getattr(attr, name)(batch.score.model)

    def one(i: int) -> Tensor:
        more = {"n_samples": 200, "perturbations_per_eval": 200} if kernel else {"n_samples": 8}
        found: Tensor = explainer.attribute(
            batch.x[i : i + 1],
            batch.baseline[i : i + 1],
            batch.target_of(i),
            feature_mask=numbers[None],
            **more,
        )
        return found

    def theirs() -> Tensor:
        return torch.cat([one(i) for i in range(len(batch))])

    ours = over_seeds(method, batch) * sizes(numbers)
    where = numbers.flatten().diff(prepend=torch.tensor([-1])).nonzero()[:, 0]
    sides = [side.flatten(2)[..., where] for side in (over_draws(theirs), ours)]
    spread = [float(side.var(dim=0).mean().sqrt()) for side in sides]
    ratio = spread[0] / spread[1]
    return same_mean(*sides, why=f"Monte Carlo; a map of theirs has {ratio:.2g} times our error")


def owen(batch: Batch) -> Found:
    """Owen values by all orders that keep the parts of the tree together."""
    numbers, maps = bands(8), []
    for i in range(len(batch)):
        own = game(numbers, batch, i)
        tree = [(int(a), int(b)) for a, b, *_ in halves(own)]
        values = values_of(batch, i, numbers)(all_subsets(8).numpy())
        table = {tuple(m): float(v) for m, v in zip(all_subsets(8).tolist(), values, strict=True)}
        phi, ways = torch.zeros(8, dtype=torch.float64), orders(tree, 8 + len(tree) - 1, 8)
        for way in ways:
            present = [False] * 8
            for player in way:
                before = table[tuple(present)]
                present[player] = True
                phi[player] += (table[tuple(present)] - before) / len(ways)
        maps.append(phi[numbers] / sizes(numbers))
    return same(torch.stack(maps), of_shap("partition", 1000, numbers)(batch))


def orders(tree: list[tuple[int, int]], node: int, leaves: int) -> list[tuple[int, ...]]:
    """Orders of the leaves below a node in which the parts of every node stay together."""
    if node < leaves:
        return [(node,)]
    left, right = (orders(tree, child, leaves) for child in tree[node - leaves])
    pairs = list(itertools.product(left, right))
    return [a + b for a, b in pairs] + [b + a for a, b in pairs]


def ablation(batch: Batch) -> Found:
    """Captum gives the change without a feature to each of its elements."""
    numbers = bands(10)
    theirs = attr.FeatureAblation(batch.score.model).attribute(
        batch.x, batch.baseline, batch.target, feature_mask=numbers[None]
    )
    ours = methods.FeatureAblation(features=numbers)(batch)
    return same(theirs / sizes(numbers), ours)


def occlusion(batch: Batch, stride: int) -> Found:
    """Windows of 2 x 2."""
    theirs = (
        attr.Occlusion(batch.score.model)
        .attribute(
            batch.x,
            sliding_window_shapes=(1, 2, 2),
            strides=(1, stride, stride),
            baselines=batch.baseline,
            target=batch.target,
        )
        .double()
        / 4
    )
    ours = methods.Occlusion(2, stride)(batch)
    if stride == 2:
        return same(theirs, ours, SINGLE, "Captum adds in float32")
    inner = apart(theirs[..., 1:-1, 1:-1], ours[..., 1:-1, 1:-1])
    return same(
        theirs,
        ours,
        SINGLE,
        "at the border, which Captum's windows do not overhang, so that its elements lie in fewer "
        f"of them; inside {inner:.1g}",
    )


def small_cnn() -> nn.Module:
    """A network for (3, 8, 8) images that is not piecewise linear."""
    return drawn(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)), seed=5
    )


class Squares:
    """A colour image of 16 squares, as the library lime sees it, and its explanations.

    Attributes:
        batch: The image.
        segments: (8, 8) numbers.
    """

    def __init__(self) -> None:
        self.batch = batch_of(small_cnn(), colours(n=1))
        self.segments = (torch.arange(8)[:, None] // 2 * 4 + torch.arange(8) // 2).numpy()
        self.image = self.batch.x[0].permute(1, 2, 0).numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The score of (N, 8, 8, 3), (N, 1)."""
        rows = torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2)
        target = torch.ones(len(rows), dtype=torch.long)
        return self.batch.score.evaluate(rows, target).numpy()[:, None]

    def explained(self, seed: int) -> list[float]:
        """Weights of the 16 squares by the library."""
        lime_image = importlib.import_module("lime.lime_image")
        generator = np.random.RandomState(seed)
        explainer = lime_image.LimeImageExplainer(0.25, random_state=generator)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            found = explainer.explain_instance(
                self.image,
                self.predict,
                labels=(0,),
                top_labels=None,
                num_features=16,
                num_samples=1000,
                batch_size=1000,
                segmentation_fn=lambda _: self.segments,
                random_seed=0,
            )
        weights = dict(found.local_exp[0])
        return [weights[k] for k in range(16)]


def lime_masks() -> Found:
    """Our surrogate on the masks that the library draws."""
    squares = Squares()
    theirs = torch.tensor([squares.explained(0)])
    masks = np.random.RandomState(0).randint(0, 2, 1000 * 16).reshape(1000, 16)
    masks[0] = 1
    segments, image = squares.segments, squares.image
    means = np.stack([image[segments == s].mean(axis=0) for s in range(16)])[segments]
    rows = np.where(masks[:, segments][..., None] == 1, image, means)
    present = torch.from_numpy(masks).bool()
    values = torch.from_numpy(squares.predict(rows)[:, 0])
    fit = surrogate(present, values, likeness(present), ridge=1)
    return same(theirs, fit.values[None])


def lime_drawn() -> Found:
    """The preset, with masks of its own."""
    squares = Squares()
    theirs = torch.tensor([squares.explained(seed) for seed in range(REPEATS)])
    numbers = torch.from_numpy(squares.segments).expand(3, 8, 8)
    ours = over_seeds(methods.Lime(features=numbers, preset="lime"), squares.batch)
    return same_mean(theirs, ours[:, 0, :, ::2, ::2].sum(dim=1).flatten(1) * 4)


def rise() -> Found:
    """Cells of one pixel: the difference of the means of f over all masks, halves of each."""
    net = drawn(nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)), seed=2)
    g = torch.Generator().manual_seed(4)
    x = torch.randn(1, 1, 1, 8, generator=g, dtype=torch.float64)
    masks = all_subsets(8)
    f = Score(net).evaluate(masks[:, None, None] * x, torch.ones(256, dtype=torch.long))
    exact = torch.stack([f[m].mean() - f[~m].mean() for m in masks.T])
    ours = over_seeds(methods.Rise(cells=8), batch_of(net, x))
    return same_mean(exact.expand(REPEATS, 8), ours.flatten(1), "Monte Carlo of ours alone")
