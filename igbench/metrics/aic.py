"""AIC: how fast does the right class come back as the image regains its information?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.information import Information
from igbench.metrics.revealing import Images, accuracy
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Aic(Information):
    """Area under the accuracy information curve; see `Information`.

    Kapishnikov et al. 2019, section 4.  The output is 1 where the target has the largest output of
    the model and 0 elsewhere.  Coarse on one sample: compare means.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("Accuracy information curve", "accuracy")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Images]
    ) -> dict[str, Measurement]:
        """Area of every attribution; x of the curve is the share of the information."""
        return self.areas(attributions, observation, accuracy, "aic")
