"""Means along removal curves: pixel flipping and AOPC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import InputError, check_choice
from igbench.metrics.base import REASON_FLAT_MAP
from igbench.metrics.faithfulness.curves import Curves, Order
from igbench.metrics.faithfulness.removal import Removal
from igbench.metrics.monte_carlo import averaged
from igbench.schema import Direction


@dataclass(frozen=True)
class PixelFlipping(Removal):
    """Pixel flipping: mean of f over the L + 1 steps of removal, most relevant first.

    (1 / (L + 1)) sum over k = 0..L of f(x^(k)), where x^(k) lacks the k * step most relevant
    features, x^(0) = x, and x^(L) lacks all.  It is the plain mean of the points, unlike the area
    of `Deletion`, whose curves it shares; f(x) minus it is `Aopc`.

    Lower is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G / step) - 1 for
    each method (27 by default), R times as many where ties matter.

    Source: Bach et al. 2015, pixel-flipping.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as `error` needs,
            see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        error: Bound of the estimated error of an area with "auto", for probabilities; otherwise as
            a share of |f(x) - f(empty)|.

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties; `error` is not above zero.

    Example:
        The mean of 6, 3, 1 and 0.

        >>> import torch
        >>> from igbench.metrics import pixel_flipping
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> pixel_flipping(f, x, phi, step=1).tolist()
        [2.5]
    """

    name = "pixel_flipping"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "pixel_flipping": (
            "fraction of features removed, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How low is the output on the way, when the most relevant features go first?"
    direction = "lower"
    reference = "Bach et al. 2015, pixel-flipping"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Pixel flipping, mean output {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Mean of every curve; x is the fraction of features removed."""
        x, result = observation.x, {}
        for name, y in observation.removal("mif", attributions).items():
            found = averaged(y.mean(dim=-1), REASON_FLAT_MAP, {"pixel_flipping": (x, y)})
            result[name] = observation.with_error(found, name, ["mif"], 1 / len(x))
        return result


TITLES: dict[str, tuple[str, Direction]] = {
    "morf": ("AOPC, most relevant first", "higher"),
    "lerf": ("AOPC, least relevant first", "lower"),
    "difference": ("ABPC, least minus most relevant first", "higher"),
}

ORDERS: dict[str, tuple[Order, ...]] = {
    "morf": ("mif",),
    "lerf": ("lif",),
    "difference": ("lif", "mif"),
}
"""Orders of removal whose curves each variant of AOPC takes."""


@dataclass(frozen=True)
class Aopc(Removal):
    """AOPC, the area over the perturbation curve: mean drop of f as features are removed.

    AOPC = (1 / (L + 1)) sum over k = 0..L of f(x) - f(x^(k)), where x^(k) lacks the k * step first
    features of the order, and the term k = 0 is zero.  L is the last step that removes no more than
    `until` of the features (the paper: the first 100 of some 600 regions of 9 x 9 pixels).

    - "morf": most relevant first, higher is better;
    - "lerf": least relevant first, lower is better;
    - "difference": the area between the curves, ABPC = mean of f(least relevant first) - f(most
      relevant first), higher is better; a random order has expectation 0.

    The curves are those of `Deletion` and `SymmetricRelevanceGain` with the same removal.  In [-1,
    1] for probabilities, otherwise in the units of f.  Undefined for flat maps.  Cost: 2 model rows
    for each sample, shared by all methods, and ceil(G / step) - 1 for each method and order (27 by
    default), R times as many where ties matter.

    Source: Samek et al. 2017, eq. 12.

    Args:
        step: Features removed at a time: a whole number, or a fraction of G below 1 (RISE: 1/28,
            which is 1792 of 50176 pixels); or "auto", as many points of 1/28 as `error` needs,
            see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "zero" for images, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        tie_orders: Number R of random orders of tied features; 1 gives no standard error.
        error: Bound of the estimated error of an area with "auto", for probabilities; otherwise as
            a share of |f(x) - f(empty)|.
        order: "morf", "lerf" or "difference" (implied by `abpc`).
        until: Largest fraction of the features that is removed, in (0, 1].

    Raises:
        InputError: `step` is not above zero, or above 1 and not whole; an unknown occluder or
            scalar; fewer than one order of ties; `error` is not above zero.
        InputError: Unknown order; `until` outside (0, 1] or before the first step.

    Example:
        The drops are 0, 3, 5, 6 in the order of the map and 0, 1, 3, 6 in the reverse order.

        >>> import torch
        >>> from igbench.metrics import abpc, aopc
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> aopc(f, x, phi, step=1).tolist(), abpc(f, x, phi, step=1).tolist()
        ([3.5], [1.0])
    """

    name = "aopc"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "aopc_morf": (
            "fraction of features removed, most relevant first, 0 to 1",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
        "aopc_lerf": (
            "fraction of features removed, least relevant first, 0 to 1",
            "drop f(x) - f of the tracked output (`scalar` in `metrics`)",
        ),
        "abpc": (
            "fraction of features removed, 0 to 1",
            "tracked output with the least relevant removed, minus that with the most relevant",
        ),
    }
    explains = (
        "How much has the output changed on the way, when features go in the order of the map?"
    )
    reference = "Samek et al. 2017, eq. 12"
    low = -1

    order: Literal["morf", "lerf", "difference"] = "morf"
    until: float = 1.0

    @property
    def direction(self) -> Direction:
        """Direction of better values, which depends on the order."""
        return TITLES[self.order][1]

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        upto = "" if self.until == 1 else f", first {self.until:g} of the features"
        return f"{TITLES[self.order][0]}{upto} {self.settings}"

    @property
    def entry_name(self) -> str:
        """Name of its entry in a run, which depends on the order."""
        return "abpc" if self.order == "difference" else self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("order", self.order, tuple(TITLES))
        if not 0 < self.until <= 1:
            raise InputError(f"until is {self.until}; it must be above 0 and at most 1.")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area over, or between, the curves of every attribution.

        Raises:
            InputError: `until` ends before the first step.
        """
        points = sum(x <= self.until * (1 + 1e-9) for x in observation.x)
        if points < 2:
            raise InputError(
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
            found = averaged(drops.mean(dim=-1), REASON_FLAT_MAP, {curve: (x, drops)})
            result[name] = observation.with_error(found, name, ORDERS[self.order], 1 / points)
        return result

    def _drops(self, start: Tensor, first: Tensor | None, last: Tensor | None) -> Tensor:
        """The terms of the sum, (R, N, P)."""
        if first is not None and last is not None:
            return last - first
        curve = first if first is not None else last
        return start - curve if curve is not None else start * math.nan
