"""Local Lipschitz estimate: how fast does the map change with the input, at worst?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.errors import maximum
from igbench.metrics.neighbours import NO_SCALE, Neighbourhood, Responses, sizes
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class LocalLipschitz(Neighbourhood):
    """max over D draws of |phi(x + delta) - phi(x)|_2 / |delta|_2.

    Alvarez-Melis and Jaakkola 2018 (On the robustness of interpretability methods), eq. 2, with
    random points of the ball in place of their search: a lower bound of the supremum, which grows
    with D.  It has the unit of the map over that of the input, so methods of different scale are
    comparable only with `relative`.  Range [0, inf).  The standard error says how far this maximum
    moves with the draws; see `igbench.metrics.errors`.

    Args:
        relative: Divide by |phi(x)|_2 too.
    """

    relative: bool = False

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        scaled = "relative, " if self.relative else ""
        return MetricSpec(
            f"Local Lipschitz estimate ({scaled}{self.words()}; grows with draws)",
            "lower",
            0,
            math.inf,
            1,
            "Alvarez-Melis, Jaakkola 2018 (robustness), eq. 2",
            unit="element",
            undefined=NO_SCALE,
            min_effect=0.01,
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The largest ratio of every attribution."""
        distances = observation.distances()
        result = {}
        for name, attribution in attributions.items():
            slopes = observation.changes(name, attribution) / distances
            if self.relative:
                slopes = slopes / sizes(attribution)[:, None]
            result[name] = Measurement(*maximum(slopes), reason=NO_SCALE)
        return result
