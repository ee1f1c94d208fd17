"""What the comparisons of methods share: models, samples, and how far two maps are apart."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy import stats
from torch import Tensor, nn

from igbench import methods
from igbench.config import build, compose
from igbench.core import rng
from igbench.core.batch import Batch, Method
from igbench.core.score import Score, frozen

F64 = torch.float64
EXACT = 1e-9
"""Largest relative difference that counts as rounding in float64; a model adds to it."""
SINGLE = 1e-5
"""The same where a library computes in float32."""
REPEATS = 20
"""Maps of each side for a comparison in standard errors."""
CHANCE = 0.01
"""Chance that a comparison in standard errors fails although the expectations agree."""


@dataclass(frozen=True)
class Found:
    """How far two maps are apart.

    Attributes:
        measure: What `value` is.
        value: The figure; NaN where there is none.
        limit: The largest value that counts as agreement.
        why: What explains the difference.
    """

    measure: str
    value: float
    limit: float
    why: str


@dataclass(frozen=True)
class Comparison:
    """A method beside something independent of it.

    Attributes:
        method: Name of its configuration.
        beside: The library, or the formula.
        on: The model.
        run: Compares.
    """

    method: str
    beside: str
    on: str
    run: Callable[[], Found]

    def row(self) -> dict[str, object]:
        """The comparison as a row of the table; without the library, a row that says so."""
        try:
            found = self.run()
        except ModuleNotFoundError as error:
            found = Found("", float("nan"), 0.0, f"not installed: {error.name}")
            agrees = ""
        else:
            agrees = "yes" if found.value <= found.limit else "no"
        return {
            "method": self.method,
            "beside": self.beside,
            "on": self.on,
            "measure": found.measure,
            "value": found.value,
            "limit": found.limit,
            "agrees": agrees,
            "what explains it": found.why,
        }


def digits(count: int) -> tuple[Batch, Tensor]:
    """Digits with their predicted classes and the small ResNet in float64, and a pool of others."""
    words = ["experiment=digits_resnet", f"limit={count}", "dtype=float64", "batch_size=512"]
    experiment = build.experiment(compose.compose(words))
    data, module = experiment.data, experiment.model.module.double()
    x = torch.stack([data.load(i) for i in range(count)]).double()
    assert data.reference is not None
    with torch.no_grad():
        target = module(x).argmax(dim=1)
    score = Score(module, batch_size=512)
    batch = Batch(score, x, torch.zeros_like(x), target, data.sample_ids, "pixel", 0)
    return batch, data.reference().double()[:8]


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and evaluation mode, with weights from a fixed seed."""
    g = torch.Generator().manual_seed(seed)
    module = module.to(F64).eval()
    with torch.no_grad():
        for p in module.parameters():
            fan = p[0].numel() if p.dim() > 1 else 4
            p.copy_(torch.randn(p.shape, generator=g, dtype=F64) / fan**0.5)
    return module


def colours(seed: int = 1, n: int = 2) -> Tensor:
    """(N, 3, 8, 8) in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, 3, 8, 8, generator=g, dtype=F64) - 1


def batch_of(model: nn.Module, x: Tensor, target: int = 1, baseline: Tensor | None = None) -> Batch:
    """Samples of a small network with one class, from zero unless said."""
    start = torch.zeros_like(x) if baseline is None else baseline
    ids = tuple(f"s{i}" for i in range(len(x)))
    return Batch(Score(model), x, start, torch.full((len(x),), target), ids)


def target_of(batch: Batch, i: int, rows: int) -> Tensor:
    """The class of a sample for some rows."""
    one = batch.target_of(i)
    assert one is not None
    return one.expand(rows)


def module_of(batch: Batch) -> nn.Module:
    """The model of a batch, for libraries that hook its modules."""
    assert isinstance(batch.score.model, nn.Module)
    return batch.score.model


def detached(maps: Any) -> Tensor:
    """Maps of a library as a float64 tensor."""
    return torch.as_tensor(maps).detach().to(F64)


def apart(theirs: Any, ours: Tensor) -> float:
    """Largest difference of two maps (N, *F), as a share of the largest entry of ours."""
    a, b = detached(theirs).flatten(1), detached(ours).flatten(1)
    return float(((a - b).abs().amax(dim=1) / b.abs().amax(dim=1)).max())


def same(theirs: Any, ours: Tensor, limit: float = EXACT, why: str = "order of sums") -> Found:
    """Two maps that should be equal."""
    return Found("relative difference", apart(theirs, ours), limit, why)


def same_mean(theirs: Tensor, ours: Tensor, why: str = "Monte Carlo") -> Found:
    """Two samples of maps (R, *F) that should have one expectation, in standard errors.

    The limit is a quantile of Student's t, Bonferroni-corrected for the elements.  Rounding to
    float32 counts as an error of 1e-6 of the largest entry.
    """
    means = [side.mean(dim=0) for side in (theirs, ours)]
    variance = sum(side.var(dim=0) / len(side) for side in (theirs, ours))
    floor = 1e-6 * means[1].abs().max()
    value = (means[0] - means[1]).abs() / (variance + floor**2).sqrt()
    freedom = min(len(theirs), len(ours)) - 1
    limit = float(stats.t.isf(CHANCE / 2 / value.numel(), freedom))
    return Found("standard errors", float(value.max()), limit, why)


def over_seeds(method: Method, batch: Batch, repeats: int = REPEATS) -> Tensor:
    """Maps of a method under other seeds, (R, N, *F)."""
    return torch.stack([method(replace(batch, seed=s)) for s in range(repeats)]).to(F64)


def over_draws(explain: Callable[[], Any], repeats: int = REPEATS) -> Tensor:
    """Maps of a library that draws from global generators, (R, N, *F)."""
    with rng.global_state(0, "over draws", ""):
        return torch.stack([detached(explain()) for _ in range(repeats)])


def of_shap(*arguments: Any, **more: Any) -> methods.Shap:
    """An explainer of shap; raises ModuleNotFoundError where that is not installed."""
    importlib.import_module("shap")
    return methods.Shap(*arguments, **more)


def held(batch: Batch) -> Any:
    """Freeze the parameters of the model of a batch, as an evaluation does."""
    return frozen(batch.score.model)
