"""Pixel flipping: how low is the output on the way, when the most relevant features go first?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT, Curves, Removal
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class PixelFlipping(Removal):
    """Mean of f over the L + 1 steps of removal, most relevant first (Bach et al. 2015).

    (1 / (L + 1)) sum over k = 0..L of f(x^(k)), where x^(k) lacks the k * step most relevant
    features, x^(0) = x, and x^(L) lacks all.  The plain mean of the points, unlike the area of
    `Deletion`, whose curves it shares; f(x) minus it is `Aopc`.  Ties are broken at random, alike
    for all methods.  [0, 1] for probabilities.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition(
            "Pixel flipping, mean output", "lower", 0, "Bach et al. 2015, pixel-flipping"
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Mean of every curve; x is the fraction of features removed."""
        return {
            name: averaged(y.mean(dim=-1), FLAT, {"pixel_flipping": (observation.x, y)})
            for name, y in observation.removal("mif", attributions).items()
        }
