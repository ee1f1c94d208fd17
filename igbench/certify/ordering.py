"""Ordering tests: metrics of faithfulness must rank true contributions above poorer maps.

On a model with planted contributions, a metric of faithfulness must rank a random map below the
size of the input, which does not depend on the model, and that below the true contributions.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.certify.certificates import configured
from igbench.config import build, folders
from igbench.core import rng
from igbench.core.batch import Attribution, Batch
from igbench.core.score import Score
from igbench.metrics.base import BaseMetric
from igbench.schema import Family, MethodSpec

LEVELS = ("random", "input", "truth")
SIDE = 16
UNORDERED_FAMILIES: dict[Family, str] = {
    "robustness": "they measure how stable a map is, right or wrong",
    "complexity": "they measure how simple a map is, right or wrong",
    "localisation": "they measure the agreement with annotations",
    "randomisation": "they measure how a method reacts to a change, right or wrong",
    "agreement": "they compare maps with each other, or with coefficients that are known",
}
"""Families whose metrics do not depend on the true contributions, and the reason."""
NOT_ORDERED: dict[str, str] = {
    "completeness": "it tests only the sum of a map, and any map can be scaled to the right sum",
    **dict.fromkeys(
        ("soft_comprehensiveness", "soft_sufficiency"),
        "what is kept depends on how even a map is, so that an even one can be ahead of the truth",
    ),
    **dict.fromkeys(("aic", "sic"), "they need photographs that the model is sure of"),
}
"""Metrics of other families that have no order, and the reason."""
EXPLAINS_AGAIN = "it measures how a method reacts to a change, right or wrong"

SMALL = {"features": "patch:2", "step": 1}
"""Units for images of 16 x 16 pixels, in place of those for photographs."""
FEW = ("naopc",)
"""Metrics of few features, with their own units."""


@dataclass(frozen=True)
class OrderingTest:
    """Mean scores of three maps on one model.

    Attributes:
        metric: Name in conf/metric.
        scores: Means over samples, of "random", "input" and "truth".
        in_order: Smallest share of samples on which a level is better than the one below it.
        higher: Whether more is better.
        note: Why the metric has no order; "" if it has one.
    """

    metric: str
    scores: tuple[float, ...] = ()
    in_order: float = math.nan
    higher: bool = True
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the means are in order; true for metrics without an order."""
        if self.note:
            return True
        up = self.scores if self.higher else self.scores[::-1]
        return all(a < b for a, b in itertools.pairwise(up))


def planted(samples: int = 12, seed: int = 0) -> tuple[Batch, dict[str, Tensor]]:
    """Images, a model, and three maps, all (N, 1, 16, 16) float64.

    f(x) = sum_i w_i x_i^2 with w_i >= 0 that are independent of the images, whose pixels are
    uniform in [-1, 1].  As f is a sum of functions of one pixel each, w_i x_i^2 is its Integrated
    Gradients, its Shapley value and its occlusion with baseline 0, which blurring and imputing
    approximate.  "input" is |x_i|; "random" is uniform in [0, 1].  Every map is scaled to sum to
    f(x).
    """
    shape = (1, SIDE, SIDE)
    weights = torch.rand(shape, generator=rng.generator(seed, "ladder weights", "")).double()
    weights = weights**2 * 8 / weights.numel()
    ids = tuple(map(str, range(samples)))
    like = torch.zeros(0, dtype=torch.float64)
    x = rng.per_sample(
        lambda g: 2 * torch.rand(shape, generator=g) - 1, seed, "ladder x", ids, like
    )
    noise = rng.per_sample(lambda g: torch.rand(shape, generator=g), seed, "ladder phi", ids, like)

    def model(z: Tensor) -> Tensor:
        return (weights.to(z) * z**2).flatten(1).sum(dim=1)

    truth = weights * x**2
    maps = {"random": noise, "input": x.abs(), "truth": truth}
    total = truth.flatten(1).sum(dim=1).view(-1, 1, 1, 1)
    maps = {k: m * total / m.flatten(1).sum(dim=1).view(-1, 1, 1, 1) for k, m in maps.items()}
    batch = Batch(Score(model, batch_size=256), x, torch.zeros_like(x), None, ids, "pixel", seed)
    return batch, maps


def ordering_tests(metrics: Sequence[str] | None = None) -> list[OrderingTest]:
    """Test the order of all metrics in conf/metric, or of some."""
    batch, maps = planted()
    return [run(name, batch, maps) for name in metrics or folders.packaged("metric")]


def no_order(name: str, metric: BaseMetric) -> str:
    """Why a metric need not put the truth first; "" where it must."""
    again = EXPLAINS_AGAIN if metric.needs_method else ""
    return NOT_ORDERED.get(name) or UNORDERED_FAMILIES.get(metric.family, again)


def run(name: str, batch: Batch, maps: dict[str, Tensor]) -> OrderingTest:
    """Test the order of a configured metric, with units for small images."""
    node = configured(name)
    takes = inspect.signature(build.locate(str(node["_target_"]), f"metric.{name}")).parameters
    own = {k: v for k, v in SMALL.items() if k in takes and name not in FEW}
    metric: BaseMetric = build.construct({**node, **own}, f"metric.{name}")
    if note := no_order(name, metric):
        return OrderingTest(name, note=note)
    spec = MethodSpec("planted", "ordering test", "global", signed=True)
    attributions = {level: Attribution(values, spec) for level, values in maps.items()}
    found = metric.score(batch, attributions)
    scores = [found[level].value.double() for level in LEVELS]
    sign = 1 if metric.spec.direction == "higher" else -1
    in_order = min(
        float((sign * above > sign * below).double().mean())
        for below, above in itertools.pairwise(scores)
    )
    return OrderingTest(name, tuple(float(s.mean()) for s in scores), in_order, sign > 0)


def ordering_table(tests: Sequence[OrderingTest]) -> str:
    """Format ordering tests as a Markdown table, followed by the metrics without an order."""
    lines = [
        "| metric | better | random | input | truth | samples in order | ok |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    reasons: dict[str, list[str]] = {}
    for test in tests:
        if test.note:
            reasons.setdefault(test.note, []).append(test.metric)
            continue
        means = " | ".join(f"{score:.4g}" for score in test.scores)
        lines.append(
            f"| {test.metric} | {'higher' if test.higher else 'lower'} | {means} | "
            f"{test.in_order:.0%} | {'yes' if test.ok else '**no**'} |"
        )
    lines += [""] + [f"Not ordered, {why}: {', '.join(names)}." for why, names in reasons.items()]
    return "\n".join(lines).rstrip()
