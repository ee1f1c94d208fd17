"""Baselines of the sample and of constants alone: zero, black, blur, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from igbench.baselines.base import (
    by_channel,
    check_ids,
    draws,
    each,
    exact,
    like,
    reference,
    spatial_axes,
)
from igbench.core.arguments import Checked
from igbench.core.dataset import Data
from igbench.errors import InputError, NotDefinedError, check_positive

MOST_BLUR = 10_000
"""Largest standard deviation of a blur in pixels; its kernel has eight times as many."""


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
        return by_channel("black", data.black, x, data).clone()


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
        return by_channel("white", data.white, x, data).clone()


@dataclass(frozen=True)
class ChannelMean:
    """Channel mean: x'[c, i, j] = mean of x[c] over all pixels, the sample's own colour.

    >>> x = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])  # one image, one channel
    >>> ChannelMean()(x, ["cat"], data=None, seed=0).tolist()
    [[[[3.0, 3.0], [3.0, 3.0]]]]
    """

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        axes = spatial_axes("channel_mean", x)
        return each(lambda s: s.mean(dim=axes, keepdim=True).expand_as(s), x)


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
        axes = spatial_axes("blur", x)
        return each(
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
        check_ids(x, sample_ids)
        unit = draws(torch.rand, x, sample_ids, seed, "baseline uniform noise")
        if x.dim() > 2:
            least, greatest = exact(x).flatten(2).aminmax(dim=2)
            shape = (*x.shape[:2], *[1] * (x.dim() - 2))
            least, greatest = least.view(shape), greatest.view(shape)
        else:
            least, greatest = reference("uniform_noise", data).aminmax(dim=0)
        share = self.low + (self.high - self.low) * unit
        return like(least + (greatest - least) * share, x)


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
        check_ids(x, sample_ids)
        noise = draws(torch.randn, x, sample_ids, seed, "baseline gaussian noise")
        return like(exact(x) + self.sigma * noise, x)
