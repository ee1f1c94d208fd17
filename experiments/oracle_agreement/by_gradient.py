"""Methods that average gradients, beside Captum, shap and saliency."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from captum import attr
from setting import Comparison, Found, apart, over_draws, over_seeds, same, same_mean
from torch import Tensor

from igbench import methods
from igbench.core.batch import Batch
from igbench.integration.expected import noisy_copy
from igbench.integration.integrate import input_gradient

DRAWS = 50
ON = "digits ResNet"


def comparisons(batch: Batch, pool: Tensor) -> list[Comparison]:
    """Rows of the gradient methods."""
    module, x, start = batch.score.model, batch.x, batch.baseline
    plain: dict[str, Any] = {"target": batch.target}
    line = {**plain, "baselines": start}

    def captums(name: str, **more: Any) -> Any:
        return getattr(attr, name)(module).attribute(x.clone().requires_grad_(), **more)

    def row(name: str, beside: str, run: Any) -> Comparison:
        return Comparison(name, beside, ON, run)

    ig = methods.IntegratedGradients()
    pooled = methods.ExpectedGradients(references=len(pool), pool=lambda: pool)
    shap_pooled = methods.Shap("gradient", references=len(pool), pool=lambda: pool)
    noisy = methods.GradientShap(draws=DRAWS, noise=0.1)
    from_pool = {**plain, "baselines": pool, "n_samples": 200}
    with_noise = {**line, "n_samples": DRAWS, "stdevs": 0.1}
    return [
        row("saliency", "Captum", lambda: same(captums("Saliency", **plain), methods.Saliency()(batch))),
        row(
            "input_x_gradient",
            "Captum",
            lambda: same(captums("InputXGradient", **plain), methods.InputXGradient()(batch)),
        ),
        row(
            "ig",
            "Captum, the same nodes",
            lambda: same(captums("IntegratedGradients", n_steps=50, **line), ig(batch)),
        ),
        row(
            "ig_exact",
            "Captum, 2,000 nodes",
            lambda: same(
                captums("IntegratedGradients", n_steps=2000, internal_batch_size=500, **line),
                methods.ExactIntegratedGradients()(batch),
                1e-3,
                "error of Captum's quadrature at the kinks of the ReLUs",
            ),
        ),
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
            "the same, times n / (n - 1)",
            partial(tunnel, batch, "vargrad", DRAWS / (DRAWS - 1)),
        ),
        row(
            "expected_gradients",
            "Captum's GradientShap",
            lambda: same_mean(
                over_draws(lambda: captums("GradientShap", **from_pool)), over_seeds(pooled, batch)
            ),
        ),
        row(
            "expected_gradients",
            "shap.GradientExplainer",
            lambda: same_mean(over_seeds(shap_pooled, batch), over_seeds(pooled, batch)),
        ),
        row(
            "gradient_shap",
            "Captum's GradientShap, noise 0.1",
            lambda: same_mean(
                over_draws(lambda: captums("GradientShap", **with_noise)), over_seeds(noisy, batch)
            ),
        ),
        row(
            "gradient_shap",
            "shap.GradientExplainer, no noise",
            lambda: same_mean(
                over_seeds(methods.Shap("gradient"), batch),
                over_seeds(methods.GradientShap(), batch),
            ),
        ),
        row("blur_ig", "saliency.BlurIG", partial(blur_ig, batch)),
        row("guided_ig", "saliency.GuidedIG", partial(guided_ig, batch)),
    ]


def averaged(batch: Batch) -> Found:
    """Mean of Captum's IG over black and white."""
    from igbench.baselines import Constant

    explainer = attr.IntegratedGradients(batch.score.model)
    maps = [
        explainer.attribute(
            batch.x, torch.full_like(batch.x, v), target=batch.target, n_steps=25
        )
        for v in (0.0, 1.0)
    ]
    # Constant baselines need nothing of the data, and any data will do.
    method = methods.AveragedIG((Constant(0.0), Constant(1.0)), n_steps=25, data=mock.Mock())
    return same(sum(maps) / 2, method(batch))


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
                    batch.x[i : i + 1], nt_type=kind, nt_samples=draws, target=batch.target_of(i), **more
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
    return same(theirs, methods.SmoothIG(draws=10, n_steps=20)(batch))


def pictures(batch: Batch, i: int) -> tuple[np.ndarray, Any]:
    """A digit as (H, W, 1), and the model as saliency calls it."""

    def call(images: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
        rows = torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2)
        found = input_gradient(batch.score, rows, batch.target_of(i).expand(len(rows)))
        return {"INPUT_OUTPUT_GRADIENTS": found.permute(0, 2, 3, 1).numpy()}

    return batch.x[i].permute(1, 2, 0).numpy(), call


def blur_ig(batch: Batch) -> Found:
    """The path from blurred to sharp, with equal steps."""
    saliency = importlib.import_module("saliency.core")
    maps = []
    for i in range(len(batch)):
        image, call = pictures(batch, i)
        found = saliency.BlurIG().GetMask(image, call, max_sigma=8, steps=400, batch_size=1)
        maps.append(torch.from_numpy(found).permute(2, 0, 1))
    ours = [methods.BlurIG(8.0, steps, 1.0)(batch) for steps in (200, 400)]
    own = apart(*ours)
    return same(
        torch.stack(maps),
        ours[1],
        why="another path: theirs blurs with a sampled kernel and black around the image, ours with "
        f"the discrete Gaussian and mirrored edges; steps explain {own:.1g} alone",
    )


def guided_ig(batch: Batch) -> Found:
    """Guided IG, which does not run."""
    saliency = importlib.import_module("saliency.core")
    image, call = pictures(batch, 0)
    try:
        found = saliency.GuidedIG().GetMask(
            image, call, x_baseline=np.zeros_like(image), x_steps=50, fraction=0.25, max_dist=0.02
        )
    except TypeError as error:
        return Found("", float("nan"), 0.0, f"theirs does not run: TypeError, {str(error)[:60]}")
    ours = methods.GuidedIG(steps=50, rule="left")(batch.select(slice(0, 1)))
    return same(torch.from_numpy(found).permute(2, 0, 1)[None], ours, why="order of sums")
