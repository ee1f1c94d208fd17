"""Average sensitivity: how far does a map move when the input moves a little?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from igbench.metrics.neighbours import NO_SCALE, Neighbourhood, Responses, sizes
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class AvgSensitivity(Neighbourhood):
    """mean over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2.

    The mean in place of the maximum of `MaxSensitivity` (Yeh et al. 2019, def. 3.1; Bhatt, Weller
    and Moura 2020, definition 2), whose explanations it shares.  Unlike that, it does not depend on
    D but for its standard error, sd / sqrt(D).  Range [0, inf).
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Average sensitivity ({self.words()})",
            "lower",
            0,
            math.inf,
            1,
            "Bhatt, Weller, Moura 2020, definition 2",
            unit="element",
            undefined=NO_SCALE,
            min_effect=0.01,
        )

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The mean relative change of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            change = observation.changes(name, attribution) / sizes(attribution)[:, None]
            error = change.std(dim=1) / math.sqrt(self.draws) if self.draws > 1 else None
            result[name] = Measurement(change.mean(dim=1), error, NO_SCALE)
        return result
