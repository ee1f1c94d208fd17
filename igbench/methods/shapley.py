"""Shapley values of the features of a sample: exact, by regression (KernelSHAP), by permutations.

The players of a sample are its features (superpixels or patches of images, columns of tables), and
v(S) is f of the sample with the features of S as they are and the others at the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.errors import NotDefinedError, check_choice, check_whole
from igbench.methods.coalitions import Game, PlayersMethod, evaluations_of, game
from igbench.shapley import ESTIMATORS, Estimate, shapley_values

MANY = 2000
"""Features whose regression or orders still fit into memory."""


class Coalitional(PlayersMethod):
    """Base of Shapley methods; a subclass is a frozen dataclass that defines `plan`."""

    def plan(self, count: int) -> tuple[int, str]:
        """Number of evaluations and estimator for n players."""
        raise NotImplementedError

    def estimate(self, batch: Batch, i: int) -> Estimate:
        """Shapley values of one sample with their standard errors.

        Args:
            batch: Samples.
            i: Position of the sample.

        Returns:
            One value for each player that takes part; those for whom x = x' are left out.

        Raises:
            NotDefinedError: The players are too many for memory, the method or its budget.
        """
        return self._estimate(game(self.features, batch, i), batch, i)

    def _estimate(self, own: Game, batch: Batch, i: int) -> Estimate:
        if own.count == 0:
            nothing = torch.zeros(0, dtype=torch.float64)
            return Estimate(nothing, nothing, 0)
        if own.count > MANY:
            raise NotDefinedError(
                f"{own.count:,} features are too many for Shapley values, which take {MANY:,} at "
                "most; choose coarser ones, as features=superpixel, or gradient_shap."
            )
        evaluations, estimator = self.plan(own.count)
        g = rng.generator(batch.seed, "shapley", batch.sample_ids[i])
        return shapley_values(own.value, own.count, evaluations, g, estimator)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        games = [game(self.features, batch, i) for i in range(len(batch))]
        return torch.stack(
            [g.spread(self._estimate(g, batch, i).values) for i, g in enumerate(games)]
        )


@dataclass(frozen=True)
class ExactShapley(Coalitional):
    """Exact Shapley values of few features, by all 2^n coalitions.

    phi_i = sum over S without i of s! (n - s - 1)! / n! (v(S + i) - v(S)), with v(S) = f(x on S, x'
    elsewhere); the value of a feature is shared out evenly over its elements.  Entries sum to
    f(x) - f(x'), exactly.  Features that f does not depend on, or for which x = x', get 0; equal
    roles get equal values; linear in f; a function of f alone.  Cost: 2^n model rows for each
    sample, 16,384 for 14 features.

    Args:
        features: The players, see `igbench.core.players.players`; None for what fits: the feature
            numbers of the batch, superpixels or patches of images, columns of tables.
        most: Largest number of features for which x and x' differ, at most 24.

    Raises:
        InputError: A number of features above 24, or features that do not fit the samples.
        NotDefinedError: A sample has more features.

    Source: Shapley 1953; Sundararajan and Najmi 2020 (the baseline).

    >>> from igbench.methods import explain
    >>> both = lambda x: x[:, 0] * x[:, 1]
    >>> explain(ExactShapley(), both, [[2.0, 3.0, 7.0]]).tolist()
    [[3.0, 3.0, 0.0]]
    """

    features: str | Tensor | None = None
    most: int = 14

    label = "Shapley values (exact)"
    reference = "Shapley 1953; Sundararajan, Najmi 2020"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("most", self.most, least=1)
        check_choice("most", str(self.most), [str(n) for n in range(1, 25)])

    def plan(self, count: int) -> tuple[int, str]:
        """All 2^n coalitions."""
        if count > self.most:
            raise NotDefinedError(
                f"{count} features have 2^{count} coalitions, and exact_shapley stops at "
                f"{self.most} features; choose coarser ones with features=..., raise most, or use "
                "kernel_shap."
            )
        return 2**count, "exact"


@dataclass(frozen=True)
class KernelShap(Coalitional):
    """Shapley values by the best estimator for a budget of model rows (KernelSHAP).

    v(S) = f(x on S, x' elsewhere).  Estimators:

    - "exact": all coalitions;
    - "leverage": the weighted regression of KernelSHAP on pairs of a coalition and its complement,
      drawn without replacement with equally many of each size (Leverage SHAP);
    - "permutations": marginal contributions along random orders and their reverses;
    - "auto": the one with the smallest error: exact where the 2^n coalitions fit into the budget,
      permutations below 10 evaluations for each feature, otherwise leverage.

    The value of a feature is shared out evenly over its elements.  Entries sum to f(x) - f(x') in
    every draw, so completeness says nothing of the error; `estimate` gives standard errors, and the
    metric `seed_variance` the relative error of the map.  Features for which x = x' get 0 and are
    left out.  Both samplers are exact where features interact in pairs at most.  Cost: at most
    `evaluations` model rows for each sample.

    Args:
        estimator: "auto", "exact", "leverage" or "permutations".
        evaluations: Largest number of model rows for each sample: a whole number, or "40n" for 40
            for each of its n features; "exact" takes what it needs.
        features: The players, see `igbench.core.players.players`; None for what fits: the feature
            numbers of the batch, superpixels or patches of images, columns of tables.

    Raises:
        InputError: An unknown estimator, a budget of another form, or features that do not fit.
        NotDefinedError: The budget is too small for the number of features.

    Source: Lundberg and Lee 2017, theorem 2; Covert and Lee 2021 (pairs); Musco and Witter 2025
    (leverage scores); Mitchell et al. 2022 (antithetic permutations).

    >>> from igbench.methods import explain
    >>> pairs = lambda x: x.sum(dim=1) ** 2  # interactions of pairs alone: exact
    >>> x = torch.ones(1, 20, dtype=torch.float64)
    >>> explain(KernelShap(), pairs, x)[0, :3].numpy().round(9).tolist()
    [20.0, 20.0, 20.0]
    """

    estimator: Literal["auto", "exact", "leverage", "permutations"] = "auto"
    evaluations: int | str = "40n"
    features: str | Tensor | None = None

    label = "KernelSHAP ({estimator}, {evaluations} evaluations)"
    reference = "Lundberg, Lee 2017, theorem 2; Musco, Witter 2025"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("estimator", self.estimator, ESTIMATORS)
        evaluations_of(self.evaluations, 1)

    def plan(self, count: int) -> tuple[int, str]:
        """As configured."""
        return evaluations_of(self.evaluations, count), self.estimator


@dataclass(frozen=True)
class ShapleySampling(Coalitional):
    """Shapley values by random orders of the features and their reverses.

    phi_i is the mean of v(S + i) - v(S) over the places of i in random orders, S the features
    before it, with v(S) = f(x on S, x' elsewhere).  Unbiased, and entries sum to f(x) - f(x') in
    every draw; the value of a feature is shared out evenly over its elements.  Exact where features
    interact in pairs at most, and where all 2^n coalitions fit into the budget.  Features for which
    x = x' get 0 and are left out.  Cost: at most `evaluations` model rows for each sample; n - 1 an
    order, and 2.

    Args:
        evaluations: Largest number of model rows for each sample: a whole number, or "40n" for 40
            for each of its n features.
        features: The players, see `igbench.core.players.players`; None for what fits: the feature
            numbers of the batch, superpixels or patches of images, columns of tables.

    Raises:
        InputError: A budget of another form, or features that do not fit.
        NotDefinedError: The budget is less than 2 n.

    Source: Castro, Gomez and Tejada 2009; Strumbelj and Kononenko 2014; Mitchell et al. 2022.

    >>> from igbench.methods import explain
    >>> both = lambda x: x[:, 0] * x[:, 1]
    >>> explain(ShapleySampling(), both, [[2.0, 3.0, 7.0, 1.0, 1.0, 1.0, 1.0]])[0, :3].tolist()
    [3.0, 3.0, 0.0]
    """

    evaluations: int | str = "40n"
    features: str | Tensor | None = None

    label = "Shapley sampling (antithetic permutations, {evaluations} evaluations)"
    reference = "Castro et al. 2009; Mitchell et al. 2022"

    def __post_init__(self) -> None:
        super().__post_init__()
        evaluations_of(self.evaluations, 1)

    def plan(self, count: int) -> tuple[int, str]:
        """Antithetic permutations."""
        return evaluations_of(self.evaluations, count), "permutations"
