"""Max-sensitivity: how much does the map change, at worst, when the input changes a little?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.monte_carlo import maximum
from igbench.metrics.robustness.neighbourhood import NO_SCALE, Neighbourhood, Responses, sizes


@dataclass(frozen=True)
class MaxSensitivity(Neighbourhood):
    """max over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2 (Yeh et al. 2019, def. 3.1).

    Divided by the norm of the map, as in the authors' code and in Captum's `sensitivity_max`; the
    definition in the paper is not.  The norms are over all elements of the map.  A maximum over
    random draws is a lower bound of the one over the ball, and grows with D.  Range [0, inf).  The
    standard error says how far this maximum moves with the draws; see `igbench.metrics.monte_carlo`.

    It says nothing about whether a map is right: one that does not depend on the input has 0.
    """

    name = "max_sensitivity"
    explains = "How much does the map change, at worst, when the input changes a little?"
    reference = "Yeh et al. 2019, definition 3.1"

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"Max-sensitivity, Yeh 2019 ({self.describe()}; grows with draws)"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The largest relative change of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            relative = observation.changes(name, attribution) / sizes(attribution)[:, None]
            result[name] = Measurement(*maximum(relative), reason=NO_SCALE)
        return result


@dataclass(frozen=True)
class AvgSensitivity(Neighbourhood):
    """mean over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2.

    The mean in place of the maximum of `MaxSensitivity` (Yeh et al. 2019, def. 3.1; Bhatt, Weller
    and Moura 2020, definition 2), whose explanations it shares.  Unlike that, it does not depend on
    D but for its standard error, sd / sqrt(D).  Range [0, inf).
    """

    name = "avg_sensitivity"
    explains = "How much does the map change, on average, when the input changes a little?"
    reference = "Bhatt, Weller, Moura 2020, definition 2"

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"Average sensitivity ({self.describe()})"

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


@dataclass(frozen=True)
class LocalLipschitz(Neighbourhood):
    """max over D draws of |phi(x + delta) - phi(x)|_2 / |delta|_2.

    Alvarez-Melis and Jaakkola 2018 (On the robustness of interpretability methods), eq. 2, with
    random points of the ball in place of their search: a lower bound of the supremum, which grows
    with D.  It has the unit of the map over that of the input, so methods of different scale are
    comparable only with `relative`.  Range [0, inf).  The standard error says how far this maximum
    moves with the draws; see `igbench.metrics.monte_carlo`.

    Args:
        relative: Divide by |phi(x)|_2 too.
    """

    name = "local_lipschitz"
    explains = "How fast does the map change with the input, at worst?"
    reference = "Alvarez-Melis, Jaakkola 2018 (robustness), eq. 2"

    relative: bool = False

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        scaled = "relative, " if self.relative else ""
        return f"Local Lipschitz estimate ({scaled}{self.describe()}; grows with draws)"

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
