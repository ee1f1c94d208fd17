"""Faithfulness correlation: do sums of contributions predict what removing sets does?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from igbench.metrics.sensitivity_n import SensitivityN
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class FaithfulnessCorrelation:
    """Pearson correlation over D random sets S of sum phi_S with f(x) - f(x with S removed).

    Bhatt, Weller and Moura 2020, definition 3.  All sets have the same number of features, and
    removed features are at the baseline: this is sensitivity-n at a single n, whose sets and
    observation it shares.  The standard error is the jackknife's over sets.  The range is [-1, 1].

    Args:
        n: Size of the sets: a whole number, or a fraction of G below 1.
        subsets: Number D of sets; "all" enumerates them.
        features: What one feature is; None for the default of the data.

    Raises:
        InputError: n is not above zero or above G, or there are fewer than 3 sets.
    """

    n: float = 0.2
    subsets: int | Literal["all"] = 100
    features: str | Tensor | None = None

    def __post_init__(self) -> None:
        self._sets()

    def _sets(self) -> SensitivityN:
        return SensitivityN(n=self.n, subsets=self.subsets, features=self.features)

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return replace(
            self._sets().spec,
            title=f"Faithfulness correlation ({self.subsets} sets of {self.n:g})",
            reference="Bhatt, Weller, Moura 2020, definition 3",
            undefined="all sums or all output changes are equal (n = G, flat map)",
        )

    @property
    def observation_key(self) -> object:
        """That of sensitivity-n with the same sets."""
        return self._sets().observation_key

    def observe(self, batch: Batch) -> list[Tensor]:
        """f(x) - f(x with S removed), one (N, D) float64."""
        return self._sets().observe(batch)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Tensor]
    ) -> dict[str, Measurement]:
        """The correlation of every attribution."""
        found = self._sets().measure(batch, attributions, observation)
        return {name: replace(m, curves={}) for name, m in found.items()}
