"""Baselines of reference samples: mean, median, mode, draws and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.baselines.base import by_channel, check_ids, exact, like, reference
from igbench.core import rng
from igbench.core.arguments import Checked
from igbench.core.dataset import Data
from igbench.errors import NotDefinedError, check_positive


@dataclass(frozen=True)
class FeatureMean:
    """Feature mean: x' = mean of every feature over the data's reference samples."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        pool = reference("feature_mean", data)
        return like(pool.mean(dim=0), x).expand_as(x).clone()


@dataclass(frozen=True)
class FeatureMedian:
    """Feature median: x' = median of every number over the data's reference samples.

    With an even number of them it is the mean of the middle two.  A category, whose elements are
    one-hot in all of them, gets the most frequent one, as medians of its elements can be no
    category at all.  The default of Integrated Gradients on tables.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        pool = reference("feature_median", data)
        ranked = pool.sort(dim=0).values
        n = len(ranked)
        median = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
        flat, rows = median.flatten(), pool.flatten(1)
        for own in _columns(data):
            part = rows[:, own]
            if len(own) > 1 and _is_one_hot(part):
                flat[own] = _most_frequent(part)
        return like(flat.view_as(median), x).expand_as(x).clone()


@dataclass(frozen=True)
class FeatureMode:
    """Feature mode: x' = most frequent value of every feature over the data's reference samples.

    All elements of a feature, such as those of a one-hot column, take the value of the same sample;
    of values that are equally frequent that which comes first.  Meant for categories: numbers that
    hardly repeat have no telling mode, see `FeatureMedian`.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        pool = reference("feature_mode", data)
        rows = pool.flatten(1)
        mode = torch.empty_like(rows[0])
        for own in _columns(data):
            mode[own] = _most_frequent(rows[:, own])
        return like(mode.view_as(pool[0]), x).expand_as(x).clone()


@dataclass(frozen=True)
class MaximumDistance:
    """Maximum distance: x'_i = the end of the data's range that is farther from x_i.

    The input with the largest L1 and L2 distance.  The range is black to white where the data
    define them, and else that of each feature over the data's reference samples.  An element in the
    middle goes to the lower end.  Source: Sturmfels et al. 2020.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        if data.white:
            pair = (("black", data.black), ("white", data.white))
            ends = [by_channel(name, values, x, data) for name, values in pair]
        else:
            pool = reference("maximum_distance", data)
            ends = [like(v, x).expand_as(x) for v in pool.aminmax(dim=0)]
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        return torch.where(high - x > x - low, high, low)


@dataclass(frozen=True)
class DataDistribution(Checked):
    """Data distribution: x' = mean of a few of the data's reference samples, drawn for each sample.

    Drawn without replacement by (seed, sample id); with one of them x' is a real sample.

    Attributes:
        references: Number of samples drawn; all of them where there are no more.
    """

    references: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("baseline.references", self.references)

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        check_ids(x, sample_ids)
        pool = reference("data_distribution", data)

        def mean(g: torch.Generator) -> Tensor:
            return pool[torch.randperm(len(pool), generator=g)[: self.references]].mean(dim=0)

        return rng.per_sample(mean, seed, "baseline data distribution", sample_ids, x)


@dataclass(frozen=True)
class Counterfactual:
    """Counterfactual: x' = the nearest of the data's reference samples with another class.

    Nearest in L2, in the space of the model; of equally near ones the first.  Classes are true
    labels, not predictions.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        check_ids(x, sample_ids)
        pool = reference("counterfactual", data)
        labels = [None] * len(pool) if data.reference_labels is None else data.reference_labels()
        near = []
        for one, sample_id in zip(exact(x), sample_ids, strict=True):
            own = data.labels[data.sample_ids.index(sample_id)]
            others = [i for i, k in enumerate(labels) if None not in (k, own) and k != own]
            if not others:
                raise NotDefinedError(
                    "baseline=counterfactual needs a labelled sample that is never evaluated of "
                    f"another class than {sample_id!r} (class {own}), and data {data.name!r} has "
                    "none; choose another baseline, for example baseline=data_distribution."
                )
            distance = (pool[others] - one).flatten(1).square().sum(dim=1)
            near.append(pool[others[int(distance.argmin())]])
        return like(torch.stack(near), x)


def _columns(data: Data) -> list[Tensor]:
    """Positions of the elements of each feature; every element alone where there are no features.

    Elements that belong to no feature are alone too.
    """
    if not isinstance(data.groups, Tensor):
        return list(torch.arange(torch.Size(data.shape).numel()).split(1))
    numbers = data.groups.flatten()
    own = [(numbers == g).nonzero()[:, 0] for g in numbers.unique().tolist() if g >= 0]
    return own + list((numbers < 0).nonzero()[:, 0].split(1)) * bool((numbers < 0).any())


def _most_frequent(rows: Tensor) -> Tensor:
    """The row that is there most often, (R, E) to (E,); of equals the first."""
    _, place, counts = rows.unique(dim=0, return_inverse=True, return_counts=True)
    return rows[int(counts[place].argmax())]


def _is_one_hot(rows: Tensor) -> bool:
    """Whether each row (R, E) has a single one among zeros."""
    return bool(((rows == 0) | (rows == 1)).all()) and bool((rows.sum(dim=1) == 1).all())
