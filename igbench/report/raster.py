"""Images and maps as compact rasters inside a page: reduced, in levels, deflated, within a budget.

A map travels as one byte for each pixel, zlib in base64, and is coloured in the browser.  So its
levels are exact, where a picture would be lossy, and browsers that blur what scripts read from
pictures show it as it is.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from igbench.report import heatmaps

BUDGET = 8 * 2**20
"""Bytes of all rasters on a page."""
MIDDLE = 127
"""Place of 0 among the 255 colours of a map, and the finest number of levels on each side of it."""
NOT_FINITE = 255
"""Code and place of what is NaN or infinite."""
SMALL = 64
"""Sides up to which images are kept without loss."""


@dataclass(frozen=True)
class Quality:
    """How closely maps are shown.

    Attributes:
        side: Pixels of the longer side of maps and images, at most.
        levels: Levels on each side of 0, at most `MIDDLE`.
    """

    side: int
    levels: int


LADDER = (Quality(224, 127), Quality(112, 127), Quality(112, 31), Quality(112, 15), Quality(112, 7))
"""From the finest to the coarsest; the first that fits is taken."""


def codes(values: np.ndarray, top: float, levels: int = MIDDLE) -> np.ndarray:
    """Shares of a limit as bytes: `levels` for 0, 0 and 2 `levels` for the limits.

    Args:
        values: Any shape.
        top: The limit; 0 for a map that is zero everywhere.
        levels: Levels on each side of 0.

    >>> codes(np.array([-3.0, -1.0, 0.0, 0.5, float("nan")]), 1.0)
    array([  0,   0, 127, 191, 255], dtype=uint8)
    >>> codes(np.array([-1.0, 0.3, 1.0]), 1.0, 7)
    array([ 0,  9, 14], dtype=uint8)
    """
    bad = ~np.isfinite(values)
    shares = np.clip(np.where(bad, 0.0, values) / (top or 1.0), -1, 1)
    return np.where(bad, NOT_FINITE, levels + np.rint(levels * shares)).astype(np.uint8)


def packed(own: np.ndarray) -> str:
    """Bytes as zlib in base64.

    >>> len(packed(np.zeros((224, 224), dtype=np.uint8))) < 120
    True
    """
    plain = own.tobytes()
    only_codes = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    noise = only_codes.compress(plain) + only_codes.flush()  # noise has no repetitions to find
    return base64.b64encode(min(noise, zlib.compress(plain), key=len)).decode()


def reduced(values: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks, so that the longer side has `side` pixels at most.

    A block with a pixel that is not finite is NaN.

    Args:
        values: (H, W).
        side: Pixels.

    >>> reduced(np.array([[1.0, 3.0], [0.0, np.nan]]), 1), reduced(np.eye(2), 1)
    (array([[nan]]), array([[0.5]]))
    """
    size = _size(values.shape, side)
    if size == values.shape:
        return values
    bad = ~np.isfinite(values)
    means, holes = _resized(np.where(bad, 0.0, values), size), _resized(bad, size)
    return np.where(holes > 0, np.nan, means)


def _size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BOX), dtype=float)


def raster(values: np.ndarray, top: float, levels: int = MIDDLE) -> dict[str, Any]:
    """A map for the page: its size, levels and bytes.

    Args:
        values: (H, W).
        top: The limit of the colours.
        levels: Levels on each side of 0.
    """
    own = codes(values, top, levels)
    return {"size": list(values.shape), "levels": levels, "bytes": packed(own)}


def map_raster(values: np.ndarray, quality: Quality) -> dict[str, Any]:
    """A map of an image: the raster, its limit, and a remark on zeros and NaN.

    The limit is that of the pixels that are shown, by the rule of `igbench.report.heatmaps.limit`.

    Args:
        values: (H, W).
        quality: How closely it is shown.
    """
    shown = reduced(np.asarray(values, dtype=float), quality.side)
    top = heatmaps.limit(shown)
    note = heatmaps.remark(np.asarray(values))
    return raster(shown, top, quality.levels) | {"limit": f"{top:.3g}", "note": note}


def image(pixels: np.ndarray, side: int) -> str:
    """An image (H, W, 3) uint8 as a data URI of WebP, without loss where it is small."""
    size = _size(pixels.shape, side)
    picture = Image.fromarray(np.asarray(pixels))
    if size != pixels.shape[:2]:
        picture = picture.resize(size[::-1], Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, format="WEBP", quality=80, lossless=max(size) <= SMALL)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def within(
    ids: Iterable[str], view: Callable[[str], Mapping[str, Any]], budget: int
) -> dict[str, Mapping[str, Any]]:
    """Views of samples in order, as many as the budget holds; always the first.

    Args:
        ids: Identifiers.
        view: Makes what the page shows of a sample, plain values alone.
        budget: Characters of all views.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for one in ids:
        made = view(one)
        budget -= length(made)
        if budget < 0 and found:
            break
        found[one] = made
    return found


def length(value: Any) -> int:
    """Characters of plain values as JSON, roughly.

    >>> length({"a": ["bc", 1.5]})
    18
    """
    if isinstance(value, str):
        return len(value) + 3
    if isinstance(value, Mapping):
        return 2 + sum(len(k) + 4 + length(v) for k, v in value.items())
    if isinstance(value, list):
        return 2 + sum(map(length, value))
    return len(str(value)) + 1
