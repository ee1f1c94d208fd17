"""Regions of an image from many segmentations, and their growth by attribution (XRAI)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDE = 224
"""Side of the images, in pixels, for which the settings of the paper are meant."""
SCALES = (50, 100, 150, 250, 500, 1200)
"""Scales of the segmentations of an image of `SIDE` pixels a side."""
SIGMA, LEAST_SIZE, DILATION, LEAST_NEW = 0.8, 150, 5, 50
"""Blur, smallest segment, dilation, and the fewest new pixels that a segment must add, likewise."""


def regions(image: np.ndarray, scales: Sequence[float] = SCALES) -> np.ndarray:
    """Segments of an image at several scales, each a little dilated, (K, H, W) booleans.

    The image is scaled from its own smallest and largest value to [-1, 1].  Settings of lengths and
    areas are scaled from `SIDE` pixels a side to its size.

    Args:
        image: (C, H, W).
        scales: Scales of the segmentations: larger ones make larger segments.

    Source: Felzenszwalb and Huttenlocher 2004, "Efficient Graph-Based Image Segmentation" (IJCV),
    by scikit-image.

    >>> image = np.zeros((1, 32, 32))
    >>> image[:, :, 16:] = 1
    >>> regions(image, scales=[50]).sum(axis=(1, 2)).tolist()  # halves of 512 and a column more
    [544, 544]
    """
    from skimage.morphology import isotropic_dilation
    from skimage.segmentation import felzenszwalb

    own = image.astype(np.float64)
    own = 2 * (own - own.min()) / (float(np.ptp(own)) or 1.0) - 1
    length = relative_side(image)
    found = []
    for scale in scales:
        numbers = felzenszwalb(
            own.transpose(1, 2, 0),
            scale=scale * length**2,
            sigma=SIGMA * length,
            min_size=max(1, round(LEAST_SIZE * length**2)),
            channel_axis=-1,
        )
        found += [numbers == n for n in range(int(numbers.max()) + 1)]
    radius = round(DILATION * length)
    return np.stack([isotropic_dilation(m, radius) if radius else m for m in found])


def relative_side(image: np.ndarray) -> float:
    """Side of an image (C, H, W) as a multiple of `SIDE`, by its number of pixels."""
    return float(np.sqrt(image[0].size)) / SIDE


def grow(attribution: np.ndarray, masks: np.ndarray, least: int = 1) -> np.ndarray:
    """Mean attribution of regions, in the order of a greedy growth, (H, W) in float64.

    Again and again the region whose pixels that are not covered yet have the largest mean is added,
    and these pixels get that mean.  Pixels that stay uncovered get their own mean, so the map has
    the sum of the attribution.

    Args:
        attribution: (H, W).
        masks: (K, H, W) booleans, which may overlap.
        least: Fewest new pixels of a region; regions with fewer are left out.

    >>> values, whole = np.array([[4.0, 2, 0, 6]]), np.ones((1, 1, 4), dtype=bool)
    >>> pair = np.array([[[True, True, False, False]]])
    >>> grow(values, np.concatenate([whole, pair])).tolist()  # the means of all and of two are 3
    [[3.0, 3.0, 3.0, 3.0]]
    >>> grow(values, pair).tolist()
    [[3.0, 3.0, 3.0, 3.0]]
    >>> grow(values, np.array([[[True, False, False, True]]])).tolist()
    [[5.0, 1.0, 1.0, 5.0]]
    """
    flat = attribution.astype(np.float64).ravel()
    members = masks.reshape(len(masks), -1)
    areas = members.sum(axis=1)
    sums = np.array([flat[m].sum() for m in members])
    out, free = np.empty_like(flat), np.ones(len(flat), dtype=bool)
    while bool((areas >= max(least, 1)).any()):
        means = np.where(areas >= max(least, 1), sums / np.maximum(areas, 1), -np.inf)
        new = np.flatnonzero(members[means.argmax()] & free)
        out[new] = flat[new].mean()
        free[new] = False
        areas = areas - members[:, new].sum(axis=1)
        sums = sums - members[:, new] @ flat[new]
    if free.any():
        out[free] = flat[free].mean()
    return out.reshape(attribution.shape)
