"""8-bit images for AIC and SIC: conversion, interpolation of unknown pixels, lossless file size."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator
from torch import Tensor

from igbench.core.dataset import Data
from igbench.errors import NotDefinedError


@dataclass(frozen=True)
class Levels:
    """Conversion between inputs and 8 bits: level u is black + u / 255 (white - black).

    Attributes:
        black: Input of level 0, one number for each of C channels.
        white: Input of level 255, one number for each of C channels.

    Example:
        >>> Levels((0.0,), (1.0,)).to_bytes(torch.tensor([[[0.0, 0.5, 2.0]]]))[0, :, 0].tolist()
        [0, 128, 255]
    """

    black: tuple[float, ...]
    white: tuple[float, ...]

    def to_bytes(self, x: Tensor) -> np.ndarray:
        """Nearest levels, (C, H, W) to (H, W, C) uint8; values outside are clipped."""
        black, white = self._ends()
        share = (x.detach().cpu().double() - black) / (white - black)
        levels = (share * 255).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(1, 2, 0).numpy()

    def to_input(self, image: np.ndarray, like: Tensor) -> Tensor:
        """Input of each level, (H, W, C) uint8 to (C, H, W), dtype and device of `like`."""
        black, white = self._ends()
        share = torch.from_numpy(image).permute(2, 0, 1).double() / 255
        return (black + share * (white - black)).to(like)

    def _ends(self) -> tuple[Tensor, Tensor]:
        black, white = (
            torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (self.black, self.white)
        )
        return black, white


def levels_of(data: Data | None, shape: tuple[int, ...]) -> Levels:
    """Levels of the images of a data set.

    Args:
        data: Data with black and white.
        shape: (C, H, W).

    Raises:
        InputError: No data, no white, or samples that are not grey or colour images.
    """
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 2:
        raise NotDefinedError(
            f"samples of shape {shape} have no size as 8-bit images: sic and aic need images with "
            "1 or 3 channels and at least 2 x 2 pixels; leave them out."
        )
    if data is None:
        raise NotDefinedError(
            "sizes of images are in 8 bits, so black and white must be known; give data= (a Data "
            "with black and white)."
        )
    if not data.white:
        raise NotDefinedError(
            f"data {data.name!r} has no 8-bit images: it defines no white; leave sic and aic out."
        )
    ends = [tuple(v) * (shape[0] // len(v)) for v in (data.black, data.white)]
    if any(len(v) != shape[0] for v in ends):
        raise NotDefinedError(
            f"data {data.name!r} defines black and white for {len(data.black)} and "
            f"{len(data.white)} channels, the samples have {shape[0]}."
        )
    return Levels(ends[0], ends[1])


def filled(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Interpolate the unknown pixels of an image from the known ones, (H, W, C) uint8.

    Linear on the Delaunay triangles of the known pixels, rounded to 8 bits; the corners are always
    known, so that there is nothing to extrapolate.  As in the reference code of XRAI (Kapishnikov
    et al. 2019).

    Args:
        image: (H, W, C) uint8.
        known: (H, W) boolean.
    """
    known = known.copy()
    known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    if known.all():
        return image
    mean = image.reshape(-1, image.shape[2]).mean(axis=0)
    found = LinearNDInterpolator(np.argwhere(known), image[known].astype(float))(
        np.argwhere(~known)
    )
    result = image.copy()
    # On the rim, rounding may put a point outside.
    found = np.where(np.isfinite(found), found, mean)
    # Rounded twice, so that the last digits do not decide how a half is rounded.
    result[~known] = np.rint(np.round(found, 9)).clip(0, 255).astype(np.uint8)
    return result


def size(image: np.ndarray) -> int:
    """Bytes of the image as a lossless WebP file, the measure of information of AIC and SIC.

    Args:
        image: (H, W, 1 or 3) uint8.
    """
    from PIL import Image

    buffer = io.BytesIO()
    plain = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(np.ascontiguousarray(plain)).save(
        buffer, format="webp", lossless=True, quality=100
    )
    return len(buffer.getvalue())
