"""Base of the metrics that follow the output as features are removed in the order of a map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Batch
from igbench.errors import check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.faithfulness import placement
from igbench.metrics.faithfulness.curves import Curves

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
    curve bends, until the estimated error of the area under each curve is below `error`, for
    probabilities; otherwise below error |f(x) - f(empty)|, with everything removed from `empty`.
    What is evaluated for a sample, method and order depends on its own outputs alone.  Curves have
    all points of step=1/28, those that were not evaluated on the line between their neighbours, so
    that the value is that of the curve.  The standard error holds the estimate.  It is no bound: a
    peak between two points that lie on a line with their neighbours is not seen.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as `error` needs,
            see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        error: Bound of the estimated error of an area with "auto", for probabilities; otherwise as
            a share of |f(x) - f(empty)|.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties; `error` is not above zero.
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
    error: float = placement.TOLERANCE

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
        return f"({self.occluder} occluder, step auto, error < {self.error:g}{of})"

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "score"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("tie_orders", self.tie_orders)
        check_positive("error", self.error)
        if self.step != "auto":
            check_positive("step", self.step)
            feature_units.check_shares((self.step,), "step")
        perturb.check_removal(self.scalar, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same removal share their curves."""
        own = (self.step, self.occluder, self.scalar, self.features, self.tie_orders)
        return Removal(*own, error=self.error) if self.step == "auto" else Removal(*own)

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
            tolerance = self.error * whole
        return Curves(batch, score, features, fill, step, self.tie_orders, clean, empty, tolerance)
