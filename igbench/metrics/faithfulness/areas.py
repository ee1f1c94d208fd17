"""Areas under removal curves: deletion, insertion and symmetric relevance gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.base import REASON_FLAT_MAP
from igbench.metrics.faithfulness.curves import Curves
from igbench.metrics.faithfulness.removal import Removal
from igbench.metrics.monte_carlo import averaged


def area(x: list[float], y: Tensor) -> Tensor:
    """Area under curves over the fraction of features, by the trapezoid rule, (..., P) to (...).

    Args:
        x: P fractions of features, rising.
        y: (..., P) outputs.
    """
    return torch.trapezoid(y, torch.tensor(x, dtype=y.dtype, device=y.device), dim=-1)


@dataclass(frozen=True)
class Deletion(Removal):
    """Deletion: area under f as features are removed in falling order of attribution (RISE).

    With x^(k) the sample without its k * step most important features, the area under f(x^(k)) over
    the fraction of removed features, from 0 to 1, by the trapezoid rule with both end points.  The
    target is fixed on the clean input, and a pixel goes with all its channels.  RISE's settings are
    step=1/28, occluder="zero", scalar="probability" at 224 x 224.

    Lower is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps, which rank nothing.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G
    / step) - 1 for each method (27 by default), R times as many where ties matter.

    Source: Petsiuk, Das and Saenko 2018, section 3.3.

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
        With f = 6, 3, 1, 0 after each step, the area is (3 + 3 + 1 + 0) / 3.

        >>> import torch
        >>> from igbench.metrics import deletion
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> deletion(f, x, phi, step=1).round(decimals=4).tolist()
        [2.3333]
    """

    name = "deletion"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "deletion": (
            "fraction of features removed, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How fast does the output fall when the most important features go first?"
    direction = "lower"
    reference = "Petsiuk, Das, Saenko 2018, section 3.3"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Deletion AUC {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features removed."""
        x, result = observation.x, {}
        for name, y in observation.removal("mif", attributions).items():
            found = averaged(area(x, y), REASON_FLAT_MAP, {"deletion": (x, y)})
            result[name] = observation.with_error(found, name, ["mif"], x[1])
        return result


@dataclass(frozen=True)
class Insertion(Removal):
    """Insertion: area under f as features are revealed in falling order of attribution (RISE).

    Start from the occluder alone and reveal the most important features first; the area under f is
    over the fraction of revealed features, by the trapezoid rule with both end points.  This is the
    removal of the least important features first, read backwards; if `step` does not divide G, the
    short step is the first one.  RISE's settings are step=1/28, occluder="blur",
    scalar="probability".

    Higher is better; in [0, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and ceil(G / step) - 1 for
    each method (27 by default), R times as many where ties matter.

    Source: Petsiuk, Das and Saenko 2018, section 3.3.

    Args:
        step: Features revealed at a time: a whole number, or a fraction of G below 1; or "auto", as
            many points of 1/28 as `error` needs, see `igbench.metrics.faithfulness.placement`.
        occluder: Replacement of hidden features: "baseline", "zero", "mean" or "blur", see
            `igbench.core.perturb.occluded`.  None: "blur" for images, "baseline" otherwise.
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
        With f = 0, 3, 5, 6 after each step, the area is (1.5 + 4 + 5.5) / 3.

        >>> import torch
        >>> from igbench.metrics import insertion
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> insertion(f, x, phi, step=1).round(decimals=4).tolist()
        [3.6667]
    """

    name = "insertion"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "insertion": (
            "fraction of features inserted, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How fast does the output rise when the most important features come first?"
    direction = "higher"
    reference = "Petsiuk, Das, Saenko 2018, section 3.3"
    image_defaults: ClassVar[Mapping[str, Any]] = {**Removal.image_defaults, "occluder": "blur"}

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Insertion AUC {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Area under every curve; x is the fraction of features revealed."""
        x, result = [1 - v for v in reversed(observation.x)], {}
        for name, y in observation.removal("lif", attributions).items():
            y = y.flip(-1)
            found = averaged(area(x, y), REASON_FLAT_MAP, {"insertion": (x, y)})
            result[name] = observation.with_error(found, name, ["lif"], observation.x[1])
        return result


@dataclass(frozen=True)
class SymmetricRelevanceGain(Removal):
    """Symmetric relevance gain: area(least important first) - area(most important first).

    Both areas are under f over the fraction of removed features, with the same occluder.  A random
    order has expectation 0, whatever the model and the occluder, and rankings of methods depend
    little on the occluder: the recommended headline number.

    Higher is better; in [-1, 1] for probabilities, otherwise in the units of f.  Undefined for flat
    maps.  Cost: 2 model rows for each sample, shared by all methods, and 2 (ceil(G / step) - 1) for
    each method (54 by default), R times as many where ties matter.

    Source: Bluecher, Vielhaben and Strodthoff 2024.

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
        The areas are 11/3 and 7/3.

        >>> import torch
        >>> from igbench.metrics import srg
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 2.0, 1.0]])
        >>> f = lambda x: x @ phi[0]
        >>> srg(f, x, phi, step=1).round(decimals=4).tolist()
        [1.3333]
    """

    name = "srg"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "srg_lif": (
            "fraction of features removed, least influential first, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
        "srg_mif": (
            "fraction of features removed, most influential first, 0 to 1",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    explains = "How much does the order of removal matter, whatever the occluder?"
    direction = "higher"
    reference = "Bluecher, Vielhaben, Strodthoff 2024"
    low = -1

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Symmetric relevance gain {self.settings}"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Curves
    ) -> dict[str, Measurement]:
        """Difference of the two areas of every attribution."""
        x = observation.x
        last = observation.removal("lif", attributions)
        first = observation.removal("mif", attributions)
        result = {}
        for name in attributions:
            found = averaged(
                area(x, last[name]) - area(x, first[name]),
                REASON_FLAT_MAP,
                {"srg_lif": (x, last[name]), "srg_mif": (x, first[name])},
            )
            result[name] = observation.with_error(found, name, ["lif", "mif"], x[1])
        return result
