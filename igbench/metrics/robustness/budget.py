"""Max-sensitivity-n: largest change of the map when up to n features change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.errors import check_choice
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import jackknife, maxima_without_each
from igbench.metrics.reexplain import method_of
from igbench.metrics.robustness.neighbourhood import (
    NO_SCALE,
    Neighbourhood,
    moves,
    sizes,
)


@dataclass(frozen=True)
class MaxSensitivityN(BaseMetric):
    """Max-sensitivity-n: max over changes of n features of |phi(x + delta) - phi(x)| / |phi(x)|.

    Max-sensitivity with a budget, in Euclidean norms: delta is zero outside a set of n features,
    |delta|_0 <= n, and

    - "noise": within the set it is the noise of `MaxSensitivity`, |delta|_inf <= r.  With n = G
      alone this is `MaxSensitivity` on the same noise;
    - "ablate": the features in the set go to the baseline; r does not matter.

    The D sets of a sample are the first n features of D random orders, so that sets of different
    size are nested, and all methods use the same sets and noise.  Several n are evaluated in rising
    order, and the value at n is the largest change so far, since a smaller set is within the budget
    too: the curve never falls with n.  The score is the mean over n.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite.  As a maximum over
    random draws it is a lower bound and grows with D.  The standard error is the jackknife's over
    draws, each left out for all n at once.  Cost: D explanations for each n and method (30 by
    default).

    This is a measure of the robustness of the *attribution*; the faithfulness measure that is
    called sensitivity-n is another metric, `SensitivityN`.

    Source: Yeh et al. 2019, definition 3.1, with |delta|_0 <= n.

    Args:
        n: Sizes of the sets: whole numbers, or fractions of G below 1.
        mode: "noise" or "ablate".
        radius: Radius r of the L_inf ball, in units of `scale`.
        draws: Number D of sets (and of noises) for each sample and n.
        noise: "uniform" or "extremes", see `MaxSensitivity`.
        features: Unit that changes, see `igbench.core.features.resolve`; None for the unit of the
            data (pixels of images, elements otherwise, by default).
        scale: Unit of the radius: "input", 1 in units of the model's input; or "row", the median
            norm of the word embeddings of a model of texts.  None: "row" for texts.

    Raises:
        InputError: Sizes that are not above zero or above G, unknown mode or noise, fewer than one
            draw, or no method to explain with.

    Example:
        phi = 2 x at (3, 4): the removal of the larger feature changes 8 of a norm of 10.

        >>> import torch
        >>> from igbench.metrics import max_sensitivity_n
        >>> x, f = torch.tensor([[3.0, 4.0]]).double(), lambda x: (x**2).sum(dim=1)
        >>> explain = lambda x, target: 2 * x
        >>> max_sensitivity_n(f, x, 2 * x, explain=explain, n=1, mode="ablate").tolist()
        [0.8]
    """

    foldable = True
    name = "max_sensitivity_n"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "max_sensitivity_n": (
            "largest fraction n / G of features that change",
            "largest relative change of the map so far",
        ),
    }
    family = "robustness"
    needs_method = True
    explains = "How much does the map change, at worst, when up to n features change?"
    direction = "lower"
    reference = "Yeh et al. 2019, definition 3.1, with |delta|_0 <= n"
    range = (0, math.inf)
    undefined = NO_SCALE
    image_defaults: ClassVar[Mapping[str, Any]] = {"scale": "input"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"scale": "input"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"text": {"scale": "row"}}

    n: float | Sequence[float] = (0.01, 0.1, 0.5)
    mode: Literal["noise", "ablate"] = "noise"
    radius: float = 0.02
    draws: int = 10
    noise: Literal["uniform", "extremes"] = "uniform"
    features: str | Tensor | None = None
    scale: Literal["input", "row"] | None = None

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        assert isinstance(self.n, tuple)
        budget = ", ".join(f"{n:g}" for n in self.n)
        how = self._neighbourhood().describe() if self.mode == "noise" else f"{self.draws} removals"
        return f"n-feature max-sensitivity, robustness (n = {budget}; {how}; grows with draws)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("mode", self.mode, ("noise", "ablate"))
        sizes_given = self.n if isinstance(self.n, Sequence) else (self.n,)
        object.__setattr__(self, "n", feature_units.check_shares(sizes_given, "n"))
        self._neighbourhood()

    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self.radius, self.draws, "linf", self.noise, self.scale)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The largest relative changes of every attribution, as a mean and as a curve over n."""
        features = self.features_of(batch)
        assert isinstance(self.n, tuple)
        budgets = sorted(set(feature_units.counts_of(self.n, features.count, "n")))
        result = {}
        for name, attribution in attributions.items():
            moved = torch.stack(
                [
                    self._moves(batch, i, name, attribution, budgets, features)
                    for i in range(len(batch))
                ]
            )
            relative = moved / sizes(batch, attribution)[:, None, None]
            curve = relative.amax(dim=2).cummax(dim=1).values
            error = None
            if self.draws > 1:
                without = maxima_without_each(relative).cummax(dim=1).values
                error = jackknife(without.mean(dim=1))
            result[name] = Measurement(
                curve.mean(dim=1),
                error,
                NO_SCALE,
                {"max_sensitivity_n": ([n / features.count for n in budgets], curve)},
            )
        return result

    def _moves(
        self,
        batch: Batch,
        i: int,
        name: str,
        attribution: Attribution,
        budgets: list[int],
        features: Features,
    ) -> Tensor:
        """|phi(x + delta) - phi(x)|_2 of one sample for every budget and draw, (n, D)."""
        method, x = method_of(name, attribution), batch.x[i]
        ranks = perturb.ranks(
            features.count, self.draws, batch.metric_seed, "max_sensitivity_n", batch.sample_ids[i]
        )
        if self.mode == "noise":
            changed = x + self._neighbourhood().deltas(batch, i)
        else:
            changed = batch.baseline[i : i + 1].expand(self.draws, *x.shape)
        found = []
        for n in budgets:
            inside = feature_units.spread((ranks < n).to(x.device), features)
            inputs = torch.where(inside, changed, x)
            found.append(moves(batch, i, inputs, attribution.values[i], method))
        return torch.stack(found)
