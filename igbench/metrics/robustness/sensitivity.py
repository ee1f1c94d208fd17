"""Max-sensitivity, average sensitivity and local Lipschitz estimate of a map near its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.monte_carlo import maximum
from igbench.metrics.robustness.neighbourhood import NO_SCALE, Neighbourhood, Responses, sizes


@dataclass(frozen=True)
class MaxSensitivity(Neighbourhood):
    """Max-sensitivity: max over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2.

    Divided by the norm of the map, as in the authors' code and in Captum's `sensitivity_max`; the
    definition in the paper is not.  The norms are over all elements of the map.

    Lower is better, in [0, inf).  A map that does not depend on the input has 0, whether or not it
    is right.  Undefined where a map is zero or not finite.  A maximum over random draws is a lower
    bound of the one over the ball, and grows with D; the standard error is how far this maximum
    varies with the draws, see `igbench.metrics.monte_carlo.maximum`.  Cost: D explanations for each
    method, shared with `AvgSensitivity` and `LocalLipschitz`.

    Source: Yeh et al. 2019, definition 3.1.

    Args:
        radius: Radius r of the ball, in units of `scale`.
        draws: Number D of changed inputs for each sample.
        ball: "linf" (every element changes by at most r) or "l2" (Euclidean norm of at most r).
        noise: "uniform" in the ball, or "extremes": its corners (every element by +r or -r, with
            equal odds) or, for "l2", its surface.  Where a map is locally affine its largest change
            is at an extreme point, so "extremes" is the tighter bound for the same cost.  Or
            "synonym" for texts: one token becomes one of its nearest, both drawn at random.
        scale: Unit of the radius: "input", 1 in units of the model's input; or "row", the median
            norm of the word embeddings of a model of texts.  None: "row" for texts.
        neighbours: Number of nearest embeddings among which "synonym" draws.

    Raises:
        InputError: A radius or a number of draws that is not above zero, an unknown ball or noise,
            or no method to explain with.
        NotDefinedError: "row" or "synonym" with a model that has no word embeddings.

    Example:
        phi = 2 x changes by 2 |delta|, and |delta| / |x| is r at the corners of the ball around x =
        1.

        >>> import torch
        >>> from igbench.metrics import max_sensitivity
        >>> x, f = torch.ones(1, 4, dtype=torch.float64), lambda x: (x**2).sum(dim=1)
        >>> explain = lambda x, target: 2 * x
        >>> found = max_sensitivity(f, x, 2 * x, explain=explain, radius=0.02, noise="extremes")
        >>> found.round(decimals=6).tolist()
        [0.02]
    """

    name = "max_sensitivity"
    explains = "How much does the map change, at worst, when the input changes a little?"
    reference = "Yeh et al. 2019, definition 3.1"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Max-sensitivity, Yeh 2019 ({self.describe()}; grows with draws)"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The largest relative change of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            relative = observation.changes(name, attribution) / sizes(batch, attribution)[:, None]
            result[name] = Measurement(*maximum(relative), reason=NO_SCALE)
        return result


@dataclass(frozen=True)
class AvgSensitivity(Neighbourhood):
    """Average sensitivity: mean over D draws of |phi(x + delta) - phi(x)|_2 / |phi(x)|_2.

    The mean in place of the maximum of `MaxSensitivity`, whose explanations it shares.  Unlike the
    maximum, it does not depend on D, apart from its standard error, sd / sqrt(D).

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite.  Cost: D
    explanations for each method, shared with `MaxSensitivity` and `LocalLipschitz`.

    Source: Yeh et al. 2019, definition 3.1; Bhatt, Weller and Moura 2020, definition 2.

    Args:
        radius: Radius r of the ball, in units of `scale`.
        draws: Number D of changed inputs for each sample.
        ball: "linf" (every element changes by at most r) or "l2" (Euclidean norm of at most r).
        noise: "uniform" in the ball, or "extremes": its corners (every element by +r or -r, with
            equal odds) or, for "l2", its surface.  Where a map is locally affine its largest change
            is at an extreme point, so "extremes" is the tighter bound for the same cost.  Or
            "synonym" for texts: one token becomes one of its nearest, both drawn at random.
        scale: Unit of the radius: "input", 1 in units of the model's input; or "row", the median
            norm of the word embeddings of a model of texts.  None: "row" for texts.
        neighbours: Number of nearest embeddings among which "synonym" draws.

    Raises:
        InputError: A radius or a number of draws that is not above zero, an unknown ball or noise,
            or no method to explain with.
        NotDefinedError: "row" or "synonym" with a model that has no word embeddings.

    Example:
        phi = 2 x changes by 2 |delta|, and |delta| / |x| is r at the corners of the ball around x =
        1.

        >>> import torch
        >>> from igbench.metrics import avg_sensitivity
        >>> x, f = torch.ones(1, 4, dtype=torch.float64), lambda x: (x**2).sum(dim=1)
        >>> explain = lambda x, target: 2 * x
        >>> found = avg_sensitivity(f, x, 2 * x, explain=explain, radius=0.02, noise="extremes")
        >>> found.round(decimals=6).tolist()
        [0.02]
    """

    name = "avg_sensitivity"
    explains = "How much does the map change, on average, when the input changes a little?"
    reference = "Bhatt, Weller, Moura 2020, definition 2"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Average sensitivity ({self.describe()})"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Responses
    ) -> dict[str, Measurement]:
        """The mean relative change of every attribution."""
        result = {}
        for name, attribution in attributions.items():
            change = observation.changes(name, attribution) / sizes(batch, attribution)[:, None]
            error = change.std(dim=1) / math.sqrt(self.draws) if self.draws > 1 else None
            result[name] = Measurement(change.mean(dim=1), error, NO_SCALE)
        return result


@dataclass(frozen=True)
class LocalLipschitz(Neighbourhood):
    """Local Lipschitz estimate: max over D draws of |phi(x + delta) - phi(x)|_2 / |delta|_2.

    Random points of the ball take the place of the paper's search: a lower bound of the supremum,
    which grows with D.  It has the unit of the map over that of the input, so methods of different
    scale are comparable only with `relative`.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite.  The standard error
    is how far this maximum varies with the draws, see `igbench.metrics.monte_carlo.maximum`.  Cost:
    D explanations for each method, shared with `MaxSensitivity` and `AvgSensitivity`.

    Source: Alvarez-Melis and Jaakkola 2018, On the robustness of interpretability methods, eq. 2.

    Args:
        radius: Radius r of the ball, in units of `scale`.
        draws: Number D of changed inputs for each sample.
        ball: "linf" (every element changes by at most r) or "l2" (Euclidean norm of at most r).
        noise: "uniform" in the ball, or "extremes": its corners (every element by +r or -r, with
            equal odds) or, for "l2", its surface.  Where a map is locally affine its largest change
            is at an extreme point, so "extremes" is the tighter bound for the same cost.  Or
            "synonym" for texts: one token becomes one of its nearest, both drawn at random.
        scale: Unit of the radius: "input", 1 in units of the model's input; or "row", the median
            norm of the word embeddings of a model of texts.  None: "row" for texts.
        neighbours: Number of nearest embeddings among which "synonym" draws.
        relative: Divide by |phi(x)|_2 too.

    Raises:
        InputError: A radius or a number of draws that is not above zero, an unknown ball or noise,
            or no method to explain with.
        NotDefinedError: "row" or "synonym" with a model that has no word embeddings.

    Example:
        phi = 2 x changes by 2 |delta|.

        >>> import torch
        >>> from igbench.metrics import local_lipschitz
        >>> x, f = torch.ones(1, 4, dtype=torch.float64), lambda x: (x**2).sum(dim=1)
        >>> found = local_lipschitz(f, x, 2 * x, explain=lambda x, target: 2 * x)
        >>> found.round(decimals=6).tolist()
        [2.0]
    """

    name = "local_lipschitz"
    explains = "How fast does the map change with the input, at worst?"
    reference = "Alvarez-Melis, Jaakkola 2018 (robustness), eq. 2"

    relative: bool = False

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
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
                slopes = slopes / sizes(batch, attribution)[:, None]
            result[name] = Measurement(*maximum(slopes), reason=NO_SCALE)
        return result
