"""Samples of functions with known answers, explained by either of two scalars.

s is the logistic function: two classes with the logits (z, 0) have the logit z and the probability
s(z) of the first one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Output, Score
from igbench.integration.integrate import input_gradient
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

# Some ten roundings of 1.1e-16 of numbers below 10, then differences and quotients of size 1.
EXACT = {"rel": 1e-12, "abs": 1e-13}
KINDS = {k: MethodSpec(k, "", k, signed=True) for k in ("global", "local")}
SCALARS: tuple[Output, Output] = ("logit", "probability")
ONES = cf.row(1, 1, 1)


def s(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def read(scalar: Output, z: float) -> float:
    """What a two-class model with the logits (z, 0) says of its first class."""
    return z if scalar == "logit" else s(z)


def classes(f: cf.Function) -> cf.Function:
    """Two classes with the logits (f, 0)."""
    return lambda x: torch.stack([f(x), torch.zeros_like(f(x))], dim=1)


def at(
    f: cf.Function,
    x: Tensor,
    scalar: Output = "logit",
    *,
    baseline: Tensor | float = 0.0,
    seed: int = 0,
    features: str = "element",
    rows: int = 32,
) -> Batch:
    """Samples of a function, explained by one of two scalars."""
    b = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    n = len(x)
    ids = tuple(f"s{i}" for i in range(n))
    score = Score(classes(f), scalar, rows)
    return Batch(score, x, b, torch.zeros(n, dtype=torch.long), ids, features, seed)


def scored(
    metric: Metric, batch: Batch, phi: Tensor, kind: str = "global", method: Method | None = None
) -> Measurement:
    maps = {"m": Attribution(phi, KINDS[kind], explain=method)}
    return metric.measure(batch, maps, metric.observe(batch))["m"]


def value(metric: Metric, batch: Batch, phi: Tensor, kind: str = "global") -> float:
    return float(scored(metric, batch, phi, kind).value)


@dataclass(frozen=True)
class Gradient:
    """The gradient of whatever is explained, alone (local) or times the input (global)."""

    spec: MethodSpec

    def __call__(self, batch: Batch) -> Tensor:
        gradient = input_gradient(batch.score, batch.x, batch.target)
        return gradient if self.spec.kind == "local" else batch.x * gradient
