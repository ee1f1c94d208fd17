"""Deletion: how fast does the output fall when the most important features go first?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT, Curves, Removal, area
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Deletion(Removal):
    """Area under f as features are removed in falling order of attribution (RISE).

    Petsiuk et al. 2018, section 3.3.  As there, the target is fixed on the clean input, a pixel
    goes with all its channels, and the area is over the fraction of removed pixels, by the
    trapezoid rule, both end points included.  Ties are broken at random, alike for all methods.
    RISE's settings are step=1/28, occluder="zero", scalar="probability" at 224 x 224.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Deletion AUC", "lower", 0, "Petsiuk, Das, Saenko 2018, section 3.3")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features removed."""
        x = observation.x
        return {
            name: averaged(area(x, y), FLAT, {"deletion": (x, y)})
            for name, y in observation.removal("mif", attributions).items()
        }
