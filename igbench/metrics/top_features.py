"""Agreement of the largest features with the largest of known coefficients (OpenXAI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import features as feature_units
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

    Raises:
        InputError: Shares that are not above zero, or coefficients that do not fit the samples.
    """

    ranks = True
    range = (0, 1)

    fractions: Sequence[float] = (0.25,)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        shares = ", ".join(f"{k:g}" for k in self.fractions)
        return f"{self.name.replace('_', ' ').capitalize()} (top {shares} of the features)"

    def agreement(self, pair: Tensor) -> float:
        """The mean agreement over the shares."""
        counts = feature_units.counts_of(self.fractions, pair.shape[1], rounding="ceil")
        weight = self.weight(pair[0].sign() == pair[1].sign()).double()
        blocks = Block.of(pair[0].abs()), Block.of(pair[1].abs())
        shares = [float((self.common(*blocks, k) * weight).sum()) / k for k in counts]
        return sum(shares) / len(shares)

    def common(self, own: Block, true: Block, k: int) -> Tensor:
        """Chance that each feature is common to the top k, (G,)."""
        return own.among(k) * true.among(k)

    def weight(self, same_sign: Tensor) -> Tensor:
        """Which features may count, for those of the same sign (G,)."""
        return torch.ones_like(same_sign)


@dataclass(frozen=True, eq=False)
class Block:
    """Places of features by falling value, where those of equal values share theirs.

    Attributes:
        first: (G,) the first place that a feature may have, from 0.
        size: (G,) number of features of its value.
    """

    first: Tensor
    size: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Block:
        """The places for values (G,).

        >>> Block.of(torch.tensor([5.0, 7.0, 5.0])).first.tolist()
        [1, 0, 1]
        """
        _, which, counts = values.neg().unique(return_inverse=True, return_counts=True)
        return cls((counts.cumsum(0) - counts)[which], counts[which])

    def among(self, k: int) -> Tensor:
        """Chance that each feature is among the first k in a random order of equal values, (G,)."""
        return ((k - self.first) / self.size.double()).clamp(0, 1)

    def same_place(self, other: Block, k: int) -> Tensor:
        """Chance that each feature has one place among the first k in two such orders, (G,)."""
        start = torch.maximum(self.first, other.first)
        end = torch.minimum(self.first + self.size, other.first + other.size).clamp(max=k)
        return (end - start).clamp(min=0) / (self.size * other.size).double()


@dataclass(frozen=True)
class FeatureAgreement(TopAgreement):
    """Feature agreement (FA): share of the top k features that are among the true top k.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in random orders, and the value is the mean
    over all of these.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  Cost: 5 gradients for
    each sample without given coefficients, shared by all methods, and otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

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
    compares either with |w|.  Ties go in random orders, and the value is the mean
    over all of these.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  Cost: 5 gradients for
    each sample without given coefficients, shared by all methods, and otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

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

    def common(self, own: Block, true: Block, k: int) -> Tensor:
        """Chance that each feature has the same place among the first k, (G,)."""
        return own.same_place(true, k)


@dataclass(frozen=True)
class SignAgreement(TopAgreement):
    """Sign agreement (SA): share of the top k that are in the true top k with their true sign.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in random orders, and the value is the mean
    over all of these.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  Cost: 5 gradients for
    each sample without given coefficients, shared by all methods, and otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

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

    def weight(self, same_sign: Tensor) -> Tensor:
        """Those of the same sign."""
        return same_sign


@dataclass(frozen=True)
class SignedRankAgreement(TopAgreement):
    """Signed rank agreement (SRA): share of the first k places with the true feature and sign.

    The largest of |phi| are compared with the largest of the truth: |w_i| for local maps,
    |w_i (x_i - x'_i)| for global ones, both summed over the elements of a feature.  OpenXAI
    compares either with |w|.  Ties go in random orders, and the value is the mean
    over all of these.

    Higher is better, in [0, 1].  Undefined for flat maps and coefficients, and for models that are
    not linear where no coefficients are given.  Cost: 5 gradients for
    each sample without given coefficients, shared by all methods, and otherwise none.

    Source: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        coefficients: w: (*F), or (K, *F) for K classes.  None: the model's own, which it has where
            it is linear between x' and x.
        features: What counts as one feature, see `igbench.core.features.resolve`; None for the unit
            of the data.

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

    def common(self, own: Block, true: Block, k: int) -> Tensor:
        """Chance that each feature has the same place among the first k, (G,)."""
        return own.same_place(true, k)

    def weight(self, same_sign: Tensor) -> Tensor:
        """Those of the same sign."""
        return same_sign
