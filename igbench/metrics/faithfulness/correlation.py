"""Faithfulness correlation and estimate: sensitivity-n at one size of sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.base import BaseMetric
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.sequential import AUTO, DRAWS_AXES, Growing, described
from igbench.metrics.units import patches


@dataclass(frozen=True)
class FaithfulnessCorrelation(BaseMetric):
    """Faithfulness correlation: Pearson over random sets S of sum phi_S with f(x) - f(x_S -> x').

    All D sets have the same number of features, and removed features are at the baseline x': this
    is sensitivity-n at a single n, whose sets and observation it shares.

    Higher is better, in [-1, 1].  Undefined where all sums or all output changes are equal.  The
    standard error is the jackknife's over sets.  Cost: 1 + D model rows for each sample (101 by
    default), shared by all methods.  For subsets="auto" see `SensitivityN`.

    Source: Bhatt, Weller and Moura 2020, definition 3.

    Args:
        n: Size of the sets: a whole number, or a fraction of G below 1.
        subsets: Number D of sets; "all" enumerates them, "auto" takes as many as `error` needs.
        features: Unit of the sets, see `igbench.core.features.resolve`.  None: 14 patches along the
            short side of images, otherwise the unit of the data (elements by default).
        error: Bound of the standard error with "auto".
        most: Largest number of sets with "auto".

    Raises:
        InputError: n is not above zero or above G; fewer than 3 sets; more than 20,000 sets to
            enumerate.

    Example:
        The changes are 3, 2, 1; the map has 3, 1, 2.

        >>> import torch
        >>> from igbench.metrics import faithfulness_correlation
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> f = lambda x: x @ x.new_tensor([3.0, 2.0, 1.0])
        >>> phi = x.new_tensor([[3.0, 1.0, 2.0]])
        >>> faithfulness_correlation(f, x, phi, n=1, subsets="all").round(decimals=6).tolist()
        [0.5]
    """

    foldable = True
    name = "faithfulness_correlation"
    family = "faithfulness"
    explains = "Do sums of contributions predict what removing sets of one size does?"
    direction = "higher"
    reference = "Bhatt, Weller, Moura 2020, definition 3"
    needs = "global signed"
    range = (-1, 1)
    undefined = "all sums or all output changes are equal (n = G, flat map)"
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(14)}
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "faithfulness_correlation_draws": DRAWS_AXES
    }

    n: float = 0.2
    subsets: int | Literal["all", "auto"] = 100
    features: str | Tensor | None = None
    error: float = 0.1
    most: int = 256

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        sets = described(self.subsets, self.error, self.most)
        return f"Faithfulness correlation ({sets} sets of {self.n:g})"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sets()

    def _sets(self) -> SensitivityN:
        return SensitivityN(self.n, self.subsets, self.features, self.error, self.most)

    @property
    def sharing_key(self) -> object:
        """Shares the observation of sensitivity-n with the same sets."""
        return self._sets().sharing_key

    def at_most(self) -> FaithfulnessCorrelation:
        """The same metric with the largest number of sets that it may take."""
        return replace(self, subsets=self.most) if self.subsets == AUTO else self

    def observe(self, batch: Batch) -> list[Tensor] | Growing:
        """f(x) - f(x with S removed), one (N, D) float64; with "auto", outputs as needed."""
        return self._sets().observe(batch)

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: list[Tensor] | Growing,
    ) -> dict[str, Measurement]:
        """The correlation of every attribution."""
        found = self._sets().measure(batch, attributions, observation)
        return {name: replace(m, curves=self._draws(m)) for name, m in found.items()}

    def _draws(self, found: Measurement) -> dict[str, Any]:
        """The errors by draws of "auto", under the name of this metric."""
        own = found.curves.get("sensitivity_n_draws")
        return {} if own is None else {"faithfulness_correlation_draws": own}


@dataclass(frozen=True)
class FaithfulnessEstimate(BaseMetric):
    """Faithfulness estimate: Pearson over features of phi_i with f(x) - f(x without feature i).

    Each feature goes to the baseline by itself.  f is the output that the attribution explains (the
    paper: a probability).

    Higher is better, in [-1, 1].  Undefined where all contributions or all output changes are
    equal.  Exact, no standard error.  Cost: G + 1 model rows for each sample, shared by all
    methods; for photographs use patches.

    Source: Alvarez-Melis and Jaakkola 2018, Towards robust interpretability with self-explaining
    neural networks.

    Args:
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: 14 patches along
            the short side of images, otherwise the unit of the data (elements by default).

    Raises:
        InputError: There are more than 20,000 features.

    Example:
        The changes are 3, 2, 1; the map has 3, 1, 2.

        >>> import torch
        >>> from igbench.metrics import faithfulness_estimate
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> f = lambda x: x @ x.new_tensor([3.0, 2.0, 1.0])
        >>> phi = x.new_tensor([[3.0, 1.0, 2.0]])
        >>> faithfulness_estimate(f, x, phi).round(decimals=6).tolist()
        [0.5]
    """

    foldable = True
    name = "faithfulness_estimate"
    family = "faithfulness"
    explains = "Are contributions proportional to what removing one feature does?"
    direction = "higher"
    reference = "Alvarez-Melis, Jaakkola 2018 (NeurIPS), faithfulness"
    title = "Faithfulness estimate (single features)"
    needs = "global signed"
    range = (-1, 1)
    undefined = "all contributions or all output changes are equal (flat map, one feature)"
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(14)}

    features: str | Tensor | None = None

    def _sets(self) -> SensitivityN:
        return SensitivityN(n=1, subsets="all", features=self.features)

    @property
    def sharing_key(self) -> object:
        """Shares the observation of sensitivity-n with all sets of one feature."""
        return self._sets().sharing_key

    def observe(self, batch: Batch) -> list[Tensor] | Growing:
        """f(x) - f(x without feature i), one (N, G) float64."""
        return self._sets().observe(batch)

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: list[Tensor] | Growing,
    ) -> dict[str, Measurement]:
        """The correlation of every attribution."""
        found = self._sets().measure(batch, attributions, observation)
        return {name: replace(m, curves={}) for name, m in found.items()}
