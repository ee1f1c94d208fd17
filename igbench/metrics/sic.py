"""SIC: how fast does the probability come back as the image regains its information?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.information import Information
from igbench.metrics.revealing import Images, probability
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Sic(Information):
    """Area under the softmax information curve; see `Information`.

    Kapishnikov et al. 2019, section 4.  The output is the probability of the target.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Softmax information curve", "probability")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Images]
    ) -> dict[str, Measurement]:
        """Area of every attribution; x of the curve is the share of the information."""
        return self.areas(attributions, observation, probability, "sic")
