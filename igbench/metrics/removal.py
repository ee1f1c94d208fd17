"""How does the output move as features are removed in the order that an attribution gives?

The machinery that deletion, insertion and symmetric relevance gain share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from igbench import checks, perturb
from igbench import features as feature_units
from igbench.rows import Direction, MetricSpec
from igbench.types import Attribution, Batch, Features, Score

Order = Literal["mif", "lif"]
FLAT = "the map is flat, so it ranks nothing"


@dataclass(frozen=True)
class Removal:
    """What a removal curve is, apart from the order; the base of the metrics made of such curves.

    Tied features go in a random order, the same for all methods; where a step parts them, the curve
    is the mean over `tie_orders` such orders, and the standard error is that of this mean.  A map
    without such ties is evaluated once, and its error is 0.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1792 of
            50176 pixels, 1/28).
        occluder: What replaces removed features, see `igbench.perturb.occluded`.
        scalar: Output that is tracked: "score" (what the attribution explains), "logit" or
            "probability".
        features: What one feature is; None for the default of the data.
        tie_orders: Number R of random orders of tied features; no standard error for 1.

    Raises:
        InputError: A step that is not above zero, or above 1 and not whole; an unknown occluder or
            output; no order.
    """

    step: float = 1
    occluder: str = "baseline"
    scalar: Literal["score", "logit", "probability"] = "score"
    features: str | None = None
    tie_orders: int = 2

    def __post_init__(self) -> None:
        checks.positive("step", self.step)
        checks.positive("tie_orders", self.tie_orders)
        feature_units.check_shares((self.step,), "step")
        checks.known_name("scalar", self.scalar, ("score", "logit", "probability"))
        checks.known_name("occluder", self.occluder, perturb.OCCLUDERS)

    @property
    def observation_key(self) -> object:
        """Metrics that remove alike share their curves."""
        return Removal(self.step, self.occluder, self.scalar, self.features, self.tie_orders)

    def observe(self, batch: Batch) -> Curves:
        """The end points of every curve; the curves follow when they are asked for."""
        spec = batch.features if self.features is None else self.features
        features = feature_units.resolve(spec, tuple(batch.x.shape[1:]))
        score = batch.score if self.scalar == "score" else batch.score.as_output(self.scalar)
        fill = perturb.occluded(batch, self.occluder)
        step = max(1, round(self.step * features.count)) if self.step < 1 else int(self.step)
        return Curves(
            batch,
            score,
            features,
            fill,
            step,
            self.tie_orders,
            score.evaluate(batch.x, batch.target).double(),
            score.evaluate(fill, batch.target).double(),
        )

    def definition(
        self, title: str, direction: Direction, low: float, reference: str
    ) -> MetricSpec:
        """The definition of a metric on these curves; its range is known for probabilities."""
        bounded = self.scalar == "probability"
        return MetricSpec(
            f"{title} ({self.occluder} occluder)",
            direction,
            low if bounded else -math.inf,
            1 if bounded else math.inf,
            1,
            reference,
            scalar=self.scalar,
            unit=self.features or "as the data",
            undefined=FLAT,
        )


@dataclass(frozen=True)
class Curves:
    """Curves of one batch, computed once for each order and method, then remembered.

    Attributes:
        batch: The samples.
        score: The output that is tracked.
        features: What is removed together.
        fill: (N, *F) what replaces removed features.
        step: Features removed at a time.
        tie_orders: Number R of random orders of tied features.
        clean: (N,) output with nothing removed.
        empty: (N,) output with everything removed.
        known: Curves so far, by order and method.
    """

    batch: Batch
    score: Score
    features: Features
    fill: Tensor
    step: int
    tie_orders: int
    clean: Tensor
    empty: Tensor
    known: dict[tuple[Order, str], Tensor] = field(default_factory=dict)

    @property
    def x(self) -> list[float]:
        """Fraction of features removed at each of the P points, from 0 to 1."""
        count = self.features.count
        return [min(k * self.step, count) / count for k in range(math.ceil(count / self.step) + 1)]

    def removal(self, order: Order, attributions: Mapping[str, Attribution]) -> dict[str, Tensor]:
        """Output as features go, most ("mif") or least ("lif") important first, (R, N, P) each.

        Samples with a flat map have NaN.  All methods are evaluated together.
        """
        new = {n: a for n, a in attributions.items() if (order, n) not in self.known}
        if new:
            for name, curve in self._evaluate(order, new).items():
                self.known[order, name] = curve
        return {name: self.known[order, name] for name in attributions}

    def _evaluate(self, order: Order, attributions: Mapping[str, Attribution]) -> dict[str, Tensor]:
        names, inner = list(attributions), len(self.x) - 2
        values = torch.stack(
            [feature_units.total(a.values, self.features) for a in attributions.values()]
        )  # (M, N, G)
        shape = (self.tie_orders, len(names), len(self.batch), len(self.x))
        curves = torch.full(shape, math.nan).to(values)
        cuts = [self.step * k for k in range(1, inner + 1)]
        removed = torch.tensor(cuts, device=values.device)
        features = feature_units.on(self.features, values.device)
        for i, sample_id in enumerate(self.batch.sample_ids):
            # A flat or undefined map gets no curve and costs nothing.
            ranked = [m for m in range(len(names)) if ranks_something(values[m, i])]
            if not ranked:
                continue
            curves[:, ranked, i, 0] = self.clean[i]
            curves[:, ranked, i, -1] = self.empty[i]
            if not inner:
                continue
            sign = 1 if order == "mif" else -1
            ranks, places = perturb.rankings(
                sign * values[ranked, i], self.batch.draws_seed, sample_id, self.tie_orders, cuts
            )
            x, fill = self.batch.x[i], self.fill[i]

            def build(
                draw: Tensor, ranks: Tensor = ranks, x: Tensor = x, fill: Tensor = fill
            ) -> Tensor:
                gone = ranks[draw // inner] < removed[draw % inner, None]
                return perturb.remove(x, fill, gone, features)

            middle = self.score.evaluate_draws(
                len(ranks) * inner, self.batch.target_of(i), build, device=x.device
            )
            curves[:, ranked, i, 1:-1] = middle.view(len(ranks), inner).double()[places]
        return {name: curves[:, m] for m, name in enumerate(names)}


def ranks_something(values: Tensor) -> bool:
    """Whether values (G,) are finite and not all equal."""
    return bool(torch.isfinite(values).all()) and bool((values != values[0]).any())


def area(x: list[float], y: Tensor) -> Tensor:
    """Area under curves over the fraction of features, by the trapezoid rule, (..., P) to (...)."""
    return torch.trapezoid(y, torch.tensor(x, dtype=y.dtype, device=y.device), dim=-1)
