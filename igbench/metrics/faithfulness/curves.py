"""Removal curves: the output as features are removed in the order of an attribution.

Shared by deletion, insertion, symmetric relevance gain, pixel flipping and AOPC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.metrics.faithfulness import placement
from igbench.metrics.ranking import ranks_something

Order = Literal["mif", "lif"]
"""Most or least important features first."""


@dataclass(frozen=True)
class Curves:
    """Removal curves of one batch, computed once for each order and method.

    Attributes:
        batch: The samples.
        score: The tracked output.
        features: What is removed together.
        fill: (N, *F) replacement of removed features.
        step: Features removed at a time.
        tie_orders: Number R of random orders of tied features.
        clean: (N,) output with nothing removed.
        empty: (N,) output with everything removed.
        tolerance: (N,) largest estimated error of an area; None where every point is evaluated.
        known: Curves so far, by order and method.
        errors: Their estimated errors, (R, N), as that of the sum of the outputs.
    """

    batch: Batch
    score: Score
    features: Features
    fill: Tensor
    step: int
    tie_orders: int
    clean: Tensor
    empty: Tensor
    tolerance: Tensor | None = None
    known: dict[tuple[Order, str], Tensor] = field(default_factory=dict)
    errors: dict[tuple[Order, str], Tensor] = field(default_factory=dict)

    @property
    def x(self) -> list[float]:
        """Fraction of features removed at each of the P points, from 0 to 1."""
        count = self.features.count
        return [min(k * self.step, count) / count for k in range(math.ceil(count / self.step) + 1)]

    def removal(self, order: Order, attributions: Mapping[str, Attribution]) -> dict[str, Tensor]:
        """Output as features go, most ("mif") or least ("lif") important first, (R, N, P) each.

        All methods are evaluated together.  Samples with a flat map have NaN and cost nothing.

        Args:
            order: "mif" or "lif".
            attributions: Maps by name.
        """
        new = {n: a for n, a in attributions.items() if (order, n) not in self.known}
        if new:
            self._evaluate(order, new)
        return {name: self.known[order, name] for name in attributions}

    def with_error(
        self, found: Measurement, name: str, orders: Sequence[Order], weight: float
    ) -> Measurement:
        """The measurement, its standard error with that of the placement of the points.

        Args:
            found: Mean over the orders of ties.
            name: Method.
            orders: Orders of removal whose curves it takes.
            weight: Of each output in the value.
        """
        if self.tolerance is None:
            return found
        parts = [weight * self.errors[order, name].mean(dim=0) for order in orders]
        if found.std_error is not None:
            parts.append(found.std_error)
        return replace(found, std_error=torch.stack(parts).square().sum(dim=0).sqrt())

    def _evaluate(self, order: Order, attributions: Mapping[str, Attribution]) -> None:
        names, inner = list(attributions), len(self.x) - 2
        values = torch.stack(
            [feature_units.total(a.values, self.features) for a in attributions.values()]
        )  # (M, N, G)
        shape = (self.tie_orders, len(names), len(self.batch), len(self.x))
        curves = torch.full(shape, math.nan).to(values)
        errors = curves.new_zeros(shape[:-1])
        cuts = [self.step * k for k in range(1, inner + 1)]
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
                sign * values[ranked, i], self.batch.metric_seed, sample_id, self.tie_orders, cuts
            )
            middle, apart = self._middle(i, ranks, cuts, features)
            curves[:, ranked, i, 1:-1] = middle[places]
            errors[:, ranked, i] = apart[places]
        for m, name in enumerate(names):
            self.known[order, name], self.errors[order, name] = curves[:, m], errors[:, m]

    def _middle(
        self, i: int, ranks: Tensor, cuts: Sequence[int], features: Features
    ) -> tuple[Tensor, Tensor]:
        """Outputs of one sample for D ranks at C cuts, (D, C), and errors of their sums, (D,).

        Equal sets of removed features are evaluated once.
        """
        first, sets = self._sets(ranks, cuts)
        removed = torch.tensor(cuts, device=ranks.device)
        x, fill = self.batch.x[i], self.fill[i]

        def evaluate(chosen: Tensor) -> Tensor:
            def build(draw: Tensor) -> Tensor:
                at = chosen[draw]
                gone = ranks[at // len(cuts)] < removed[at % len(cuts), None]
                return perturb.remove(x, fill, gone, features)

            target = self.batch.target_of(i)
            return self.score.evaluate_draws(len(chosen), target, build, device=x.device).double()

        if self.tolerance is None or self._counts_all:
            return evaluate(first)[sets], ranks.new_zeros(len(ranks), dtype=torch.float64)
        lines, errors = placement.follow(
            lambda chosen: evaluate(first[chosen]).tolist(),
            sets.cpu().numpy(),
            (float(self.clean[i]), float(self.empty[i])),
            np.array(self.x) * self.features.count / self.step,
            float(self.tolerance[i]) * self.features.count / self.step,
        )
        return torch.from_numpy(lines[:, 1:-1]).to(x.device), torch.from_numpy(errors).to(x.device)

    def _sets(self, ranks: Tensor, cuts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The different sets among those of D ranks at C cuts, see `perturb.distinct_sets`."""
        if self._counts_all:
            every = torch.arange(len(ranks) * len(cuts), device=ranks.device)
            return every, every.view(len(ranks), len(cuts))
        return perturb.distinct_sets(ranks, cuts)

    @property
    def _counts_all(self) -> bool:
        """Whether the model stands for another one, whose maps are not known to remove the same."""
        return bool(getattr(self.score.model, "stands_in", False))
