"""Insertion: how fast does the output rise when the most important features come first?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT, Curves, Removal, area
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Insertion(Removal):
    """Area under f as features are revealed in falling order of attribution (RISE).

    Petsiuk et al. 2018, section 3.3.  Revealing the most important features first is removing the
    least important ones first, read backwards; if `step` does not divide G, the short step is the
    first one.  RISE's settings are step=1/28, occluder="blur", scalar="probability".
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition(
            "Insertion AUC", "higher", 0, "Petsiuk, Das, Saenko 2018, section 3.3"
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features revealed."""
        x = [1 - v for v in reversed(observation.x)]
        return {
            name: averaged(area(x, y.flip(-1)), FLAT, {"insertion": (x, y.flip(-1))})
            for name, y in observation.removal("lif", attributions).items()
        }
