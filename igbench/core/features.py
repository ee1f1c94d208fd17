"""Features: the elements, pixels or patches that metrics remove together."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from igbench.core import callers
from igbench.errors import InputError, NotDefinedError


@dataclass(frozen=True)
class Features:
    """Elements of a sample that are changed together, as one feature.

    Attributes:
        name: "element", "pixel", "patch:16", ...
        index: (*F) for all samples, or (N, *F): the feature 0..G-1 of every element.
        count: G.
    """

    name: str
    index: Tensor
    count: int


_AS_ELEMENTS = ("element", "pixel")
"""Features that are numbered as the elements (of the first channel) are."""


def as_unit(features: Any) -> str | Tensor:
    """The name of a unit as it is, or feature numbers in any form of an array as a tensor.

    >>> as_unit("pixel"), as_unit([0, 0, 1])
    ('pixel', tensor([0, 0, 1]))
    """
    return features if isinstance(features, str) else callers.tensor("features", features)


_UNIT = re.compile(r"element|pixel|patch:([1-9][0-9]{0,5})")
_PLAYERS = re.compile(r"superpixel(:([2-9]|[1-9][0-9]{1,5}))?")


def check_unit(features: Any, *, players: bool) -> None:
    """Raise unless this may be a unit of samples of some shape; None is decided later.

    Args:
        features: A name or feature numbers, see `resolve`.
        players: Whether superpixels are among the names.

    Raises:
        InputError: An unknown name, or an array of something else than whole numbers.

    >>> check_unit("pixel", players=False)
    """
    if features is None:
        return
    found = as_unit(features)
    if isinstance(found, Tensor):
        if found.is_floating_point() or found.dtype == torch.bool or not found.numel():
            raise InputError(
                f"features have shape {tuple(found.shape)} and type {found.dtype}; expected "
                "integers, one for each element of a sample."
            )
    elif not (_UNIT.fullmatch(found) or (players and _PLAYERS.fullmatch(found))):
        more = ", 'superpixel:S'" if players else ""
        raise InputError(
            f"features {found!r} do not fit any samples; use 'element', 'pixel', 'patch:P'{more} "
            "or an integer tensor."
        )


def resolve(spec: Any, shape: tuple[int, ...]) -> Features:
    """The features of samples of one shape.

    Args:
        spec: "element" (every number by itself), "pixel" (all channels of a position together,
            with the channels on the first axis: pixels of images (C, H, W), time steps of series
            (C, T), voxels of volumes and videos; a plain vector has one channel), "patch:P"
            (squares of P x P pixels, channels together; smaller ones at the border), or an integer
            array (*F) of feature numbers 0..G-1.
        shape: *F; images are (C, H, W).

    Raises:
        InputError: The name is unknown or does not fit the shape.

    >>> resolve("patch:2", (1, 2, 4)).index.tolist()
    [[[0, 0, 1, 1], [0, 0, 1, 1]]]
    >>> resolve("pixel", (2, 3)).index.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    spec = as_unit(spec)
    if isinstance(spec, Tensor):
        return _explicit(spec, shape)
    elements = torch.arange(torch.Size(shape).numel()).view(shape)
    if spec == "element" or (spec == "pixel" and len(shape) == 1):
        return Features(spec, elements, elements.numel())
    if spec == "pixel":
        return Features(spec, elements[:1].expand(shape), elements[0].numel())
    patch = _UNIT.fullmatch(spec)
    if patch and patch[1] and len(shape) == 3:
        return _patches(spec, int(patch[1]), shape)
    raise NotDefinedError(
        f"features {spec!r} do not fit samples of shape {shape}; use 'element', 'pixel' (all "
        "channels of a position), 'patch:P' (images) or an integer tensor of that shape."
    )


def _explicit(index: Tensor, shape: tuple[int, ...]) -> Features:
    if tuple(index.shape) != shape or index.is_floating_point():
        raise InputError(
            f"features have shape {tuple(index.shape)} and type {index.dtype}; expected integers "
            f"of shape {shape}."
        )
    count = int(index.max()) + 1
    if int(index.min()) < 0 or len(index.unique()) != count:
        raise InputError("feature numbers must be 0..G-1 with none left out.")
    return Features(f"custom:{count}", index.long(), count)


def _patches(name: str, side: int, shape: tuple[int, ...]) -> Features:
    _, h, w = shape
    columns = -(-w // side)
    row, column = torch.arange(h) // side, torch.arange(w) // side
    index = (row[:, None] * columns + column[None, :]).expand(shape)
    return Features(name, index, -(-h // side) * columns)


def total(values: Tensor, features: Features) -> Tensor:
    """Sum a map over the elements of each feature, (N, *F) to (N, G), in float64.

    >>> total(torch.tensor([[1.0, 2.0, 4.0]]), resolve(torch.tensor([0, 1, 1]), (3,))).tolist()
    [[1.0, 6.0]]
    """
    flat = values.flatten(1).double()
    index = features.index.reshape(1, -1).to(flat.device).expand(len(flat), -1)
    return flat.new_zeros(len(flat), features.count).scatter_add_(1, index, flat)


def spread(per_feature: Tensor, features: Features) -> Tensor:
    """Give every element the value of its feature, (D, G) to (D, *F); channels may share memory.

    >>> spread(torch.tensor([[7, 9]]), resolve(torch.tensor([0, 1, 1]), (3,))).tolist()
    [[7, 9, 9]]
    """
    index = features.index
    shape = (len(per_feature), *index.shape)
    if index.dim() > 1 and (features.name == "pixel" or _shared(index)):
        index = index[:1]
    if features.name not in _AS_ELEMENTS:
        per_feature = per_feature[:, index.to(per_feature.device).reshape(-1)]
    return per_feature.reshape(len(per_feature), *index.shape).expand(shape)


def on(features: Features, device: torch.device) -> Features:
    """The same features with their index on a device; channels still share memory."""
    index = features.index
    if _shared(index):  # a copy would have memory for each channel
        return replace(features, index=index[:1].to(device).expand(index.shape))
    return replace(features, index=index.to(device))


def _shared(index: Tensor) -> bool:
    """Whether all channels share the memory of one: they have the same features."""
    return index.dim() > 1 and index.stride(0) == 0


def check_shares(shares: Sequence[float], what: str = "fractions") -> tuple[float, ...]:
    """Shares as a tuple: fractions of G below 1, or whole numbers of features, above zero.

    Args:
        shares: The shares.
        what: Name of the argument, for the message.

    Raises:
        InputError: There are none, or one is neither.

    >>> check_shares([0.1, 3])
    (0.1, 3)
    """
    found = tuple(shares)
    if not found or any(not s > 0 or (s >= 1 and s != int(s)) for s in found):
        raise InputError(
            f"{what} = {list(found)} does not fit; it must be above zero: fractions of the "
            "features below 1, or whole numbers of features."
        )
    return found


def counts_of(
    shares: Sequence[float],
    count: int,
    what: str = "fractions",
    rounding: Literal["nearest", "floor", "ceil"] = "nearest",
) -> list[int]:
    """Numbers of features, in the order of the shares.

    Args:
        shares: The shares.
        count: G.
        what: Name of the argument, for the message.
        rounding: "nearest" or "ceil", at least 1 each, or "floor", which may be 0.

    Raises:
        InputError: One is above G.

    >>> counts_of([0.01, 0.5, 3], count=10)
    [1, 5, 3]
    >>> counts_of([0.01, 0.5, 3], count=10, rounding="floor")
    [0, 5, 3]
    """

    def of(share: float) -> int:
        if rounding == "floor":  # 0.29 of 100 is 29, and not 28 for a rounding of the product
            return int(share * count + 1e-9)
        if rounding == "ceil":
            return max(1, math.ceil(share * count - 1e-9))
        return max(1, round(share * count))

    counts = [of(s) if s < 1 else int(s) for s in shares]
    if max(counts) > count:
        raise InputError(
            f"{what} asks for {max(counts)} features, the samples have {count}; use fractions "
            "below 1."
        )
    return counts
