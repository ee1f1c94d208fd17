"""Baselines: reference inputs x' that stand for the absence of features.

Every baseline is a frozen dataclass that maps (x (N, *F), sample_ids, data, seed) to (N, *F) in the
dtype and on the device of x.  The value of a sample depends on that sample alone, not on its batch.
Random ones draw from generators keyed by (seed, sample id).  `data` (an
`igbench.core.dataset.Data`) defines black and white, and holds a pool of reference samples that are
never evaluated.

Sturmfels, Lundberg and Lee 2020, "Visualizing the Impact of Feature Attribution Baselines"
(Distill), compares most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.baselines.base import Baseline, check_ids, like
from igbench.baselines.plain import (
    MOST_BLUR,
    Black,
    Blur,
    ChannelMean,
    Constant,
    GaussianNoise,
    UniformNoise,
    White,
    Zero,
)
from igbench.baselines.pool import (
    Counterfactual,
    DataDistribution,
    FeatureMean,
    FeatureMedian,
    FeatureMode,
    MaximumDistance,
)
from igbench.baselines.replacement import Mask, MeanToken, Pad, Replacement, Unknown
from igbench.core import callers
from igbench.core.content import short_hash
from igbench.core.dataset import Data
from igbench.errors import check_choice

NAMED: dict[str, Callable[[], Baseline]] = {
    "zero": Zero,
    "black": Black,
    "white": White,
    "channel_mean": ChannelMean,
    "blur": Blur,
    "uniform_noise": UniformNoise,
    "gaussian_noise": GaussianNoise,
    "feature_mean": FeatureMean,
    "feature_median": FeatureMedian,
    "feature_mode": FeatureMode,
    "maximum_distance": MaximumDistance,
    "data_distribution": DataDistribution,
    "counterfactual": Counterfactual,
    "mask": Mask,
    "pad": Pad,
    "unk": Unknown,
    "mean_token": MeanToken,
}
"""Baselines by their names in configurations."""


def named(name: str) -> Baseline:
    """The baseline with a name, with its default arguments.

    Raises:
        InputError: No baseline has that name.

    >>> named("blur")
    Blur(sigma=10.0)
    """
    check_choice("baseline", name, tuple(NAMED))
    return NAMED[name]()


@dataclass(frozen=True, eq=False, repr=False)
class Given(Baseline):
    """Given: x' is a tensor of the caller's, one for all samples (*F) or one for each (S, *F).

    Attributes:
        values: (S, *F).
        sample_ids: S names.
    """

    values: Tensor
    sample_ids: tuple[str, ...]

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        check_ids(x, sample_ids)
        rows = [self.sample_ids.index(s) for s in sample_ids]
        return like(self.values[rows], x).clone()

    def __repr__(self) -> str:
        return f"Given({tuple(self.values.shape)}, {short_hash(self.values)})"


def as_baseline(given: Baseline | str | float | Tensor | None, data: Data) -> Baseline:
    """A baseline of whatever a caller gives.

    Args:
        given: A name, a number, an array that broadcasts to the samples (S, *F), a baseline, or
            None for zero.
        data: The samples.

    Raises:
        InputError: An unknown name, an array of another shape, or a baseline that is defined for
            no sample of the data.

    >>> as_baseline(0.5, data=None)
    Constant(value=0.5)
    """
    if given is None:
        return Zero()
    if isinstance(given, str):
        given = named(given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Constant(float(given))
    if callable(given) and not isinstance(given, type):
        _check_defined(given, data)
        return given
    values, whole = callers.tensor("baseline", given), (len(data), *data.shape)
    return Given(callers.broadcast("baseline", values, whole, "samples"), data.sample_ids)


def _check_defined(baseline: Baseline, data: Data) -> None:
    """Raise, before any work, if a baseline of igbench's is defined for no sample of the data."""
    if type(baseline) not in NAMED.values():
        return
    if isinstance(baseline, Counterfactual) and data.reference is not None:
        return  # depends on the class of each sample
    baseline(torch.zeros(1, *data.shape), data.sample_ids[:1], data, 0)


__all__ = [
    "MOST_BLUR",
    "NAMED",
    "Baseline",
    "Black",
    "Blur",
    "ChannelMean",
    "Constant",
    "Counterfactual",
    "DataDistribution",
    "FeatureMean",
    "FeatureMedian",
    "FeatureMode",
    "GaussianNoise",
    "Given",
    "Mask",
    "MaximumDistance",
    "MeanToken",
    "Pad",
    "Replacement",
    "UniformNoise",
    "Unknown",
    "White",
    "Zero",
    "as_baseline",
    "named",
]
