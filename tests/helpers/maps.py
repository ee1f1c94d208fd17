"""Small batches of photographs, maps of them, and what a metric says of a map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Method, Metric
from igbench.core.score import Score
from igbench.integration.integrate import input_gradient
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

GLOBAL = MethodSpec("global", "", "global", signed=True)
LOCAL = MethodSpec("local", "", "local", signed=True)
# Another order of summing some hundred numbers of size 1.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
MASK = torch.arange(64).view(8, 8) % 3 == 0


def photographs(n: int = 2, seed: int = 4) -> Batch:
    x = cf.images(n)
    target = torch.tensor([0, 2, 1])[:n]
    return Batch(Score(cf.small_net()), x, 0 * x, target, ("a", "b", "c")[:n], "pixel", seed)


def scored(
    m: Metric, b: Batch, phi: Tensor, method: Method | None = None, spec: MethodSpec = GLOBAL
) -> Tensor:
    maps = {"m": Attribution(phi, spec, explain=method)}
    return m.measure(b, maps, m.observe(b))["m"].value


@dataclass(frozen=True)
class Times:
    """Some multiple of the input times the gradient."""

    factor: float
    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return self.factor * b.x * input_gradient(b.score, b.x, b.target)
