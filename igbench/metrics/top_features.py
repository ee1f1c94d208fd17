"""Agreement of the largest features with the largest of known coefficients (OpenXAI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.errors import check_positive
from igbench.metrics.coefficients import Coefficients


@dataclass(frozen=True)
class TopAgreement(Coefficients):
    """Base of the metrics of the k largest features.

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.
    """

    ranks = True
    range = (0, 1)

    fractions: Sequence[float] = (0.25,)
    tie_orders: int = 2

    @property
    def orders(self) -> int:  # type: ignore[override]
        """Number R of orders."""
        return self.tie_orders

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("tie_orders", self.tie_orders)
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        shares = ", ".join(f"{k:g}" for k in self.fractions)
        return f"{self.name.replace('_', ' ').capitalize()} (top {shares} of the features)"

    def agreement(self, pair: Tensor, seed: int, sample_id: str) -> Tensor:
        """The mean agreement over the shares in each order of ties, (R,)."""
        count = pair.shape[1]
        counts = feature_units.counts_of(self.fractions, count, rounding="ceil")
        ranks, places = perturb.rankings(pair.abs(), seed, sample_id, self.tie_orders, counts)
        signs = pair.sign()
        same_sign = signs[0] == signs[1]
        found = []
        for order in places:
            own, true = ranks[order]
            parts = [self.common(own, true, k) & self.counts_sign(same_sign) for k in counts]
            shares = [float(part.sum()) / k for part, k in zip(parts, counts, strict=True)]
            found.append(sum(shares) / len(shares))
        return torch.tensor(found, dtype=torch.float64)

    def common(self, own: Tensor, true: Tensor, k: int) -> Tensor:
        """Which features count as common for ranks (G,), (G,) boolean."""
        return (own < k) & (true < k)

    def counts_sign(self, same_sign: Tensor) -> Tensor:
        """Which features may count, for those of the same sign (G,)."""
        return torch.ones_like(same_sign)


@dataclass(frozen=True)
class FeatureAgreement(TopAgreement):
    """Feature agreement (FA): share of the top k features that are among the true top k.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in a random order, the same for both.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  The standard error is that of the orders of ties.
    Cost: 5 gradients for each sample without given coefficients, shared by all methods, and
    otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.

    Example:
        Both have the features 1 and 2 on top.

        >>> import torch
        >>> from igbench.metrics import feature_agreement
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> feature_agreement(lambda x: x @ w, x, phi, fractions=(2,)).tolist()
        [1.0]
    """

    name = "feature_agreement"
    explains = "Are the largest features those of the largest coefficients?"


@dataclass(frozen=True)
class RankAgreement(TopAgreement):
    """Rank agreement (RA): share of the first k places that hold the true feature.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in a random order, the same for both.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  The standard error is that of the orders of ties.
    Cost: 5 gradients for each sample without given coefficients, shared by all methods, and
    otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.

    Example:
        The first two features have changed places.

        >>> import torch
        >>> from igbench.metrics import rank_agreement
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> rank_agreement(lambda x: x @ w, x, phi, fractions=(2,)).tolist()
        [0.0]
    """

    name = "rank_agreement"
    explains = "Are the largest features in the order of the coefficients?"

    def common(self, own: Tensor, true: Tensor, k: int) -> Tensor:
        """Features at the same place among the first k."""
        return (own == true) & (true < k)


@dataclass(frozen=True)
class SignAgreement(TopAgreement):
    """Sign agreement (SA): share of the top k that are in the true top k with their true sign.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in a random order, the same for both.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  The standard error is that of the orders of ties.
    Cost: 5 gradients for each sample without given coefficients, shared by all methods, and
    otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.

    Example:
        Of the features 1 and 2 the first has its true sign.

        >>> import torch
        >>> from igbench.metrics import sign_agreement
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> sign_agreement(lambda x: x @ w, x, phi, fractions=(2,)).tolist()
        [0.5]
    """

    name = "sign_agreement"
    explains = "Do the largest features and their signs agree with the coefficients?"
    needs = "signed"
    ranks = False

    def counts_sign(self, same_sign: Tensor) -> Tensor:
        """Those of the same sign."""
        return same_sign


@dataclass(frozen=True)
class SignedRankAgreement(TopAgreement):
    """Signed rank agreement (SRA): share of the first k places with the true feature and sign.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in a random order, the same for both.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  The standard error is that of the orders of ties.
    Cost: 5 gradients for each sample without given coefficients, shared by all methods, and
    otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.

    Example:
        The first two features have changed places.

        >>> import torch
        >>> from igbench.metrics import signed_rank_agreement
        >>> w, x = torch.tensor([3.0, -2.0, 1.0, 0.5]), torch.ones(1, 4)
        >>> phi = torch.tensor([[2.0, 2.5, -1.0, 0.1]])
        >>> signed_rank_agreement(lambda x: x @ w, x, phi, fractions=(2,)).tolist()
        [0.0]
    """

    name = "signed_rank_agreement"
    explains = "Are the largest features in the order and with the signs of the coefficients?"
    needs = "signed"
    ranks = False

    def common(self, own: Tensor, true: Tensor, k: int) -> Tensor:
        """Features at the same place among the first k."""
        return (own == true) & (true < k)

    def counts_sign(self, same_sign: Tensor) -> Tensor:
        """Those of the same sign."""
        return same_sign
