"""Metrics of faithfulness that come from texts: log-odds, and the rank of leave-one-out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.errors import check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.faithfulness.erasure import Erased, replaced
from igbench.metrics.monte_carlo import averaged
from igbench.metrics.units import patches


@dataclass(frozen=True)
class LogOdds(BaseMetric):
    """Log-odds: ln p(y) without the top features, minus ln p(y) with all of them.

    The top `share` of the features is replaced at once.  The literature says log-odds; the number
    is a difference of log-probabilities: p from 0.9 to 0.6 is -0.41, where the odds fall by 1.79.
    p is the softmax of the outputs, or the logistic function of a single one.  Tied features go in
    a random order, the same for all methods; where the share separates tied features, the value is
    the mean over `tie_orders` orders, and the standard error is that of this mean.

    Lower is better; 0 where nothing changes, above 0 where p rises.  Undefined for flat maps, which
    rank nothing.  Cost: 1 model row for each sample, shared by all methods, and 1 for each method,
    R times as many where ties matter.

    Source: Sanyal and Ren 2021, Discretized Integrated Gradients, section 4 (after Shrikumar et al.
    2017); "pad" is their zero padding.

    Args:
        share: Share of the features: a fraction of G below 1, or a whole number.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask" and "delete", see `igbench.core.perturb.occluded`.
            None: "pad" for texts, "zero" for images, "baseline" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        rounding: How a fraction becomes a number of features: "nearest", and at least one; or
            "floor", as in the authors' code, which may be none.

    Raises:
        InputError: A share that is not above zero, or above 1 and not whole; an unknown occluder or
            rounding; fewer than one order of ties.

    Example:
        Without the top feature the logit falls from 3 to 1.

        >>> import torch
        >>> from igbench.metrics import log_odds
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> phi = x.new_tensor([[2.0, 1.0]])
        >>> log_odds(lambda x: x @ phi[0], x, phi).round(decimals=4).tolist()
        [-0.2647]
    """

    foldable = True
    name = "log_odds"
    family = "faithfulness"
    ranks = True
    explains = "How far does the log-probability fall without the most important features?"
    direction = "lower"
    reference = "Sanyal, Ren 2021, section 4"
    range = (-math.inf, math.inf)
    tracked = "log_probability"
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    image_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "zero", "features": "pixel"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"text": {"occluder": "pad"}}

    share: float = 0.2
    occluder: str | None = None
    features: str | Tensor | None = None
    tie_orders: int = 2
    rounding: Literal["nearest", "floor"] = "nearest"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = "" if self.rounding == "nearest" else ", rounded down"
        return (
            f"Log-odds, a difference of log-probabilities (top {self.share:g} of the features{how},"
            f" {self.occluder} occluder)"
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        feature_units.check_shares((self.share,), "share")
        check_positive("tie_orders", self.tie_orders)
        perturb.check_removal(None, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same occluder and features share ln p(y) of the clean samples."""
        return (LogOdds, self.occluder, content(self.features), self.tie_orders)

    def observe(self, batch: Batch) -> Erased:
        """The log-probability of the clean samples.

        Raises:
            InputError: Features or an occluder that do not fit the shape of the samples.
        """
        features = self.features_of(batch)
        own = self.for_shape(batch.x.shape[1:])
        score = batch.score.as_output("log_probability")
        fill = perturb.occluded(batch, own.occluder or "baseline")
        clean = score.evaluate(batch.x, batch.target).double()
        refill = replaced(batch.x, fill, features)
        return Erased(batch, score, features, clean, refill, self.tie_orders)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        """The change of every attribution.

        Raises:
            InputError: The share is larger than the number of features.
        """
        counts = feature_units.counts_of(
            (self.share,), observation.features.count, "share", self.rounding
        )
        return {
            name: averaged(y[..., 0] - observation.clean, REASON_FLAT_MAP)
            for name, y in observation.outputs(attributions, counts, "top").items()
        }


@dataclass(frozen=True)
class TauLoo(BaseMetric):
    """Agreement with leave-one-out: Kendall's tau-b of phi_i and f(x) - f(x without feature i).

    The share of pairs of features in the same order minus that in the other, ties taken out.
    Changes of the output that differ by rounding alone are ties.  Leave-one-out is the Shapley
    value of additive models alone: a map that is right where features interact has less than 1.

    Higher is better, in [-1, 1].  Undefined where the map is flat, or all output changes are equal.
    Exact, no standard error.  Cost: G + 1 model rows for each sample, shared by all methods.

    Source: Jain and Wallace 2019, Attention is not explanation, section 4.1.

    Args:
        occluder: Replacement of the feature that is left out: "baseline", "zero", "mean" or "blur",
            or a convention of texts such as "mask" and "delete", see
            `igbench.core.perturb.occluded`.  None: "delete" for texts, "baseline" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: 14 patches along
            the short side of images, otherwise the unit of the data (elements by default).

    Raises:
        InputError: An unknown occluder, or more than 20,000 features.

    Example:
        The changes are 3, 2, 1; the map has 3, 1, 2: two of three pairs are in order.

        >>> import torch
        >>> from igbench.metrics import tau_loo
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> f = lambda x: x @ x.new_tensor([3.0, 2.0, 1.0])
        >>> tau_loo(f, x, x.new_tensor([[3.0, 1.0, 2.0]])).round(decimals=6).tolist()
        [0.333333]
    """

    foldable = True
    name = "tau_loo"
    family = "faithfulness"
    explains = "Are features ranked as by what removing each of them does?"
    direction = "higher"
    reference = "Jain, Wallace 2019, section 4.1"
    needs = "global signed"
    range = (-1, 1)
    undefined = "the map is flat, or all output changes are equal"
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(14), "occluder": "baseline"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"text": {"occluder": "delete"}}

    occluder: str | None = None
    features: str | Tensor | None = None

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Kendall's tau with leave-one-out ({self.occluder} occluder)"

    def __post_init__(self) -> None:
        super().__post_init__()
        perturb.check_removal(None, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same occluder and features share the output changes."""
        return (TauLoo, self.occluder, content(self.features))

    def observe(self, batch: Batch) -> Tensor:
        """f(x) - f(x without feature i) in whole steps of rounding, (N, G) float64.

        Raises:
            InputError: Features or an occluder that do not fit, or more than 20,000 features.
        """
        features = self.features_of(batch)
        fill = perturb.occluded(batch, self.for_shape(batch.x.shape[1:]).occluder or "baseline")
        masks = perturb.all_subsets(features.count, 1)
        clean = batch.score.evaluate(batch.x, batch.target).double()
        rows = []
        for i in range(len(batch)):
            build = perturb.removals(batch.x[i], fill[i], masks, features)
            target = batch.target_of(i)
            out = batch.score.evaluate_draws(len(masks), target, build, device=batch.x.device)
            drop = clean[i] - out.double()
            size = torch.maximum(out.double().abs().amax(), clean[i].abs())
            step = 64 * torch.finfo(batch.x.dtype).eps * size
            rows.append((drop / step).round() if float(step) > 0 else torch.zeros_like(drop))
        return torch.stack(rows)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """The rank correlation of every attribution."""
        features = self.features_of(batch)
        result = {}
        for name, attribution in attributions.items():
            sums = feature_units.total(attribution.values, features)
            tau = [tau_b(*pair) for pair in zip(sums, observation, strict=True)]
            value = torch.tensor(tau, dtype=torch.float64, device=sums.device)
            result[name] = Measurement(value, reason=self.undefined)
        return result


def tau_b(a: Tensor, b: Tensor) -> float:
    """Kendall's tau-b of two lists (G,); NaN where one is flat or not finite.

    Example:
        >>> tau_b(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0])) ** 2 * 3
        2.0
    """
    from scipy.stats import kendalltau  # a third of a second that other metrics need not wait for

    if len(a) < 2 or not bool(a.isfinite().all() & b.isfinite().all()):
        return math.nan
    return float(kendalltau(a.cpu().numpy(), b.cpu().numpy(), variant="b").statistic)
