"""How does the output move once given shares of the ranked features are gone?

The machinery that comprehensiveness and sufficiency share, and ROAD in part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.errors import check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.faithfulness.removal import ranks_something
from igbench.metrics.monte_carlo import averaged

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
Ends = Literal["top", "bottom"]
Refill = Callable[[int, Tensor, Tensor], Tensor]
"""Sample i, removed features (rows, G) and numbers of points (rows,) to inputs (rows, *F)."""


@dataclass(frozen=True)
class Erasure(BaseMetric):
    """Which features are kept or removed, and what is tracked; the base of two metrics.

    Tied features go in a random order, the same for all methods; where a share parts them, the
    value is the mean over `tie_orders` such orders, and the standard error is that of this mean.

    Args:
        fractions: Shares q of the features, the B thresholds: fractions of G below 1 (rounded to
            at least one feature), or whole numbers.  Shares that round to the same number of
            features each count.
        occluder: What replaces removed features, see `igbench.core.perturb.occluded`; the paper deletes
            tokens.
        scalar: Output that is tracked: "score" (what the attribution explains), "logit" or
            "probability" (the paper).
        features: What one feature is; None for the default of the data.
        tie_orders: Number R of random orders of tied features; no standard error for 1.

    Raises:
        InputError: Shares that are none, an unknown occluder or output, no order.
    """

    family = "faithfulness"
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    label: ClassVar[str] = ""
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "occluder": "zero",
        "scalar": "probability",
        "features": "pixel",
    }
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline", "scalar": "score"}

    fractions: Sequence[float] = SHARES
    occluder: str | None = None
    scalar: Literal["score", "logit", "probability"] | None = None
    features: str | None = None
    tie_orders: int = 2

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        bounded = self.scalar == "probability"
        return (-1, 1) if bounded else (-math.inf, math.inf)

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "score"

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        shares = ", ".join(f"{q:g}" for q in self.fractions)
        return f"{self.label} (mean over {shares} of the features, {self.occluder} occluder)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))
        check_positive("tie_orders", self.tie_orders)
        perturb.check_removal(self.scalar, self.occluder)

    @property
    def sharing_key(self) -> object:
        """The shares do not matter to what is observed."""
        return (Erasure, self.occluder, self.scalar, self.features, self.tie_orders)

    def observe(self, batch: Batch) -> Erased:
        """f(x); the rest depends on the maps."""
        features = self.features_of(batch)
        own = self.for_shape(batch.x.shape[1:])
        score = perturb.tracked(batch.score, own.scalar)
        fill = perturb.occluded(batch, own.occluder or "baseline")
        clean = score.evaluate(batch.x, batch.target).double()
        refill = replaced(batch.x, fill, features)
        return Erased(batch, score, features, clean, refill, self.tie_orders)

    def counts(self, erased: Erased) -> list[int]:
        """Numbers of features of the shares."""
        return feature_units.counts_of(self.fractions, erased.features.count)


@dataclass(frozen=True)
class Erased:
    """Outputs of one batch with the most or least important features gone.

    Attributes:
        batch: The samples.
        score: The output that is tracked.
        features: What is removed together.
        clean: (N,) float64 output with nothing removed.
        refill: Makes inputs without some features.
        tie_orders: Number R of random orders of tied features.
    """

    batch: Batch
    score: Score
    features: Features
    clean: Tensor
    refill: Refill
    tie_orders: int = 1

    def outputs(
        self, attributions: Mapping[str, Attribution], counts: Sequence[int], ends: Ends
    ) -> dict[str, Tensor]:
        """Output without the `counts` features at one end of the ranking, (R, N, P) each.

        Features are ranked by falling attribution, ties at random, alike for all methods; "top"
        and "bottom" are ends of the same order, so that the top k and the bottom G - k are
        complements.  Samples with a flat map have NaN and cost nothing.

        Args:
            attributions: M maps by name.
            counts: P numbers of features.
            ends: Whether the "top" or the "bottom" of the ranking is removed.
        """
        values = torch.stack(
            [feature_units.total(a.values, self.features) for a in attributions.values()]
        )  # (M, N, G)
        shape = (self.tie_orders, *values.shape[:2], len(counts))
        found = torch.full(shape, math.nan).to(values)
        for i in range(len(self.batch)):
            ranked = [m for m in range(len(values)) if ranks_something(values[m, i])]
            if ranked:
                found[:, ranked, i] = self._outputs_of(i, values[ranked, i], counts, ends)
        return {name: found[:, m] for m, name in enumerate(attributions)}

    def _outputs_of(self, i: int, values: Tensor, counts: Sequence[int], ends: Ends) -> Tensor:
        """Outputs of one sample for maps (m, G) whose ranking exists, (R, m, P) float64."""
        batch, points, every = self.batch, len(counts), self.features.count
        cuts = counts if ends == "top" else [every - k for k in counts]
        ranks, places = perturb.rankings(
            values, batch.metric_seed, batch.sample_ids[i], self.tie_orders, cuts
        )
        removed = torch.tensor(list(counts), device=ranks.device)

        def build(draw: Tensor) -> Tensor:
            own, point = ranks[draw // points], draw % points
            many = removed[point, None]
            gone = own < many if ends == "top" else own >= every - many
            return self.refill(i, gone, point)

        out = self.score.evaluate_draws(
            len(ranks) * points, batch.target_of(i), build, device=ranks.device
        )
        return out.view(len(ranks), points).double()[places]


def replaced(x: Tensor, fill: Tensor, features: Features) -> Refill:
    """Removed features come from `fill`; both (N, *F)."""
    features = feature_units.on(features, x.device)
    return lambda i, gone, point: perturb.remove(x[i], fill[i], gone, features)


@dataclass(frozen=True)
class Comprehensiveness(Erasure):
    """Mean over B shares q of f(x) - f(x without its top q) (ERASER, DeYoung et al. 2020, eq. 1).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1, for the share 0 whose term is zero: B / (B + 1) times this value.
    """

    name = "comprehensiveness"
    explains = "How much of the output goes with the most important features?"
    direction = "higher"
    reference = "DeYoung et al. 2020, eq. 1 and 3"
    label = "Comprehensiveness"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        """The mean drop of every attribution; x of the curve is the fraction removed."""
        counts = self.counts(observation)
        x = [k / observation.features.count for k in counts]
        found = observation.outputs(attributions, counts, "top")
        result = {}
        for name, y in found.items():
            drops = observation.clean[:, None] - y
            result[name] = averaged(
                drops.mean(dim=-1), REASON_FLAT_MAP, {"comprehensiveness": (x, drops)}
            )
        return result


@dataclass(frozen=True)
class Sufficiency(Erasure):
    """Mean over B shares q of f(x) - f(only the top q of x) (ERASER, DeYoung et al. 2020, eq. 2).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1 and the further term f(x) - f(nothing of x), the same for all methods.
    """

    name = "sufficiency"
    explains = "How much of the output is missing when only the most important features are left?"
    direction = "lower"
    reference = "DeYoung et al. 2020, eq. 2 and 3"
    label = "Sufficiency"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        """The mean deficit of every attribution; x of the curve is the fraction kept."""
        counts, count = self.counts(observation), observation.features.count
        x = [k / count for k in counts]
        found = observation.outputs(attributions, [count - k for k in counts], "bottom")
        result = {}
        for name, y in found.items():
            deficit = observation.clean[:, None] - y
            result[name] = averaged(
                deficit.mean(dim=-1), REASON_FLAT_MAP, {"sufficiency": (x, deficit)}
            )
        return result
