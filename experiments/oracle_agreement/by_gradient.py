"""Methods that average gradients, beside Captum, shap and saliency."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from captum import attr
from setting import (
    EXACT,
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
from igbench.integration.blur_path import blur_path
from igbench.integration.expected import noisy_copy
from igbench.integration.integrate import input_gradient

DRAWS = 50
SIGMA = 8.0
STEPS = 0.05
"""Largest difference that a sum of some hundred steps explains."""
NODES = (SINGLE, "Captum rounds the weights of its nodes to float32")
ON = "digits ResNet"


def comparisons(batch: Batch, pool: Tensor) -> list[Comparison]:
    """Rows of the gradient methods."""
    module, x, start = batch.score.model, batch.x, batch.baseline
    few = batch.select(slice(0, 2))
    plain: dict[str, Any] = {"target": batch.target}
    line = {**plain, "baselines": start}

    def captums(name: str, **more: Any) -> Any:
        return getattr(attr, name)(module).attribute(x.clone().requires_grad_(), **more)

    def row(name: str, beside: str, run: Any) -> Comparison:
        return Comparison(name, beside, ON, run)

    ig = methods.IntegratedGradients()
    pooled = methods.ExpectedGradients(references=len(pool), pool=lambda: pool)
    noisy = methods.GradientShap(draws=DRAWS, noise=0.1)
    return [
        row(
            "saliency",
            "Captum",
            lambda: same(captums("Saliency", **plain), methods.Saliency()(batch)),
        ),
        row(
            "input_x_gradient",
            "Captum",
            lambda: same(captums("InputXGradient", **plain), methods.InputXGradient()(batch)),
        ),
        row(
            "ig",
            "Captum, the same nodes",
            lambda: same(captums("IntegratedGradients", n_steps=50, **line), ig(batch), *NODES),
        ),
        Comparison("ig_exact", "Captum, middle sums of 20,000 nodes", "MLP of ReLUs", ig_exact),
        row("ig_averaged", "Captum, mean over two baselines", partial(averaged, batch)),
        row("smooth_ig", "Captum's NoiseTunnel, our noise", partial(smooth_ig, batch)),
        row("smoothgrad", "Captum's NoiseTunnel, our noise", partial(tunnel, batch, "smoothgrad")),
        row(
            "smoothgrad_squared",
            "Captum's NoiseTunnel, our noise",
            partial(tunnel, batch, "smoothgrad_sq"),
        ),
        row("vargrad", "Captum's NoiseTunnel, our noise", partial(tunnel, batch, "vargrad")),
        row(
            "vargrad",
            "Captum's NoiseTunnel, times n / (n - 1)",
            partial(tunnel, batch, "vargrad", DRAWS / (DRAWS - 1)),
        ),
        row(
            "expected_gradients",
            "Captum's GradientShap",
            lambda: same_mean(
                over_draws(partial(gradient_shap, few, pool, 0.0)), over_seeds(pooled, few)
            ),
        ),
        row(
            "expected_gradients",
            "shap.GradientExplainer",
            lambda: same_mean(
                over_seeds(
                    of_shap("gradient", DRAWS, references=len(pool), pool=lambda: pool), few
                ),
                over_seeds(pooled, few),
            ),
        ),
        row(
            "gradient_shap",
            "Captum's GradientShap, noise 0.1",
            lambda: same_mean(
                over_draws(partial(gradient_shap, few, None, 0.1)), over_seeds(noisy, few)
            ),
        ),
        row(
            "gradient_shap",
            "shap.GradientExplainer, no noise",
            lambda: same_mean(
                over_seeds(of_shap("gradient", DRAWS), few),
                over_seeds(methods.GradientShap(DRAWS), few),
            ),
        ),
        row("blur_ig", "saliency.BlurIG", partial(blur_ig, few, own_blur=False)),
        row("blur_ig", "saliency.BlurIG, with our blur", partial(blur_ig, few, own_blur=True)),
        row("guided_ig", "saliency.GuidedIG, numpy's argument renamed", partial(guided_ig, batch)),
    ]


def ig_exact() -> Found:
    """A sum so fine that kinks hardly matter."""
    net = drawn(nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3)))
    batch = batch_of(net, colours())
    theirs = attr.IntegratedGradients(net).attribute(
        batch.x,
        target=batch.target,
        n_steps=20000,
        method="riemann_middle",
        internal_batch_size=4000,
    )
    why = "a kink lies anywhere in a step of Captum's sum"
    return same(theirs, methods.ExactIntegratedGradients()(batch), 1e-3, why)


def gradient_shap(batch: Batch, pool: Tensor | None, noise: float) -> Tensor:
    """Captum's GradientShap from the baseline, or from samples of the data."""
    explainer = attr.GradientShap(batch.score.model)
    found: Tensor = explainer.attribute(
        batch.x.clone().requires_grad_(),
        baselines=batch.baseline[:1] if pool is None else pool,
        target=batch.target,
        n_samples=DRAWS,
        stdevs=noise,
    )
    return found


def averaged(batch: Batch) -> Found:
    """Mean of Captum's IG over black and white."""
    from igbench.baselines import Constant

    explainer = attr.IntegratedGradients(batch.score.model)
    maps = [
        explainer.attribute(batch.x, torch.full_like(batch.x, v), target=batch.target, n_steps=25)
        for v in (0.0, 1.0)
    ]
    # Constant baselines need nothing of the data, and any data will do.
    method = methods.AveragedIG((Constant(0.0), Constant(1.0)), n_steps=25, data=mock.Mock())
    return same(sum(maps) / 2, method(batch), *NODES)


def noise_of(batch: Batch, draws: int) -> list[Tensor]:
    """Our noise for each sample, (draws, *F)."""
    return [
        torch.stack([noisy_copy(x, 0.15, batch.seed, name, d) - x for d in range(draws)])
        for x, name in zip(batch.x, batch.sample_ids, strict=True)
    ]


def tunnelled(batch: Batch, explainer: Any, draws: int, kind: str, **more: Any) -> Tensor:
    """Maps of Captum's NoiseTunnel with our noise in place of its own."""
    maps = []
    for i, noise in enumerate(noise_of(batch, draws)):
        with mock.patch.object(torch, "normal", lambda _mean, _std, own=noise: own):
            maps.append(
                attr.NoiseTunnel(explainer).attribute(
                    batch.x[i : i + 1],
                    nt_type=kind,
                    nt_samples=draws,
                    target=batch.target_of(i),
                    **more,
                )
            )
    return torch.cat(maps)


def tunnel(batch: Batch, kind: str, factor: float = 1.0) -> Found:
    """SmoothGrad and its kin."""
    method: Any = {
        "smoothgrad": methods.SmoothGrad,
        "smoothgrad_sq": methods.SmoothGradSquared,
        "vargrad": methods.VarGrad,
    }[kind]
    theirs = tunnelled(batch, attr.Saliency(batch.score.model), DRAWS, kind, abs=False)
    biased = kind == "vargrad" and factor == 1
    why = "Captum divides by n, ours by n - 1" if biased else "order of sums"
    return same(factor * theirs, method(draws=DRAWS)(batch), why=why)


def smooth_ig(batch: Batch) -> Found:
    """Integrated Gradients of noisy copies."""
    explainer = attr.IntegratedGradients(batch.score.model)
    theirs = tunnelled(batch, explainer, 10, "smoothgrad", n_steps=20)
    return same(theirs, methods.SmoothIG(draws=10, n_steps=20)(batch), *NODES)


def pictures(batch: Batch, i: int) -> tuple[np.ndarray, Any]:
    """A digit as (H, W, 1), and the model as saliency calls it."""

    def call(images: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
        rows = torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2)
        found = input_gradient(batch.score, rows, target_of(batch, i, len(rows)))
        return {"INPUT_OUTPUT_GRADIENTS": found.permute(0, 2, 3, 1).numpy()}

    return batch.x[i].permute(1, 2, 0).numpy(), call


def blur_ig(batch: Batch, own_blur: bool) -> Found:
    """The path from blurred to sharp with equal steps; with our blur in place of theirs, or not."""
    saliency = importlib.import_module("saliency.core")
    room = importlib.import_module("saliency.core.blur_ig")
    blur = blurred if own_blur else room.gaussian_blur
    maps = []
    with mock.patch.object(room, "gaussian_blur", blur):
        for i in range(len(batch)):
            image, call = pictures(batch, i)
            found = saliency.BlurIG().GetMask(image, call, max_sigma=SIGMA, steps=400, batch_size=1)
            maps.append(torch.from_numpy(found).permute(2, 0, 1))
    ours = [methods.BlurIG(SIGMA, steps, 1.0)(batch) for steps in (400, 800)]
    why = (
        "another path: their blur has a sampled kernel and black around the image, ours the "
        "discrete Gaussian and mirrored edges"
    )
    if own_blur:
        why = f"left sums of 400 steps; 400 more move ours, of middle sums, by {apart(*ours):.1g}"
    return same(torch.stack(maps), ours[1], STEPS if own_blur else EXACT, why)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image (H, W, C) on our path."""
    if not sigma:
        return image
    path = blur_path(torch.from_numpy(image).permute(2, 0, 1)[None], sigma=sigma)
    found = path.exact(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    return found[0].permute(1, 2, 0).numpy()


def guided_ig(batch: Batch) -> Found:
    """Guided IG, with the argument of numpy's quantile that has a new name."""
    saliency = importlib.import_module("saliency.core")
    quantile = np.quantile

    def renamed(a: Any, q: Any, interpolation: Any = "linear") -> Any:
        return quantile(a, q, method=interpolation)

    maps = []
    for i in range(len(batch)):
        image, call = pictures(batch, i)
        with mock.patch.object(np, "quantile", renamed):
            found = saliency.GuidedIG().GetMask(
                image, call, x_baseline=np.zeros_like(image), x_steps=50
            )
        maps.append(torch.from_numpy(np.asarray(found)).permute(2, 0, 1))
    ours = methods.GuidedIG(steps=50, rule="left")(batch)
    return same(torch.stack(maps), ours)
