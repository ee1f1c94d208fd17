"""Symmetric relevance gain: how much does the order matter, whatever the occluder?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT, Curves, Removal, area
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class SymmetricRelevanceGain(Removal):
    """SRG = area(least important first) - area(most important first), same occluder for both.

    Bluecher et al. 2024.  Both areas are under f over the fraction of removed features.  The
    expectation for a random order is 0, whatever the model and the occluder, and rankings of
    methods depend little on the occluder: the recommended headline number.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition(
            "Symmetric relevance gain", "higher", -1, "Bluecher, Vielhaben, Strodthoff 2024"
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Difference of the two areas of every attribution."""
        x = observation.x
        last = observation.removal("lif", attributions)
        first = observation.removal("mif", attributions)
        return {
            name: averaged(
                area(x, last[name]) - area(x, first[name]),
                FLAT,
                {"srg_lif": (x, last[name]), "srg_mif": (x, first[name])},
            )
            for name in attributions
        }
