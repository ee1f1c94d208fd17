"""Faithfulness estimate: are contributions proportional to what removing one feature does?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from igbench.metrics.sensitivity_n import SensitivityN
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class FaithfulnessEstimate:
    """Pearson correlation over the G features of phi_i with f(x) - f(x without feature i).

    Alvarez-Melis and Jaakkola 2018 (Towards robust interpretability with self-explaining neural
    networks).  Each feature goes to the baseline by itself, so G + 1 model rows are needed for each
    sample, whatever the number of methods; for photographs choose patches.  f is the output that
    the attribution explains (the paper: a probability).  Exact, no standard error.  The range is
    [-1, 1].

    Args:
        features: What one feature is; None for the default of the data.

    Raises:
        InputError: There are more than 20,000 features.
    """

    features: str | Tensor | None = None

    def _sets(self) -> SensitivityN:
        return SensitivityN(n=1, subsets="all", features=self.features)

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return replace(
            self._sets().spec,
            title="Faithfulness estimate (single features)",
            reference="Alvarez-Melis, Jaakkola 2018 (NeurIPS), faithfulness",
            undefined="all contributions or all output changes are equal (flat map, one feature)",
        )

    @property
    def observation_key(self) -> object:
        """That of sensitivity-n with all sets of one feature."""
        return self._sets().observation_key

    def observe(self, batch: Batch) -> list[Tensor]:
        """f(x) - f(x without feature i), one (N, G) float64."""
        return self._sets().observe(batch)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Tensor]
    ) -> dict[str, Measurement]:
        """The correlation of every attribution."""
        found = self._sets().measure(batch, attributions, observation)
        return {name: replace(m, curves={}) for name, m in found.items()}
