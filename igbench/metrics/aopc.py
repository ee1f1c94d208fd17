"""AOPC: how much has the output changed on the way, when features go in the order of the map?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from igbench import checks
from igbench.metrics.errors import averaged
from igbench.metrics.removal import FLAT, Curves, Removal
from igbench.rows import Direction, MetricSpec
from igbench.types import Attribution, Batch, Measurement

TITLES: dict[str, tuple[str, Direction]] = {
    "morf": ("AOPC, most relevant first", "higher"),
    "lerf": ("AOPC, least relevant first", "lower"),
    "difference": ("ABPC, least minus most relevant first", "higher"),
}


@dataclass(frozen=True)
class Aopc(Removal):
    """Area over the perturbation curve (Samek et al. 2017, eq. 12).

    AOPC = (1 / (L + 1)) sum over k = 0..L of f(x) - f(x^(k)), where x^(k) lacks the k * step first
    features of the order, and the term k = 0 is zero.  L is the last step that removes no more than
    `until` of the features (the paper: the first 100 of some 600 regions of 9 x 9 pixels).

    - "morf": most relevant first, higher is better;
    - "lerf": least relevant first, lower is better;
    - "difference": the area between the two curves, ABPC = mean of f(least relevant first) - f(most
      relevant first), higher is better; a random order has expectation 0.

    The curves are those of `Deletion` and `SymmetricRelevanceGain` with the same removal.  Each
    term lies in [-1, 1] for probabilities.

    Args:
        order: "morf", "lerf" or "difference".
        until: Largest fraction of the features that is removed.

    Raises:
        InputError: Unknown order, or a fraction that is not in (0, 1].
    """

    order: Literal["morf", "lerf", "difference"] = "morf"
    until: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.known_name("order", self.order, tuple(TITLES))
        if not 0 < self.until <= 1:
            raise checks.InputError(f"until is {self.until}; it must be above 0 and at most 1.")

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        title, direction = TITLES[self.order]
        upto = "" if self.until == 1 else f", first {self.until:g} of the features"
        return self.definition(title + upto, direction, -1, "Samek et al. 2017, eq. 12")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area over, or between, the curves of every attribution."""
        points = sum(x <= self.until * (1 + 1e-9) for x in observation.x)
        if points < 2:
            raise checks.InputError(
                f"until={self.until} ends before the first step, which removes "
                f"{observation.x[1]:.3g} of the features; raise until or lower step."
            )
        first = observation.removal("mif", attributions) if self.order != "lerf" else {}
        last = observation.removal("lif", attributions) if self.order != "morf" else {}
        start = observation.clean[:, None]
        result = {}
        for name in attributions:
            drops = self._drops(start, first.get(name), last.get(name))[..., :points]
            x = observation.x[:points]
            curve = "abpc" if self.order == "difference" else f"aopc_{self.order}"
            result[name] = averaged(drops.mean(dim=-1), FLAT, {curve: (x, drops)})
        return result

    def _drops(self, start: Tensor, first: Tensor | None, last: Tensor | None) -> Tensor:
        """The terms of the sum, (R, N, P)."""
        if first is not None and last is not None:
            return last - first
        curve = first if first is not None else last
        return start - curve if curve is not None else start * math.nan
