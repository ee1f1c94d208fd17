"""Agreement of maps with the known coefficients of a linear model (OpenXAI).

The truth follows the kind of the map: the coefficients w for local maps (sensitivities), and the
contributions w_i (x_i - x'_i) for global ones.  Both are summed over the elements of a feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench.core import callers
from igbench.core import features as feature_units
from igbench.core.active import elements
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.errors import InputError, NotDefinedError, check_finite
from igbench.integration.integrate import input_gradient, take
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.ranking import ranks_something

NOT_LINEAR = (
    "the model is not linear between the baseline and the sample, so it has no coefficients; "
    "give coefficients="
)
FLAT = f"{REASON_FLAT_MAP}, or so are the coefficients"
POINTS = 5
"""Points from x' to x at which the gradient of a linear model is the same."""
ROUNDINGS = 64
"""Spacings of the dtype by which two gradients of a linear model may differ, relative to their
largest element."""


@dataclass(frozen=True)
class Coefficients(BaseMetric):
    """Base of the metrics of known coefficients.

    Args:
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

    Raises:
        InputError: Coefficients that are no numbers, or not finite.
    """

    family = "agreement"
    direction = "higher"
    reference = "Agarwal et al. 2022, OpenXAI"
    undefined = FLAT

    coefficients: Tensor | None = None
    features: str | Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coefficients is not None:
            own = callers.tensor("coefficients", self.coefficients).double()
            check_finite("coefficients", own)
            object.__setattr__(self, "coefficients", own)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same coefficients share these."""
        return (Coefficients, content(self.coefficients))

    def restricted(self, batch: Batch, i: int) -> Coefficients:
        """The same metric for the active elements of one sample."""
        own = super().restricted(batch, i)
        if self.coefficients is None:
            return own
        part = elements(batch, i)
        rows = _of_samples(self.coefficients, batch)[i : i + 1]
        return replace(own, coefficients=part.gather(rows.to(batch.x.device))[0])

    def observe(self, batch: Batch) -> Tensor:
        """Coefficients of the explained output, (N, *F) float64; NaN where there are none."""
        self.features_of(batch)  # features that do not fit are what is wrong first
        if self.coefficients is not None:
            return _of_samples(self.coefficients, batch).to(batch.x.device)
        return _of_model(batch)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """The agreement of every attribution."""
        features = self.features_of(batch)
        known = observation.flatten(1).isfinite().all(dim=1)
        reason = FLAT if bool(known.all()) else NOT_LINEAR
        contributions = observation * (batch.x - batch.baseline).double()
        result = {}
        for name, attribution in attributions.items():
            truth = contributions if attribution.spec.kind == "global" else observation
            own = feature_units.total(attribution.values, features)
            true = feature_units.total(truth, features)
            pairs = torch.stack([own, true], dim=1).cpu()
            values = [self._of_sample(pair) for pair in pairs]
            found = torch.tensor(values, dtype=torch.float64, device=batch.x.device)
            result[name] = Measurement(found, reason=reason)
        return result

    def _of_sample(self, pair: Tensor) -> float:
        if not all(ranks_something(row.abs()) for row in pair):
            return math.nan
        return self.agreement(pair)

    def agreement(self, pair: Tensor) -> float:
        """The agreement of values with true ones, (2, G) float64 on the CPU."""
        raise NotImplementedError


@dataclass(frozen=True)
class RankCorrelation(Coefficients):
    """Rank correlation (RC): Pearson correlation of the dense ranks of |phi| and of the truth.

    Equal magnitudes have the same rank, and the next one the next.
    The truth is |w_i| for local maps, |w_i (x_i - x'_i)| for global ones, both summed over the
    elements of a feature.  OpenXAI compares either with |w|.

    Higher is better, in [-1, 1].  Undefined for flat maps and coefficients, and for models that
    are not linear where no coefficients are given.  Cost: 5 gradients for each sample without given
    coefficients, shared by all methods, and otherwise none.

    Source: Agarwal et al. 2022, "OpenXAI" (NeurIPS).

    Args:
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

    Raises:
        InputError: Coefficients that do not fit the samples.

    Example:
        Two neighbours of four are swapped: 1 - 6 * 2 / (4 * 15).

        >>> import torch
        >>> from igbench.metrics import rank_correlation
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> rank_correlation(lambda x: x @ w, x, phi).round(decimals=6).tolist()
        [0.8]
    """

    name = "rank_correlation"
    explains = "Are all features in the order of the coefficients?"
    title = "Rank correlation"
    ranks = True
    range = (-1, 1)

    def agreement(self, pair: Tensor) -> float:
        """The correlation of the ranks."""
        from scipy.stats import rankdata  # takes a second, which other metrics are spared

        ranks = torch.from_numpy(rankdata(pair.abs().numpy(), method="dense", axis=1)).double()
        return float(torch.corrcoef(ranks)[0, 1].clamp(-1, 1))


@dataclass(frozen=True)
class PairwiseRankAgreement(Coefficients):
    """Pairwise rank agreement (PRA): share of pairs of features that |phi| orders as the truth.

    A pair that is tied in one and not in the other disagrees.
    The truth is |w_i| for local maps, |w_i (x_i - x'_i)| for global ones, both summed over the
    elements of a feature.  OpenXAI compares either with |w|.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that
    are not linear where no coefficients are given.  Cost: 5 gradients for each sample without given
    coefficients, shared by all methods, and otherwise none.

    Source: Agarwal et al. 2022, "OpenXAI" (NeurIPS).

    Args:
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

    Raises:
        InputError: Coefficients that do not fit the samples.

    Example:
        Five of the six pairs are in order.

        >>> import torch
        >>> from igbench.metrics import pairwise_rank_agreement
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> pairwise_rank_agreement(lambda x: x @ w, x, phi).round(decimals=6).tolist()
        [0.833333]
    """

    name = "pairwise_rank_agreement"
    explains = "Is each pair of features in the order of the coefficients?"
    title = "Pairwise rank agreement"
    ranks = True
    range = (0, 1)

    def agreement(self, pair: Tensor) -> float:
        """The share of pairs, from Kendall's tau-b, which takes G log G steps.

        With P pairs in the same and Q in opposite order, tau-b = (P - Q) / sqrt(A B), where A and
        B pairs are not tied on either side.
        """
        from scipy.stats import kendalltau  # takes a second, which other metrics are spared

        own, true = pair.abs()
        count = len(own)
        pairs = count * (count - 1) // 2
        tied = [_tied_pairs(values) for values in (own[None], true[None], pair.abs())]
        untied = math.sqrt((pairs - tied[0]) * (pairs - tied[1]))
        difference = round(float(kendalltau(own.numpy(), true.numpy()).statistic) * untied)
        either = pairs - tied[0] - tied[1] + tied[2]
        return ((difference + either) / 2 + tied[2]) / pairs


def _tied_pairs(values: Tensor) -> int:
    """Number of pairs of equal columns of values (n, G)."""
    counts = values.unique(dim=1, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _of_samples(coefficients: Tensor, batch: Batch) -> Tensor:
    """Given coefficients of each sample, (N, *F).

    Raises:
        InputError: They do not fit the samples.
    """
    shape = tuple(batch.x.shape[1:])
    if tuple(coefficients.shape) == shape:
        return coefficients.expand(len(batch), *shape)
    by_class = coefficients.dim() == len(shape) + 1 and tuple(coefficients.shape[1:]) == shape
    target = batch.target
    if by_class and target is not None and int(target.max()) < len(coefficients):
        return coefficients[target.cpu()]
    raise InputError(
        f"coefficients have shape {tuple(coefficients.shape)}; expected one for each element, "
        f"{shape}, or one row of these for each class of the model."
    )


def _of_model(batch: Batch) -> Tensor:
    """Coefficients of a model that is linear between x' and x, (N, *F); NaN where it is not.

    Raises:
        NotDefinedError: It has no gradients.
    """
    if not batch.score.differentiable:
        raise NotDefinedError(
            "the model has no gradients, so its coefficients are unknown; give coefficients="
        )

    def at(t: int) -> Tensor:
        x = torch.lerp(batch.baseline, batch.x, t / (POINTS - 1))
        parts = batch.score.in_chunks(
            len(x), lambda part: input_gradient(batch.score, x[part], take(batch.target, part))
        )
        return torch.cat(list(parts))

    gradients = torch.stack([at(t) for t in range(POINTS)])
    far = (gradients - gradients[-1]).abs().flatten(2).amax(dim=(0, 2))
    size = gradients.abs().flatten(2).amax(dim=(0, 2))
    linear = far <= ROUNDINGS * torch.finfo(gradients.dtype).eps * size
    wanted = linear.view(-1, *[1] * (batch.x.dim() - 1))
    return gradients[-1].double().where(wanted, math.nan)
