"""Can a metric tell the truth from a good guess, and a good guess from none?

On a model whose contributions are planted, a metric of faithfulness must put a random map below the
size of the input, which knows nothing of the model, and that below the truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Metric
from igbench.core.score import Score
from igbench.schema import MethodSpec

RUNGS = ("random", "input", "truth")
SIDE = 16
STABLE = "how stable a map is, right or wrong"
SIMPLE = "how simple a map is, right or wrong"
PEOPLE = "agreement with what people marked"
AXIOM = "what the method does when something else changes, right or wrong"
FILES = "it asks for photographs that the model is sure of"
NOT_ORDERED: dict[str, str] = {
    "completeness": "only the sum of a map, which any map can be scaled to have",
    "difference_from_ig": "neither good nor bad",
    **dict.fromkeys(("aic", "sic"), FILES),
    **dict.fromkeys(("pointing_game", "relevance_mass", "relevance_rank"), PEOPLE),
    **dict.fromkeys(
        ("max_sensitivity", "avg_sensitivity", "max_sensitivity_n", "local_lipschitz"), STABLE
    ),
    **dict.fromkeys(
        ("sparseness", "quantus_sparseness", "complexity", "effective_complexity"), SIMPLE
    ),
    **dict.fromkeys(
        (
            "baseline_sensitivity",
            "dummy",
            "efficient_mprt",
            "implementation_invariance",
            "input_invariance",
            "linearity",
            "mprt",
            "random_logit",
            "smooth_mprt",
        ),
        AXIOM,
    ),
}
"""Metrics that do not ask for the truth, and what they ask for."""

SMALL = {"features": "patch:2", "step": 1}
"""Units that fit images of 16 x 16 pixels, in place of those for photographs."""


@dataclass(frozen=True)
class Ladder:
    """Mean scores of three maps on one model.

    Attributes:
        metric: Name in conf/metric.
        scores: Means over samples, of "random", "input" and "truth".
        apart: Smallest share of samples on which a rung is better than the one below it.
        higher: Whether more is better.
        note: Why there is no order, where there is none.
    """

    metric: str
    scores: tuple[float, ...] = ()
    apart: float = math.nan
    higher: bool = True
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the means are in order; true where no order is asked for."""
        if self.note:
            return True
        up = self.scores if self.higher else self.scores[::-1]
        return all(a < b for a, b in itertools.pairwise(up))


def planted(samples: int = 12, seed: int = 0) -> tuple[Batch, dict[str, Tensor]]:
    """Images, a model of them, and the three maps, all (N, 1, 16, 16) float64 and scaled alike.

    f(x) = sum_i w_i x_i^2 with w_i >= 0 that are independent of the images, whose pixels are
    uniform in [-1, 1].  A sum of functions of one pixel each: w_i x_i^2 is its Integrated
    Gradients, its Shapley value and its occlusion, with baseline 0, which is also what blurring and
    imputing come near to.  "input" is |x_i|; "random" is uniform in [0, 1].  Every map sums to
    f(x), so that scale gives nothing away.
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
    batch = Batch(Score(model, rows=256), x, torch.zeros_like(x), None, ids, "pixel", seed)
    return batch, maps


def ladders(metrics: Sequence[str] | None = None) -> list[Ladder]:
    """The ladder of every metric in conf/metric, or of some."""
    batch, maps = planted()
    return [
        Ladder(name, note=NOT_ORDERED[name]) if name in NOT_ORDERED else climb(name, batch, maps)
        for name in metrics or compose.choices("metric")
    ]


def climb(name: str, batch: Batch, maps: dict[str, Tensor]) -> Ladder:
    """The ladder of one metric, as it is configured but for the units of small images."""
    node = configured(name)
    own = {k: v for k, v in SMALL.items() if k in node}
    metric: Metric = build.construct({**node, **own}, f"metric.{name}")
    spec = MethodSpec("planted", "ladder", "global", signed=True)
    given = {rung: Attribution(values, spec) for rung, values in maps.items()}
    found = metric.measure(batch, given, metric.observe(batch))
    scores = [found[rung].value.double() for rung in RUNGS]
    sign = 1 if metric.spec.direction == "higher" else -1
    apart = min(
        float((sign * above > sign * below).double().mean())
        for below, above in itertools.pairwise(scores)
    )
    return Ladder(name, tuple(float(s.mean()) for s in scores), apart, sign > 0)


def ladder_table(found: Sequence[Ladder]) -> str:
    """A markdown table, and below it the metrics that no order is asked of."""
    lines = [
        "| metric | better | random | input | truth | samples in order | ok |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    for ladder in found:
        if not ladder.note:
            random, given, truth = ladder.scores
            lines.append(
                f"| {ladder.metric} | {'higher' if ladder.higher else 'lower'} | {random:.4g} | "
                f"{given:.4g} | {truth:.4g} | {ladder.apart:.0%} | "
                f"{'yes' if ladder.ok else '**no**'} |"
            )
    reasons: dict[str, list[str]] = {}
    for one in found:
        if one.note:
            reasons.setdefault(one.note, []).append(one.metric)
    lines += [""] + [f"Not ordered, {why}: {', '.join(who)}." for why, who in reasons.items()]
    return "\n".join(lines).rstrip()
