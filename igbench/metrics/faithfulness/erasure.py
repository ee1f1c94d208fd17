"""Erasure metrics: the output without, or with only, given shares of the ranked features.

Shared by comprehensiveness, sufficiency and, in part, ROAD.
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
from igbench.core.content import content
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.errors import check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.monte_carlo import averaged
from igbench.metrics.ranking import ranks_something

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
Ends = Literal["top", "bottom"]
Refill = Callable[[int, Tensor, Tensor], Tensor]
"""Sample i, removed features (rows, G) and numbers of points (rows,) to inputs (rows, *F)."""


@dataclass(frozen=True)
class Erasure(BaseMetric):
    """Base of comprehensiveness and sufficiency: shares of features, occluder, tracked output.

    Tied features go in a random order, the same for all methods; where a share separates tied
    features, the value is the mean over `tie_orders` orders, and the standard error is that of this
    mean.

    Args:
        fractions: Shares q of the features, the B thresholds: fractions of G below 1, or whole
            numbers.  Shares that round to the same number of features each count.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", "pad", "hide" and "delete", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "delete" for texts (as in the
            paper), "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        rounding: How a fraction becomes a number of features: "nearest", and at least one; or
            "floor", which may be none.  Of 10 words 1 and 5 % are one word each, or none.
        zero: Count the share 0 as well, as the paper's formula does.

    Raises:
        InputError: Shares that are not above zero, or above 1 and not whole; an unknown occluder,
            scalar or rounding; fewer than one order of ties.
    """

    foldable = True
    family = "faithfulness"
    ranks = True
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    label: ClassVar[str] = ""
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "occluder": "zero",
        "scalar": "probability",
        "features": "pixel",
    }
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline", "scalar": "score"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "text": {"occluder": "delete", "scalar": "probability"}
    }

    fractions: Sequence[float] = SHARES
    occluder: str | None = None
    scalar: Literal["score", "logit", "probability"] | None = None
    features: str | Tensor | None = None
    tie_orders: int = 2
    rounding: Literal["nearest", "floor"] = "nearest"
    zero: bool = False

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
        """Title, with the parameters that define the number."""
        shares = ", ".join(f"{q:g}" for q in self.fractions)
        how = "" if self.rounding == "nearest" else ", rounded down"
        first = "0, " if self.zero else ""
        return (
            f"{self.label} (mean over {first}{shares} of the features{how}, {self.occluder} "
            "occluder)"
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))
        check_positive("tie_orders", self.tie_orders)
        perturb.check_removal(self.scalar, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same occluder, output and features share f(x), whatever their shares."""
        return (Erasure, self.occluder, self.scalar, content(self.features), self.tie_orders)

    def observe(self, batch: Batch) -> Erased:
        """The output f(x) of the clean samples; all else depends on the maps.

        Raises:
            InputError: Features or an occluder that do not fit the shape of the samples.
        """
        features = self.features_of(batch)
        own = self.for_shape(batch.x.shape[1:])
        score = perturb.tracked(batch.score, own.scalar)
        fill = perturb.occluded(batch, own.occluder or "baseline")
        clean = score.evaluate(batch.x, batch.target).double()
        refill = replaced(batch.x, fill, features)
        return Erased(batch, score, features, clean, refill, self.tie_orders)

    def counts(self, erased: Erased) -> list[int]:
        """Number of features of each share, at least 1 unless rounded down.

        Raises:
            InputError: A share is larger than the number of features.
        """
        counts = feature_units.counts_of(
            self.fractions, erased.features.count, rounding=self.rounding
        )
        return [0, *counts] if self.zero else counts


@dataclass(frozen=True)
class Erased:
    """Outputs of one batch without its most or least important features.

    Attributes:
        batch: The samples.
        score: The tracked output.
        features: What is removed together.
        clean: (N,) float64 output with nothing removed.
        refill: Builds inputs without some features.
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
    """Refill that takes removed features from `fill`.

    Args:
        x: (N, *F) samples.
        fill: (N, *F) replacement.
        features: What is removed together.
    """
    features = feature_units.on(features, x.device)
    return lambda i, gone, point: perturb.remove(x[i], fill[i], gone, features)


@dataclass(frozen=True)
class Comprehensiveness(Erasure):
    """Comprehensiveness: mean over shares q of f(x) - f(x without its top q) (ERASER).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1, for the share 0 whose term is zero: B / (B + 1) times this value, which is
    that of `zero`.  For short texts the rounding decides: contributions 10, 9, ..., 1 of ten words
    have 17.8 with the shares of the paper, 13.8 rounded down, and 11.5 with the share 0 as well.

    Higher is better; in [-1, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps, which rank nothing.  Cost: 1 model row for each sample, shared by all methods, and B for
    each method (5 by default), R times as many where ties matter.

    Source: DeYoung et al. 2020, eq. 1 and 3.

    Args:
        fractions: Shares q of the features, the B thresholds: fractions of G below 1, or whole
            numbers.  Shares that round to the same number of features each count.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", "pad", "hide" and "delete", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "delete" for texts (as in the
            paper), "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        rounding: How a fraction becomes a number of features: "nearest", and at least one; or
            "floor", which may be none.  Of 10 words 1 and 5 % are one word each, or none.
        zero: Count the share 0 as well, as the paper's formula does.

    Raises:
        InputError: Shares that are not above zero, or above 1 and not whole; an unknown occluder,
            scalar or rounding; fewer than one order of ties.

    Example:
        Without the top feature f falls by 3, without the top two by 5.

        >>> import torch
        >>> from igbench.metrics import comprehensiveness
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> comprehensiveness(f, x, phi, fractions=(1, 2)).tolist()
        [4.0]
    """

    name = "comprehensiveness"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "comprehensiveness": (
            "fraction of features removed, most important first",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
    }
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
    """Sufficiency: mean over shares q of f(x) - f(only the top q of x) (ERASER).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1 and the further term f(x) - f(nothing of x), the same for all methods: that is
    `zero`.  For short texts the rounding decides: contributions 10, 9, ..., 1 of ten words have
    37.2 with the shares of the paper, 41.2 rounded down, and 43.5 with the share 0 as well.

    Lower is better; in [-1, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps, which rank nothing.  Cost: 1 model row for each sample, shared by all methods, and B for
    each method (5 by default), R times as many where ties matter.

    Source: DeYoung et al. 2020, eq. 2 and 3.

    Args:
        fractions: Shares q of the features, the B thresholds: fractions of G below 1, or whole
            numbers.  Shares that round to the same number of features each count.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", "pad", "hide" and "delete", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "delete" for texts (as in the
            paper), "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        rounding: How a fraction becomes a number of features: "nearest", and at least one; or
            "floor", which may be none.  Of 10 words 1 and 5 % are one word each, or none.
        zero: Count the share 0 as well, as the paper's formula does.

    Raises:
        InputError: Shares that are not above zero, or above 1 and not whole; an unknown occluder,
            scalar or rounding; fewer than one order of ties.

    Example:
        With the top feature alone 3 is missing, with the top two 1.

        >>> import torch
        >>> from igbench.metrics import sufficiency
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> sufficiency(f, x, phi, fractions=(1, 2)).tolist()
        [2.0]
    """

    name = "sufficiency"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "sufficiency": (
            "fraction of features kept, most important first",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
    }
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
