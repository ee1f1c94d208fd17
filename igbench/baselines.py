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
from typing import Protocol

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from igbench.core import callers, rng
from igbench.core.arguments import Checked
from igbench.core.content import short_hash
from igbench.core.dataset import Data
from igbench.errors import InputError, NotDefinedError, check_choice, check_positive

MOST_BLUR = 10_000
"""Largest standard deviation of a blur in pixels; its kernel has eight times as many."""


class Baseline(Protocol):
    """Protocol of baselines: any function of this signature will do."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F) of the samples x (N, *F)."""
        ...


@dataclass(frozen=True)
class Zero:
    """Zero: x' = 0 in the space of the model; for normalised images about the mean colour."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Constant(Checked):
    """Constant: x' = value everywhere, in the space of the model.

    >>> Constant(0.5)(torch.ones(1, 2), ["cat"], data=None, seed=0).tolist()
    [[0.5, 0.5]]
    """

    value: float

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        return torch.full_like(x, self.value)


@dataclass(frozen=True)
class Black:
    """Black: x' = the data's black (or absence) of each channel."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        return _by_channel("black", data.black, x, data).clone()


@dataclass(frozen=True)
class White:
    """White: x' = the data's white of each channel."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        if not data.white:
            raise NotDefinedError(
                f"data {data.name!r} does not define white; choose another baseline, for example "
                "baseline=zero."
            )
        return _by_channel("white", data.white, x, data).clone()


@dataclass(frozen=True)
class ChannelMean:
    """Channel mean: x'[c, i, j] = mean of x[c] over all pixels, the sample's own colour.

    >>> x = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])  # one image, one channel
    >>> ChannelMean()(x, ["cat"], data=None, seed=0).tolist()
    [[[[3.0, 3.0], [3.0, 3.0]]]]
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        axes = _spatial_axes("channel_mean", x)
        return _each(lambda s: s.mean(dim=axes, keepdim=True).expand_as(s), x)


@dataclass(frozen=True)
class Blur(Checked):
    """Blur: x' = x convolved with a Gaussian over the pixels of each channel.

    Computed in float64 by `scipy.ndimage.gaussian_filter`: kernel cut at 4 sigma, edges mirrored.

    Attributes:
        sigma: Standard deviation of the Gaussian, in pixels of the model's input.
    """

    sigma: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("baseline.sigma", self.sigma)
        if self.sigma > MOST_BLUR:
            raise InputError(f"baseline.sigma is {self.sigma}; it must be at most {MOST_BLUR}.")

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        axes = _spatial_axes("blur", x)
        return _each(
            lambda s: torch.from_numpy(gaussian_filter(s.numpy(), self.sigma, axes=axes)), x
        )


@dataclass(frozen=True)
class UniformNoise(Checked):
    """Uniform noise: x' = least + (greatest - least) u, u uniform in [low, high), by element.

    The range of an image is that of each of its own channels; the range of other samples is that
    of each feature over the data's reference samples.

    Attributes:
        low: Share of the range where the noise starts; 0 is the least value.
        high: Share of the range where it ends; 1 is the greatest value.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise InputError(
                f"baseline.low is {self.low}, baseline.high {self.high}; low must be below high."
            )

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        _check_ids(x, sample_ids)
        unit = _draws(torch.rand, x, sample_ids, seed, "baseline uniform noise")
        if x.dim() > 2:
            least, greatest = _exact(x).flatten(2).aminmax(dim=2)
            shape = (*x.shape[:2], *[1] * (x.dim() - 2))
            least, greatest = least.view(shape), greatest.view(shape)
        else:
            least, greatest = _reference("uniform_noise", data).aminmax(dim=0)
        share = self.low + (self.high - self.low) * unit
        return _like(least + (greatest - least) * share, x)


@dataclass(frozen=True)
class GaussianNoise(Checked):
    """Gaussian noise: x' = x + sigma e, with e standard normal for every element.

    It is not clipped to valid pixels.

    Attributes:
        sigma: Standard deviation of the noise, in the units of the model's (normalised) input.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("baseline.sigma", self.sigma)

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        _check_ids(x, sample_ids)
        noise = _draws(torch.randn, x, sample_ids, seed, "baseline gaussian noise")
        return _like(_exact(x) + self.sigma * noise, x)


@dataclass(frozen=True)
class FeatureMean:
    """Feature mean: x' = mean of every feature over the data's reference samples."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        pool = _reference("feature_mean", data)
        return _like(pool.mean(dim=0), x).expand_as(x).clone()


@dataclass(frozen=True)
class FeatureMedian:
    """Feature median: x' = median of every feature over the data's reference samples.

    With an even number of them it is the mean of the middle two.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        ranked = _reference("feature_median", data).sort(dim=0).values
        n = len(ranked)
        median = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
        return _like(median, x).expand_as(x).clone()


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
            ends = [_by_channel(name, values, x, data) for name, values in pair]
        else:
            pool = _reference("maximum_distance", data)
            ends = [_like(v, x).expand_as(x) for v in pool.aminmax(dim=0)]
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
        _check_ids(x, sample_ids)
        pool = _reference("data_distribution", data)

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
        _check_ids(x, sample_ids)
        pool = _reference("counterfactual", data)
        labels = [None] * len(pool) if data.reference_labels is None else data.reference_labels()
        near = []
        for one, sample_id in zip(_exact(x), sample_ids, strict=True):
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
        return _like(torch.stack(near), x)


@dataclass(frozen=True)
class Replacement:
    """Replacement: x' = what the data offer in place of removed features, such as [MASK] tokens.

    Attributes:
        name: Name among `igbench.core.dataset.Data.replacements`.
    """

    name: str

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        known = {} if data is None else data.replacements
        if self.name not in known:
            has = f"has {', '.join(known)}" if known else "has none: they belong to texts"
            raise NotDefinedError(
                f"baseline={self.name} needs data with a replacement of that name, and data "
                f"{data.name!r} {has}; choose another baseline, for example baseline=zero."
            )
        return _like(torch.stack([known[self.name](one.clone()) for one in x]), x)


@dataclass(frozen=True)
class Mask(Replacement):
    """Mask: x' = the embedding of the [MASK] token at every token.  The default of masked models.

    The closest to what such a model saw in training.
    """

    name: str = "mask"


@dataclass(frozen=True)
class Pad(Replacement):
    """Pad: x' = the embedding of the [PAD] token at every token, still attended to.

    Padding was never attended to in training, so that row means nothing in particular.
    """

    name: str = "pad"


@dataclass(frozen=True)
class Unknown(Replacement):
    """Unknown: x' = the embedding of the token for unknown words at every token."""

    name: str = "unk"


@dataclass(frozen=True)
class MeanToken(Replacement):
    """Mean token: x' = the mean of all word embeddings at every token.

    The default of decoders, which have no [MASK].
    """

    name: str = "mean"


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
        _check_ids(x, sample_ids)
        rows = [self.sample_ids.index(s) for s in sample_ids]
        return _like(self.values[rows], x).clone()

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


def _by_channel(name: str, values: Sequence[float], x: Tensor, data: Data) -> Tensor:
    """One value for each channel, expanded to (N, *F)."""
    channels = x.shape[1]
    if len(values) not in (1, channels):
        raise NotDefinedError(
            f"data {data.name!r} defines {name} for {len(values)} channels, the samples have "
            f"{channels}; choose another baseline, for example baseline=zero."
        )
    value = _like(torch.tensor(values, dtype=torch.float64), x)
    return value.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x)


def _check_ids(x: Tensor, sample_ids: Sequence[str]) -> None:
    """Raise unless there is one identifier for each sample."""
    if len(sample_ids) != len(x):
        raise InputError(f"there are {len(sample_ids)} sample ids for {len(x)} samples.")


def _each(make: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`make` of every sample alone, so that no batch changes its rounding."""
    return _like(torch.stack([make(s.contiguous()) for s in _exact(x)]), x)


def _exact(x: Tensor) -> Tensor:
    """In float64 on the CPU, where every device and type gives the same reference."""
    return x.detach().cpu().double()


def _like(value: Tensor, x: Tensor) -> Tensor:
    """In the dtype and on the device of x."""
    return value.to(x.dtype).to(x.device)


def _draws(
    draw: Callable[..., Tensor], x: Tensor, sample_ids: Sequence[str], seed: int, purpose: str
) -> Tensor:
    """Float64 draws, so that samples of any dtype see the same ones: (N, *F)."""
    return rng.per_sample(
        lambda g: draw(x.shape[1:], generator=g, dtype=torch.float64),
        seed,
        purpose,
        sample_ids,
        _exact(x),
    )


def _spatial_axes(name: str, x: Tensor) -> tuple[int, ...]:
    """The axes of one sample after its channels; raises where there are none."""
    if x.dim() < 3:
        raise NotDefinedError(
            f"baseline={name} needs samples with pixels, these have shape {tuple(x.shape[1:])}; "
            "choose another baseline, for example baseline=feature_mean."
        )
    return tuple(range(1, x.dim() - 1))


def _reference(name: str, data: Data) -> Tensor:
    """The pool of samples that are never evaluated, (R, *F), in float64 on the CPU."""
    if data.reference is None:
        raise NotDefinedError(
            f"baseline={name} needs samples that are never evaluated, and data {data.name!r} keeps "
            "none; set a smaller limit where the rest is kept, give values from Python, such as "
            "baseline=train.mean(axis=0), or choose a baseline that needs none, for example "
            "baseline=zero."
        )
    return _exact(data.reference())
