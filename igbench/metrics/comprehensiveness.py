"""Comprehensiveness: how much of the output goes with the most important features?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.erasure import Erased, Erasure
from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Comprehensiveness(Erasure):
    """Mean over B shares q of f(x) - f(x without its top q) (ERASER, DeYoung et al. 2020, eq. 1).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1, for the share 0 whose term is zero: B / (B + 1) times this value.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Comprehensiveness", "higher", 1)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        """The mean drop of every attribution; x of the curve is the fraction removed."""
        counts = self.counts(observation)
        x = [k / observation.features.count for k in counts]
        found = observation.outputs(attributions, counts, "top")
        result = {}
        for name, y in found.items():
            drops = observation.clean[:, None] - y
            result[name] = averaged(drops.mean(dim=-1), FLAT, {"comprehensiveness": (x, drops)})
        return result
