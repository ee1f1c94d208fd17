"""Max-sensitivity: how much does the map change, at worst, when the input changes a little?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import maximum
from igbench.metrics.neighbours import NO_SCALE, Neighbourhood, Responses, sizes
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class MaxSensitivity(Neighbourhood):
    """max over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2 (Yeh et al. 2019, def. 3.1).

    Divided by the norm of the map, as in the authors' code and in Captum's `sensitivity_max`; the
    definition in the paper is not.  The norms are over all elements of the map.  A maximum over
    random draws is a lower bound of the one over the ball, and grows with D.  Range [0, inf).  The
    standard error says how far this maximum moves with the draws; see `igbench.metrics.errors`.

    It says nothing about whether a map is right: one that does not depend on the input has 0.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Max-sensitivity, Yeh 2019 ({self.words()}; grows with draws)",
            "lower",
            0,
            math.inf,
            1,
            "Yeh et al. 2019, definition 3.1",
            unit="element",
            undefined=NO_SCALE,
            min_effect=0.01,
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The largest relative change of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            relative = observation.changes(name, attribution) / sizes(attribution)[:, None]
            result[name] = Measurement(*maximum(relative), reason=NO_SCALE)
        return result
