"""Protocol of baselines, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.dataset import Data
from igbench.errors import InputError, NotDefinedError


class Baseline(Protocol):
    """Protocol of baselines: any function of this signature will do."""

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F) of the samples x (N, *F)."""
        ...


def by_channel(name: str, values: Sequence[float], x: Tensor, data: Data) -> Tensor:
    """One value for each channel, expanded to (N, *F)."""
    channels = x.shape[1]
    if len(values) not in (1, channels):
        raise NotDefinedError(
            f"data {data.name!r} defines {name} for {len(values)} channels, the samples have "
            f"{channels}; choose another baseline, for example baseline=zero."
        )
    value = like(torch.tensor(values, dtype=torch.float64), x)
    return value.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x)


def check_ids(x: Tensor, sample_ids: Sequence[str]) -> None:
    """Raise unless there is one identifier for each sample."""
    if len(sample_ids) != len(x):
        raise InputError(f"there are {len(sample_ids)} sample ids for {len(x)} samples.")


def each(make: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`make` of every sample alone, so that no batch changes its rounding."""
    return like(torch.stack([make(s.contiguous()) for s in exact(x)]), x)


def exact(x: Tensor) -> Tensor:
    """In float64 on the CPU, where every device and type gives the same reference."""
    return x.detach().cpu().double()


def like(value: Tensor, x: Tensor) -> Tensor:
    """In the dtype and on the device of x."""
    return value.to(x.dtype).to(x.device)


def draws(
    draw: Callable[..., Tensor], x: Tensor, sample_ids: Sequence[str], seed: int, purpose: str
) -> Tensor:
    """Float64 draws, so that samples of any dtype see the same ones: (N, *F)."""
    return rng.per_sample(
        lambda g: draw(x.shape[1:], generator=g, dtype=torch.float64),
        seed,
        purpose,
        sample_ids,
        exact(x),
    )


def spatial_axes(name: str, x: Tensor) -> tuple[int, ...]:
    """The axes of one sample after its channels; raises where there are none."""
    if x.dim() < 3:
        raise NotDefinedError(
            f"baseline={name} needs samples with pixels, these have shape {tuple(x.shape[1:])}; "
            "choose another baseline, for example baseline=feature_mean."
        )
    return tuple(range(1, x.dim() - 1))


def reference(name: str, data: Data) -> Tensor:
    """The pool of samples that are never evaluated, (R, *F), in float64 on the CPU."""
    if data.reference is None:
        raise NotDefinedError(
            f"baseline={name} needs samples that are never evaluated, and data {data.name!r} keeps "
            "none; set a smaller limit where the rest is kept, give values from Python, such as "
            "baseline=train.mean(axis=0), or choose a baseline that needs none, for example "
            "baseline=zero."
        )
    return exact(data.reference())
