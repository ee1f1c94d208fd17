"""Removal curves: the output as features are removed in the order of an attribution.

Shared by deletion, insertion, symmetric relevance gain, pixel flipping and AOPC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.errors import InputError, check_choice, check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.faithfulness import placement
from igbench.metrics.monte_carlo import averaged
from igbench.schema import Direction

Order = Literal["mif", "lif"]
STEP = 1 / 28
"""Step of RISE, 1792 of 50176 pixels, and of the points that `step="auto"` chooses from."""


@dataclass(frozen=True)
class Removal(BaseMetric):
    """Base of the metrics of removal curves: what is removed, what replaces it, what is tracked.

    Tied features go in a random order, the same for all methods.  Where a step separates tied
    features, the curve is the mean over `tie_orders` orders and the standard error is that of this
    mean; a map without such ties is evaluated once, with a standard error of 0.  Where methods or
    orders of ties remove the same set of features, the model sees it once.

    With step="auto", the points are some of those of step=1/28: every fourth, and more where the
    curve bends, until the estimated error of the area under each curve is below 0.002, for
    probabilities; otherwise below 0.002 |f(x) - f(empty)|, with everything removed from `empty`.
    What is evaluated for a sample, method and order depends on its own outputs alone.  Curves have
    all points of step=1/28, those that were not evaluated on the line between their neighbours, so
    that the value is that of the curve.  The standard error holds the estimate.  It is no bound: a
    peak between two points that lie on a line with their neighbours is not seen.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as an error of 0.002
            needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.
    """

    foldable = True
    family = "faithfulness"
    ranks = True
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    low: ClassVar[float] = 0
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "occluder": "zero",
        "scalar": "probability",
        "features": "pixel",
    }
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline", "scalar": "score"}

    step: float | Literal["auto"] = STEP
    occluder: str | None = None
    scalar: Literal["score", "logit", "probability"] | None = None
    features: str | Tensor | None = None
    tie_orders: int = 2

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        bounded = self.scalar == "probability"
        return (self.low, 1) if bounded else (-math.inf, math.inf)

    @property
    def settings(self) -> str:
        """What defines the number beside the metric: its occluder, and an error of the area."""
        if self.step != "auto":
            return f"({self.occluder} occluder)"
        of = "" if self.scalar == "probability" else " of f(x) - f(empty)"
        return f"({self.occluder} occluder, step auto, error < {placement.TOLERANCE}{of})"

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "score"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("tie_orders", self.tie_orders)
        if self.step != "auto":
            check_positive("step", self.step)
            feature_units.check_shares((self.step,), "step")
        perturb.check_removal(self.scalar, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same removal share their curves."""
        return Removal(self.step, self.occluder, self.scalar, self.features, self.tie_orders)

    def observe(self, batch: Batch) -> Curves:
        """End points of all curves; the curves themselves are computed on first use.

        Raises:
            InputError: Features or an occluder that do not fit the shape of the samples.
        """
        features = self.features_of(batch)
        own = self.for_shape(batch.x.shape[1:])
        score = perturb.tracked(batch.score, own.scalar)
        fill = perturb.occluded(batch, own.occluder or "baseline")
        share = STEP if self.step == "auto" else self.step
        step = max(1, round(share * features.count)) if share < 1 else int(share)
        clean = score.evaluate(batch.x, batch.target).double()
        empty = score.evaluate(fill, batch.target).double()
        tolerance = None
        if self.step == "auto":
            whole = torch.ones_like(clean) if own.scalar == "probability" else (clean - empty).abs()
            tolerance = placement.TOLERANCE * whole
        return Curves(batch, score, features, fill, step, self.tie_orders, clean, empty, tolerance)


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


def ranks_something(values: Tensor) -> bool:
    """Whether values (G,) are finite and not all equal, so that they define a ranking."""
    return bool(torch.isfinite(values).all()) and bool((values != values[0]).any())


def area(x: list[float], y: Tensor) -> Tensor:
    """Area under curves over the fraction of features, by the trapezoid rule, (..., P) to (...).

    Args:
        x: P fractions of features, rising.
        y: (..., P) outputs.
    """
    return torch.trapezoid(y, torch.tensor(x, dtype=y.dtype, device=y.device), dim=-1)


@dataclass(frozen=True)
class Deletion(Removal):
    """Deletion: area under f as features are removed in falling order of attribution (RISE).

    With x^(k) the sample without its k * step most important features, the area under f(x^(k)) over
    the fraction of removed features, from 0 to 1, by the trapezoid rule with both end points.  The
    target is fixed on the clean input, and a pixel goes with all its channels.  RISE's settings are
    step=1/28, occluder="zero", scalar="probability" at 224 x 224.

    Lower is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps, which rank nothing.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G
    / step) - 1 for each method (27 by default), R times as many where ties matter.

    Source: Petsiuk, Das and Saenko 2018, section 3.3.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as an error of 0.002
            needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.

    Example:
        With f = 6, 3, 1, 0 after each step, the area is (3 + 3 + 1 + 0) / 3.

        >>> import torch
        >>> from igbench.metrics import deletion
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> deletion(f, x, phi, step=1).round(decimals=4).tolist()
        [2.3333]
    """

    name = "deletion"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "deletion": (
            "fraction of features removed, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How fast does the output fall when the most important features go first?"
    direction = "lower"
    reference = "Petsiuk, Das, Saenko 2018, section 3.3"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Deletion AUC {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features removed."""
        x, result = observation.x, {}
        for name, y in observation.removal("mif", attributions).items():
            found = averaged(area(x, y), REASON_FLAT_MAP, {"deletion": (x, y)})
            result[name] = observation.with_error(found, name, ["mif"], x[1])
        return result


@dataclass(frozen=True)
class Insertion(Removal):
    """Insertion: area under f as features are revealed in falling order of attribution (RISE).

    Start from the occluder alone and reveal the most important features first; the area under f is
    over the fraction of revealed features, by the trapezoid rule with both end points.  This is the
    removal of the least important features first, read backwards; if `step` does not divide G, the
    short step is the first one.  RISE's settings are step=1/28, occluder="blur",
    scalar="probability".

    Higher is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G / step) - 1 for
    each method (27 by default), R times as many where ties matter.

    Source: Petsiuk, Das and Saenko 2018, section 3.3.

    Args:
        step: Features revealed at a time: a whole number, or a fraction of G below 1; or "auto", as
            many points of 1/28 as an error of 0.002 needs, see
            `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of hidden features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "blur" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.

    Example:
        With f = 0, 3, 5, 6 after each step, the area is (1.5 + 4 + 5.5) / 3.

        >>> import torch
        >>> from igbench.metrics import insertion
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> insertion(f, x, phi, step=1).round(decimals=4).tolist()
        [3.6667]
    """

    name = "insertion"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "insertion": (
            "fraction of features inserted, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How fast does the output rise when the most important features come first?"
    direction = "higher"
    reference = "Petsiuk, Das, Saenko 2018, section 3.3"
    image_defaults: ClassVar[Mapping[str, Any]] = {**Removal.image_defaults, "occluder": "blur"}

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Insertion AUC {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features revealed."""
        x, result = [1 - v for v in reversed(observation.x)], {}
        for name, y in observation.removal("lif", attributions).items():
            y = y.flip(-1)
            found = averaged(area(x, y), REASON_FLAT_MAP, {"insertion": (x, y)})
            result[name] = observation.with_error(found, name, ["lif"], observation.x[1])
        return result


@dataclass(frozen=True)
class SymmetricRelevanceGain(Removal):
    """Symmetric relevance gain: area(least important first) - area(most important first).

    Both areas are under f over the fraction of removed features, with the same occluder.  A random
    order has expectation 0, whatever the model and the occluder, and rankings of methods depend
    little on the occluder: the recommended headline number.

    Higher is better; in [-1, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and 2 (ceil(G / step) - 1) for
    each method (54 by default), R times as many where ties matter.

    Source: Bluecher, Vielhaben and Strodthoff 2024.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as an error of 0.002
            needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.

    Example:
        The areas are 11/3 and 7/3.

        >>> import torch
        >>> from igbench.metrics import srg
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> srg(f, x, phi, step=1).round(decimals=4).tolist()
        [1.3333]
    """

    name = "srg"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "srg_lif": (
            "fraction of features removed, least influential first, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
        "srg_mif": (
            "fraction of features removed, most influential first, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How much does the order of removal matter, whatever the occluder?"
    direction = "higher"
    reference = "Bluecher, Vielhaben, Strodthoff 2024"
    low = -1

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Symmetric relevance gain {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Difference of the two areas of every attribution."""
        x = observation.x
        last = observation.removal("lif", attributions)
        first = observation.removal("mif", attributions)
        result = {}
        for name in attributions:
            found = averaged(
                area(x, last[name]) - area(x, first[name]),
                REASON_FLAT_MAP,
                {"srg_lif": (x, last[name]), "srg_mif": (x, first[name])},
            )
            result[name] = observation.with_error(found, name, ["lif", "mif"], x[1])
        return result


@dataclass(frozen=True)
class PixelFlipping(Removal):
    """Pixel flipping: mean of f over the L + 1 steps of removal, most relevant first.

    (1 / (L + 1)) sum over k = 0..L of f(x^(k)), where x^(k) lacks the k * step most relevant
    features, x^(0) = x, and x^(L) lacks all.  It is the plain mean of the points, unlike the area
    of `Deletion`, whose curves it shares; f(x) minus it is `Aopc`.

    Lower is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G / step) - 1 for
    each method (27 by default), R times as many where ties matter.

    Source: Bach et al. 2015, pixel-flipping.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as an error of 0.002
            needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.

    Example:
        The mean of 6, 3, 1 and 0.

        >>> import torch
        >>> from igbench.metrics import pixel_flipping
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> pixel_flipping(f, x, phi, step=1).tolist()
        [2.5]
    """

    name = "pixel_flipping"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "pixel_flipping": (
            "fraction of features removed, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How low is the output on the way, when the most relevant features go first?"
    direction = "lower"
    reference = "Bach et al. 2015, pixel-flipping"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Pixel flipping, mean output {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Mean of every curve; x is the fraction of features removed."""
        x, result = observation.x, {}
        for name, y in observation.removal("mif", attributions).items():
            found = averaged(y.mean(dim=-1), REASON_FLAT_MAP, {"pixel_flipping": (x, y)})
            result[name] = observation.with_error(found, name, ["mif"], 1 / len(x))
        return result


TITLES: dict[str, tuple[str, Direction]] = {
    "morf": ("AOPC, most relevant first", "higher"),
    "lerf": ("AOPC, least relevant first", "lower"),
    "difference": ("ABPC, least minus most relevant first", "higher"),
}

ORDERS: dict[str, tuple[Order, ...]] = {
    "morf": ("mif",),
    "lerf": ("lif",),
    "difference": ("lif", "mif"),
}
"""Orders of removal whose curves each variant of AOPC takes."""


@dataclass(frozen=True)
class Aopc(Removal):
    """AOPC, the area over the perturbation curve: mean drop of f as features are removed.

    AOPC = (1 / (L + 1)) sum over k = 0..L of f(x) - f(x^(k)), where x^(k) lacks the k * step first
    features of the order, and the term k = 0 is zero.  L is the last step that removes no more than
    `until` of the features (the paper: the first 100 of some 600 regions of 9 x 9 pixels).

    - "morf": most relevant first, higher is better;
    - "lerf": least relevant first, lower is better;
    - "difference": the area between the curves, ABPC = mean of f(least relevant first) - f(most
      relevant first), higher is better; a random order has expectation 0.

    The curves are those of `Deletion` and `SymmetricRelevanceGain` with the same removal.  In [-1,
    1] for probabilities, otherwise in the units of f.  Undefined for flat maps.  Cost: 2 model rows
    for each sample, shared by all methods, and ceil(G / step) - 1 for each method and order (27 by
    default), R times as many where ties matter.

    Source: Samek et al. 2017, eq. 12.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as an error of 0.002
            needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        order: "morf", "lerf" or "difference" (implied by `abpc`).
        until: Largest fraction of the features that is removed, in (0, 1].

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties.
        InputError: Unknown order; `until` outside (0, 1] or before the first step.

    Example:
        The drops are 0, 3, 5, 6 in the order of the map and 0, 1, 3, 6 in the reverse order.

        >>> import torch
        >>> from igbench.metrics import abpc, aopc
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> aopc(f, x, phi, step=1).tolist(), abpc(f, x, phi, step=1).tolist()
        ([3.5], [1.0])
    """

    name = "aopc"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "aopc_morf": (
            "fraction of features removed, most relevant first, 0 to 1",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
        "aopc_lerf": (
            "fraction of features removed, least relevant first, 0 to 1",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
        "abpc": (
            "fraction of features removed, 0 to 1",
            "tracked output with the least relevant removed, minus that with the most relevant",
        ),
    }
    explains = (
        "How much has the output changed on the way, when features go in the order of the map?"
    )
    reference = "Samek et al. 2017, eq. 12"
    low = -1

    order: Literal["morf", "lerf", "difference"] = "morf"
    until: float = 1.0

    @property
    def direction(self) -> Direction:
        """Direction of better values, which depends on the order."""
        return TITLES[self.order][1]

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        upto = "" if self.until == 1 else f", first {self.until:g} of the features"
        return f"{TITLES[self.order][0]}{upto} {self.settings}"

    @property
    def entry_name(self) -> str:
        """Name of its entry in a run, which depends on the order."""
        return "abpc" if self.order == "difference" else self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("order", self.order, tuple(TITLES))
        if not 0 < self.until <= 1:
            raise InputError(f"until is {self.until}; it must be above 0 and at most 1.")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area over, or between, the curves of every attribution.

        Raises:
            InputError: `until` ends before the first step.
        """
        points = sum(x <= self.until * (1 + 1e-9) for x in observation.x)
        if points < 2:
            raise InputError(
                f"until={self.until} ends before the first step, which removes "
                f"{observation.x[1]:.3g} of the features; raise until or lower step."
            )
        first = observation.removal("mif", attributions) if self.order != "lerf" else {}
        last = observation.removal("lif", attributions) if self.order != "morf" else {}
        start = observation.clean[:, None]
        result = {}
        for name in attributions:
            drops = self._drops(start, first.get(name), last.get(name))[..., :points]
            x = observation.x[:points]
            curve = "abpc" if self.order == "difference" else f"aopc_{self.order}"
            found = averaged(drops.mean(dim=-1), REASON_FLAT_MAP, {curve: (x, drops)})
            result[name] = observation.with_error(found, name, ORDERS[self.order], 1 / points)
        return result

    def _drops(self, start: Tensor, first: Tensor | None, last: Tensor | None) -> Tensor:
        """The terms of the sum, (R, N, P)."""
        if first is not None and last is not None:
            return last - first
        curve = first if first is not None else last
        return start - curve if curve is not None else start * math.nan
