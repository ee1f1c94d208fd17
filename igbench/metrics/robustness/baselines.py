"""Baseline sensitivity: change of the map with the choice of the baseline."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench import baselines as references
from igbench.core import features as feature_units
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.dataset import Data
from igbench.core.features import Features
from igbench.errors import InputError, SampleError, check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import mean_of, repeated
from igbench.metrics.reexplain import explained, method_of_batch
from igbench.metrics.similarity import on_grid, rank_correlation

NAMES = ("zero", "channel_mean", "blur", "uniform_noise")
TITLES = {
    "rank": "1 - Spearman of magnitudes, mean over pairs",
    "spread": "standard deviation over mean",
    "blind": "share of zeros",
}
HIGH = {"rank": 2.0, "spread": math.inf, "blind": 1.0}
REASONS = {
    "rank": "the map of a baseline is flat or not finite",
    "spread": "the mean map is zero, or a map is not finite",
    "blind": "a map is not finite",
}


@dataclass(frozen=True)
class BaselineSensitivity(BaseMetric):
    """Baseline sensitivity: difference of the maps of B baselines; 0 for methods that use none.

    There is no agreed number, so these are defined here.  With phi_b the map of baseline b, summed
    over each feature:

    - "rank": mean over the B (B - 1) / 2 pairs of 1 - Spearman(|phi_b|, |phi_c|), in [0, 2];
    - "spread": sum_i sd_b(phi_i) / sum_i |mean_b phi_i| with the standard deviation over the B maps
      (denominator B), in [0, inf);
    - "blind": mean over b of the share of features with phi_i = 0, in [0, 1]: where x_i = x'_i a
      baseline-based map is zero.

    The curve "baseline_blind" has the share of "blind" for each baseline, in their order.

    Lower is better.  Undefined where a map is not finite; "rank" also where it is flat, "spread"
    where the mean map is zero.  Where a baseline is drawn at random, the value is the mean over R
    repeats with other draws of it, and the standard error is that of this mean; the other maps are
    not made again.  Cost: B explanations for each method, and R - 1 for each random baseline (5 by
    default).

    Source: defined here, after Sturmfels, Lundberg and Lee 2020.

    Args:
        statistic: "rank", "spread" or "blind".
        among: B names from `igbench.baselines.NAMED`, two or more; None for zero, channel_mean,
            blur and uniform_noise on images, and zero and gaussian_noise elsewhere.
        features: Unit that is compared, see `igbench.core.features.resolve`; None for the unit of
            the data (pixels of images, elements otherwise, by default).
        data: Data with black, white and the pool of references; in an experiment its own.
        repeats: Number R of repeats; 1 gives no standard error.

    Raises:
        InputError: Unknown names, fewer than two baselines, one that the data cannot make, fewer
            than one repeat, or no method to explain with.

    Example:
        x - x' at x = (1, 3) is (1, 3) for the baseline 0 and (-1, 1) for the mean 2: standard
        deviations of 1 and 1, a mean of (0, 2).

        >>> import torch
        >>> from igbench.metrics import baseline_sensitivity
        >>> x, f = torch.tensor([[[[1.0, 3.0]]]]).double(), lambda x: x.sum(dim=(1, 2, 3))
        >>> change, among = lambda batch: batch.x - batch.baseline, ("zero", "channel_mean")
        >>> found = baseline_sensitivity(f, x, x, method=change, among=among, statistic="spread")
        >>> found.tolist()
        [1.0]
    """

    foldable = True
    name = "baseline_sensitivity"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "baseline_blind": (
            "place of the baseline among those of the metric, from 0",
            "fraction of features with an attribution of zero",
        ),
    }
    family = "robustness"
    needs_method = True
    explains = "How much does the map depend on the choice of the baseline?"
    direction = "lower"
    reference = "defined here, after Sturmfels, Lundberg, Lee 2020"
    image_defaults: ClassVar[Mapping[str, Any]] = {"among": NAMES}
    other_defaults: ClassVar[Mapping[str, Any]] = {"among": ("zero", "gaussian_noise")}

    statistic: Literal["rank", "spread", "blind"] = "rank"
    among: Sequence[str] | None = None
    features: str | Tensor | None = None
    data: Data | None = field(default=None, repr=False, compare=False)
    repeats: int = 2

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        among = ", ".join(self.among or ["baselines that fit the data"])
        return f"Baseline sensitivity ({TITLES[self.statistic]}; {among})"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return 0, HIGH[self.statistic]

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return REASONS[self.statistic]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("repeats", self.repeats)
        check_choice("statistic", self.statistic, tuple(TITLES))
        if self.among is None:
            return
        object.__setattr__(self, "among", tuple(self.among))
        for name in self.among:
            references.named(name)
        if len(set(self.among)) < 2 or len(set(self.among)) < len(self.among):
            raise InputError(
                f"among = {list(self.among)} does not fit; give two or more different ones."
            )

    @property
    def sharing_key(self) -> object:
        """All statistics of the same baselines share an observation."""
        return (BaselineSensitivity, self.among, self.repeats)

    def observe(self, batch: Batch) -> list[list[Tensor]]:
        """The baselines, R of B of (N, *F).

        Raises:
            InputError: A baseline that the data cannot make.
        """
        data = bare(batch) if self.data is None else self.data

        def of(name: str, seed: int) -> Tensor:
            made = references.named(name)(batch.x, batch.sample_ids, data, seed)
            return made if batch.still is None else batch.x.where(batch.still, made)

        return [
            [of(name, own.metric_seed) for name in self._among(batch)]
            for own in repeated(batch, self.repeats)
        ]

    def _among(self, batch: Batch) -> Sequence[str]:
        return self.for_shape(batch.x.shape[1:]).among or ()

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[list[Tensor]]
    ) -> dict[str, Measurement]:
        """The statistic of every attribution."""
        features = self.features_of(batch)
        grid = max(torch.finfo(batch.x.dtype).eps, 1e-12)
        places = [float(b) for b in range(len(self._among(batch)))]
        result: dict[str, Measurement] = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            found = []
            for sums in self._sums(name, attribution, batch, observation, features):
                zeros = (sums == 0).double().mean(dim=2)
                zeros = zeros.where(sums.isfinite().all(dim=2), math.nan)
                found.append(
                    Measurement(
                        self._value(sums, zeros, grid),
                        reason=REASONS[self.statistic],
                        curves={"baseline_blind": (places, zeros)},
                    )
                )
            result |= mean_of([{name: one} for one in found])
        return result

    def _value(self, sums: Tensor, zeros: Tensor, grid: float) -> Tensor:
        if self.statistic == "blind":
            return zeros.mean(dim=1)
        return disagreement(sums, grid) if self.statistic == "rank" else spread(sums)

    def _sums(
        self,
        name: str,
        attribution: Attribution,
        batch: Batch,
        observation: list[list[Tensor]],
        features: Features,
    ) -> list[Tensor]:
        """The B maps of one method, summed over features, R of (N, B, G) float64."""
        maps: list[list[Tensor]] = []
        for baselines in observation:
            own = []
            for b, baseline in enumerate(baselines):
                if maps and torch.equal(baseline, observation[0][b]):
                    own.append(maps[0][b])
                    continue
                again = explained(name, attribution, replace(batch, baseline=baseline))
                own.append(feature_units.total(again, features))
            maps.append(own)
        return [torch.stack(own, dim=1) for own in maps]


def disagreement(sums: Tensor, grid: float) -> Tensor:
    """Mean over pairs of 1 - Spearman of magnitudes, (N, B, G) to (N,); NaN for flat maps.

    Args:
        sums: (N, B, G) B maps of each sample.
        grid: Differences below this share of the largest value are rounding.
    """
    sizes = [on_grid(sums[:, b].abs(), grid) for b in range(sums.shape[1])]
    pairs = [1 - rank_correlation(a, b) for a, b in itertools.combinations(sizes, 2)]
    return torch.stack(pairs).mean(dim=0)


def spread(sums: Tensor) -> Tensor:
    """Standard deviation over mean: sum_i sd_b(phi_i) / sum_i |mean_b phi_i|, (N, B, G) to (N,)."""
    scale = sums.mean(dim=1).abs().sum(dim=1)
    found = sums.std(dim=1, correction=0).sum(dim=1) / scale
    return found.where(scale > 0, math.nan)


def bare(batch: Batch) -> Data:
    """Data for samples without a data set: black is 0, and there is no pool of references."""

    def nothing(index: int) -> Tensor:
        raise SampleError("these samples have no source")

    return Data(
        name="given",
        kind="image" if batch.x.dim() == 4 else "table",
        shape=tuple(batch.x.shape[1:]),
        sample_ids=batch.sample_ids,
        labels=(None,) * len(batch),
        load=nothing,
        features="element",
        display=None,
        black=(0.0,),
        reference=None,
        source="given by the caller",
    )
