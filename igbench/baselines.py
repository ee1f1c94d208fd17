"""What stands for "nothing there"?  Reference inputs x', each a function of the sample.

Every baseline is a frozen dataclass that maps (x (N, *F), sample_ids, data, seed) to (N, *F) in the
dtype and on the device of x.  The value of a sample hangs on that sample alone: not on the batch it
comes in.  Random ones draw from generators keyed by the sample.

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

from igbench import checks, keyed
from igbench.checks import InputError
from igbench.sources import Data


class Baseline(Protocol):
    """A choice of reference input."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F) of the samples x (N, *F)."""
        ...


@dataclass(frozen=True)
class Zero:
    """x' = 0 in the space of the model; for normalised images about the mean colour."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Constant:
    """x' = value everywhere, in the space of the model."""

    value: float

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        return torch.full_like(x, self.value)


@dataclass(frozen=True)
class Black:
    """x' = black (or absence) of each channel, as the data defines it."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        channels = x.shape[1]
        if len(data.black) not in (1, channels):
            raise InputError(
                f"data {data.name!r} defines black for {len(data.black)} channels, the samples "
                f"have {channels}; choose another baseline, for example baseline=zero."
            )
        black = _like(torch.tensor(data.black, dtype=torch.float64), x)
        return black.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x).clone()


@dataclass(frozen=True)
class ChannelMean:
    """x'[c, i, j] = mean of x[c] over all pixels: the sample's own colour, without its content."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        axes = _spatial_axes("channel_mean", x)
        return _each(lambda s: s.mean(dim=axes, keepdim=True).expand_as(s), x)


@dataclass(frozen=True)
class Blur:
    """x' = x convolved with a Gaussian over the pixels of each channel.

    Computed in float64 by `scipy.ndimage.gaussian_filter`: kernel cut at 4 sigma, edges mirrored.

    Attributes:
        sigma: Standard deviation of the Gaussian, in pixels of the model's input.
    """

    sigma: float = 10.0

    def __post_init__(self) -> None:
        checks.positive("baseline.sigma", self.sigma)

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        axes = _spatial_axes("blur", x)
        return _each(
            lambda s: torch.from_numpy(gaussian_filter(s.numpy(), self.sigma, axes=axes)), x
        )


@dataclass(frozen=True)
class UniformNoise:
    """x' = least + (greatest - least) u, with u uniform in [low, high), for every element.

    The range of an image is that of each of its own channels; the range of other samples is that
    of each feature over the data's reference samples.

    Attributes:
        low: Share of the range where the noise starts; 0 is the least value.
        high: Share of the range where it ends; 1 is the greatest value.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
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
class GaussianNoise:
    """x' = x + sigma e, with e standard normal for every element: a reference around the input.

    It is not clipped to valid pixels.

    Attributes:
        sigma: Standard deviation of the noise, in the units of the model's (normalised) input.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        checks.positive("baseline.sigma", self.sigma)

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        _check_ids(x, sample_ids)
        noise = _draws(torch.randn, x, sample_ids, seed, "baseline gaussian noise")
        return _like(_exact(x) + self.sigma * noise, x)


@dataclass(frozen=True)
class FeatureMean:
    """x' = mean of every feature over samples that are never evaluated."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        pool = _reference("feature_mean", data)
        return _like(pool.mean(dim=0), x).expand_as(x).clone()


@dataclass(frozen=True)
class FeatureMedian:
    """x' = median of every feature over samples that are never evaluated.

    With an even number of them it is the mean of the middle two.
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        ranked = _reference("feature_median", data).sort(dim=0).values
        n = len(ranked)
        median = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
        return _like(median, x).expand_as(x).clone()


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
    return keyed.per_sample(
        lambda g: draw(x.shape[1:], generator=g, dtype=torch.float64),
        seed,
        purpose,
        sample_ids,
        _exact(x),
    )


def _spatial_axes(name: str, x: Tensor) -> tuple[int, ...]:
    """The axes of one sample after its channels; raises where there are none."""
    if x.dim() < 3:
        raise InputError(
            f"baseline={name} needs samples with pixels, these have shape {tuple(x.shape[1:])}; "
            "choose another baseline, for example baseline=feature_mean."
        )
    return tuple(range(1, x.dim() - 1))


def _reference(name: str, data: Data) -> Tensor:
    """The pool of samples that are never evaluated, (R, *F), in float64 on the CPU."""
    if data.reference is None:
        raise InputError(
            f"baseline={name} needs samples that are never evaluated, and data {data.name!r} keeps "
            "none; set a smaller limit, or choose a baseline that needs none, for example "
            "baseline=zero."
        )
    return _exact(data.reference())
