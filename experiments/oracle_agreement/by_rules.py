"""Methods with rules for layers, beside Captum, shap and zennit."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from captum import attr
from setting import (
    EXACT,
    Comparison,
    Found,
    apart,
    batch_of,
    colours,
    drawn,
    held,
    of_shap,
    same,
)
from torch import Tensor, nn

from igbench import methods
from igbench.core.batch import Batch
from igbench.integration.integrate import input_gradient
from igbench.methods.lrp import LRP
from igbench.propagation.relevance import Composite, Epsilon, relevance

ON = "digits ResNet"
PRESETS = {
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_plus": "EpsilonPlus",
    "epsilon_gamma_box": "EpsilonGammaBox",
    "alpha2_beta1_flat": "EpsilonAlpha2Beta1Flat",
    "alpha2_beta1": "EpsilonAlpha2Beta1",
}
"""Our presets of LRP, and zennit's composites."""
TINY = 1e-12
"""Stabiliser of either side, so that its unit does not matter."""


def plain(act: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions and two dense layers, a module for each activation."""
    return drawn(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), act(), nn.Conv2d(4, 4, 3, stride=2), act(),
            nn.Flatten(), nn.Linear(36, 5), act(), nn.Linear(5, 3),
        ),
        seed=4,
    )  # fmt: skip


def pooled() -> nn.Module:
    """A max-pool after a ReLU, as in VGG."""
    return drawn(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
            nn.ReLU(), nn.Flatten(), nn.Linear(16, 3),
        ),
        seed=4,
    )  # fmt: skip


NETS: dict[str, Any] = {
    "CNN of ReLUs": plain,
    "CNN with a max-pool after a ReLU": pooled,
    "CNN of ReLU6": partial(plain, nn.ReLU6),
    "CNN of SiLU": partial(plain, nn.SiLU),
}
"""Networks by name."""
SIZE = 8.0
"""Factor of the inputs of these networks, so that bounded ReLUs reach their bound."""


def samples(name: str) -> Batch:
    """Images for one of the networks, from a baseline that is not constant."""
    return batch_of(NETS[name](), SIZE * colours(), baseline=colours(seed=5))


def comparisons(batch: Batch, pool: Tensor) -> list[Comparison]:
    """Rows of DeepLIFT, DeepSHAP, guided backprop, deconvolution and LRP."""
    module, plain_net = batch.score.model, "CNN of ReLUs"
    row = Comparison
    deep_shap = methods.DeepShap(len(pool), lambda: pool)
    return [
        row("deep_lift", "Captum", ON, lambda: deep_lift("captum", batch)),
        row("deep_lift", "shap.DeepExplainer", ON, lambda: deep_lift("shap", batch)),
        *(
            row("deep_lift", beside, name, partial(deep_lift, library, samples(name)))
            for name in NETS
            for library, beside in (("captum", "Captum"), ("shap", "shap.DeepExplainer"))
        ),
        row(
            "deep_shap",
            "Captum's DeepLiftShap",
            ON,
            lambda: same(
                attr.DeepLiftShap(module).attribute(batch.x, pool, target=batch.target),
                deep_shap(batch),
            ),
        ),
        row(
            "deep_shap",
            "shap.DeepExplainer",
            ON,
            lambda: same(
                of_shap("deep", references=len(pool), pool=lambda: pool)(batch), deep_shap(batch)
            ),
        ),
        *(
            row(name, "Captum", on, partial(guided, name, own))
            for name in ("guided_backprop", "deconvolution")
            for on, own in (
                (ON, batch),
                (plain_net, samples(plain_net)),
                ("CNN of ReLU6", samples("CNN of ReLU6")),
            )
        ),
        *(
            row("lrp", f"zennit's {theirs}", plain_net, partial(zennit, ours, theirs))
            for ours, theirs in PRESETS.items()
        ),
        row("lrp", "zennit's EpsilonPlus, no canoniser", ON, partial(zennit_residual, batch)),
        row("lrp", "Captum's LRP, epsilon 0.25", "MLP of ReLUs", captum_lrp),
    ]


def gap(phi: Tensor, batch: Batch) -> float:
    """Largest |sum - (f(x) - f(x'))| / |f(x) - f(x')|."""
    ends = [batch.score.evaluate(v, batch.target) for v in (batch.x, batch.baseline)]
    change = (ends[0] - ends[1]).double()
    missed = phi.double().flatten(1).sum(dim=1) - change
    return float((missed.abs() / change.abs()).max())


def deep_lift(library: str, batch: Batch) -> Found:
    """The map of a library, and what either side misses of f(x) - f(x')."""
    ours = methods.DeepLift()(batch)
    why = "order of sums"
    if library == "captum":
        explainer = attr.DeepLift(batch.score.model)
        theirs = explainer.attribute(batch.x, batch.baseline, target=batch.target).detach()
    else:
        theirs = of_shap("deep")(batch)
    gaps = [gap(phi, batch) for phi in (theirs, ours)]
    if gaps[0] > EXACT:
        why = "theirs is not complete"
    missed = f"sums are off by {gaps[0]:.1g} times f(x) - f(x'), ours by {gaps[1]:.1g}"
    return same(theirs, ours, why=f"{why}; {missed}")


def guided(name: str, batch: Batch) -> Found:
    """Guided backprop or deconvolution; Captum's rules are those of nn.ReLU alone."""
    both: dict[str, tuple[Any, Any]] = {
        "guided_backprop": (attr.GuidedBackprop, methods.GuidedBackprop()),
        "deconvolution": (attr.Deconvolution, methods.Deconvolution()),
    }
    theirs_of, method = both[name]
    x = batch.x.clone().requires_grad_()
    theirs = theirs_of(batch.score.model).attribute(x, target=batch.target)
    plain_gradient = input_gradient(batch.score, batch.x, batch.target)
    off = apart(theirs, plain_gradient)
    why = "order of sums"
    if off < EXACT:
        why = f"Captum's map is the plain gradient, to {off:.1g}: it has no rule for ReLU6"
    return same(theirs, method(batch), why=why)


def zennit_map(batch: Batch, composite: Any) -> Tensor:
    """Relevance by zennit, seeded with f."""
    x = batch.x.clone().requires_grad_()
    assert batch.target is not None
    with composite.context(batch.score.model) as modified:
        out = modified(x)
        seed = nn.functional.one_hot(batch.target, out.shape[1]) * out.detach()
        (found,) = torch.autograd.grad(out, x, seed)
    return found


def zennit(preset: str, composite: str) -> Found:
    """A preset with the smallest stabiliser on either side."""
    composites = importlib.import_module("zennit.composites")
    batch = batch_of(plain(), colours())
    box: dict[str, Any] = {"low": -1.0, "high": 1.0} if preset.endswith("box") else {}
    ends = {k: torch.full_like(batch.x, v) for k, v in box.items()}
    theirs = getattr(composites, composite)(epsilon=TINY, stabilizer=TINY, **ends)
    ours = LRP(preset, epsilon=TINY, **box)
    # Either stabiliser is 1e-12 in its own unit, and sums near zero multiply it.
    return same(zennit_map(batch, theirs), ours(batch), 1e-7, "unit of the stabiliser")


def zennit_residual(batch: Batch) -> Found:
    """A residual network as it is: zennit has no canoniser for its sums and batch norms."""
    composites = importlib.import_module("zennit.composites")
    theirs = zennit_map(batch, composites.EpsilonPlus(epsilon=TINY, stabilizer=TINY))
    ours = LRP("epsilon_plus", epsilon=TINY)(batch)
    sums = [side.double().flatten(1).sum(dim=1) for side in (theirs, ours)]
    f = batch.score.evaluate(batch.x, batch.target).double()
    shares = [float((total / f).mean()) for total in sums]
    why = (
        "batch norms are not folded, and residual sums pass all relevance to both sides: sum of "
        f"the map over f(x) {shares[0]:.2g} on average, ours {shares[1]:.2g}"
    )
    return same(theirs, ours, why=why)


def captum_lrp() -> Found:
    """The epsilon rule in every layer; Captum has none for nn.Flatten."""
    rules = importlib.import_module("captum.attr._utils.lrp_rules")
    net = drawn(
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), 3
    )
    for module in net:
        if isinstance(module, nn.Linear):
            module.rule = rules.EpsilonRule(0.25)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, generator=g, dtype=torch.float64)
    target = torch.tensor([1, 2])
    theirs = attr.LRP(net).attribute(x.clone().requires_grad_(), target=target)
    batch = batch_of(net, x)
    quarter = Epsilon(0.25, absolute=True)
    own = Composite(None, quarter, quarter, quarter)
    with held(batch):
        ours = relevance(batch.score, x, target, composite=own)
    return same(theirs, ours)
