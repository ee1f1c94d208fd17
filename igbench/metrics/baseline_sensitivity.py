"""Baseline sensitivity: how much does the map hang on the choice of the baseline?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from igbench import baselines as references
from igbench import checks
from igbench import features as feature_units
from igbench.metrics.again import explained, method_of_batch
from igbench.metrics.similarity import on_grid, rank_correlation
from igbench.rows import MetricSpec
from igbench.sources import Data
from igbench.types import Attribution, Batch, Features, Measurement

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
class BaselineSensitivity:
    """How much the maps of B baselines differ; 0 for methods that use none.

    After Sturmfels, Lundberg and Lee 2020; there is no agreed number, so these are defined here.
    With phi_b the map of baseline b, summed over each feature:

    - "rank": mean over the B (B - 1) / 2 pairs of 1 - Spearman(|phi_b|, |phi_c|), in [0, 2];
    - "spread": sum_i sd_b(phi_i) / sum_i |mean_b phi_i| with the standard deviation over the B maps
      (denominator B), in [0, inf);
    - "blind": mean over b of the share of features with phi_i = 0: where x_i = x'_i a
      baseline-based map sees nothing.  In [0, 1].

    The curve "baseline_blind" has the share of "blind" for each baseline, in their order.

    Args:
        statistic: "rank", "spread" or "blind".
        baselines: Names from `igbench.baselines.NAMED`, two or more.
        features: What one feature is; None for the default of the data.
        data: What black, white and the pool are; an experiment gives its own.

    Raises:
        InputError: Unknown names, fewer than two baselines, or one that the data cannot make.
    """

    statistic: Literal["rank", "spread", "blind"] = "rank"
    baselines: Sequence[str] = NAMES
    features: str | None = None
    data: Data | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.known_name("statistic", self.statistic, tuple(TITLES))
        object.__setattr__(self, "baselines", tuple(self.baselines))
        for name in self.baselines:
            references.named(name)
        if len(set(self.baselines)) < 2 or len(set(self.baselines)) < len(self.baselines):
            raise checks.InputError(
                f"baselines = {list(self.baselines)} does not fit; give two or more different ones."
            )

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Baseline sensitivity ({TITLES[self.statistic]}; {', '.join(self.baselines)})",
            "lower",
            0,
            HIGH[self.statistic],
            1,
            "defined here, after Sturmfels, Lundberg, Lee 2020",
            unit=self.features or "as the data",
            undefined=REASONS[self.statistic],
            min_effect=0.01,
        )

    @property
    def observation_key(self) -> object:
        """The baselines; the statistics share them."""
        return (BaselineSensitivity, self.baselines)

    def observe(self, batch: Batch) -> list[Tensor]:
        """The baselines, B of (N, *F)."""
        data = bare(batch) if self.data is None else self.data
        return [
            references.named(name)(batch.x, batch.sample_ids, data, batch.seed)
            for name in self.baselines
        ]

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Tensor]
    ) -> dict[str, Measurement]:
        """The statistic of every attribution."""
        spec = batch.features if self.features is None else self.features
        features = feature_units.resolve(spec, tuple(batch.x.shape[1:]))
        grid = max(torch.finfo(batch.x.dtype).eps, 1e-12)
        result = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            sums = self._sums(name, attribution, batch, observation, features)
            zeros = (sums == 0).double().mean(dim=2)
            zeros = zeros.where(sums.isfinite().all(dim=2), math.nan)
            value = self._value(sums, zeros, grid)
            places = [float(b) for b in range(len(observation))]
            result[name] = Measurement(
                value, reason=REASONS[self.statistic], curves={"baseline_blind": (places, zeros)}
            )
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
        observation: list[Tensor],
        features: Features,
    ) -> Tensor:
        """The B maps of one method, summed over features, (N, B, G) float64."""
        maps = [
            explained(name, attribution, replace(batch, baseline=baseline))
            for baseline in observation
        ]
        return torch.stack([feature_units.total(m, features) for m in maps], dim=1)


def disagreement(sums: Tensor, grid: float) -> Tensor:
    """Mean over pairs of 1 - Spearman of magnitudes, (N, B, G) to (N,); NaN for flat maps.

    Args:
        sums: B maps of each sample.
        grid: Differences below this share of the largest value are rounding.
    """
    sizes = [on_grid(sums[:, b].abs(), grid) for b in range(sums.shape[1])]
    pairs = [1 - rank_correlation(a, b) for a, b in itertools.combinations(sizes, 2)]
    return torch.stack(pairs).mean(dim=0)


def spread(sums: Tensor) -> Tensor:
    """sum_i sd_b(phi_i) / sum_i |mean_b phi_i|, (N, B, G) to (N,)."""
    scale = sums.mean(dim=1).abs().sum(dim=1)
    found = sums.std(dim=1, correction=0).sum(dim=1) / scale
    return found.where(scale > 0, math.nan)


def bare(batch: Batch) -> Data:
    """What is known of samples without a data set: black is 0, and there is no pool."""

    def nothing(index: int) -> Tensor:
        raise checks.SampleError("these samples have no source")

    return Data(
        name="given",
        kind="image" if batch.x.dim() == 4 else "table",
        shape=tuple(batch.x.shape[1:]),
        sample_ids=batch.sample_ids,
        labels=(None,) * len(batch),
        load=nothing,
        features=batch.features,
        display=None,
        black=(0.0,),
        reference=None,
        source="given by the caller",
    )
