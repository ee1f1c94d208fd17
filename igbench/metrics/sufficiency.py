"""Sufficiency: how much of the output is missing when only the most important features are left?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.erasure import Erased, Erasure
from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Sufficiency(Erasure):
    """Mean over B shares q of f(x) - f(only the top q of x) (ERASER, DeYoung et al. 2020, eq. 2).

    The mean is over the B shares given, as in the authors' code.  The paper's formula has the
    denominator B + 1 and the further term f(x) - f(nothing of x), the same for all methods.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Sufficiency", "lower", 2)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        """The mean deficit of every attribution; x of the curve is the fraction kept."""
        counts, count = self.counts(observation), observation.features.count
        x = [k / count for k in counts]
        found = observation.outputs(attributions, [count - k for k in counts], "bottom")
        result = {}
        for name, y in found.items():
            deficit = observation.clean[:, None] - y
            result[name] = averaged(deficit.mean(dim=-1), FLAT, {"sufficiency": (x, deficit)})
        return result
