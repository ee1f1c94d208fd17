"""Players: the groups of elements of one sample that coalition and surrogate methods switch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from igbench.core import callers
from igbench.core.batch import Batch
from igbench.core.features import Features, as_unit, resolve
from igbench.errors import InputError, NotDefinedError

SEGMENTS = 50
"""Superpixels that are asked for by default; photographs get 30 to 48 of them."""
COMPACTNESS = 20.0
"""Weight of nearness against likeness of colour in SLIC, in units of CIELAB."""
LEAST_SIDE = 64
"""Pixels along the short side from which on an image has superpixels by default."""
ACROSS = 4
"""Patches along the short side of a smaller image by default."""


def players(features: str | Tensor | None, batch: Batch, i: int) -> Features:
    """The players of one sample, which all methods of a run share.

    Args:
        features: "superpixel" or "superpixel:S" (about S segments by SLIC; images alone), a unit
            of `igbench.core.features.resolve`, feature numbers (*F), or None for what fits: the
            feature numbers of the batch where it has them, superpixels of images of at least 64
            pixels a side, 4 x 4 patches of smaller ones, time steps or voxels of other samples with
            channels, and elements of vectors.
        batch: Samples.
        i: Position of the sample.

    Raises:
        InputError: Features that do not fit the samples.

    >>> from igbench.core.score import Score
    >>> x = torch.rand(1, 1, 8, 8)
    >>> batch = Batch(Score(lambda z: z.sum()), x, 0 * x, None, ("a",))
    >>> players(None, batch, 0).count, players("pixel", batch, 0).count
    (16, 64)
    """
    shape = tuple(batch.x.shape[1:])
    own = unit_of(shape) if features is None else as_unit(features)
    if features is None and isinstance(batch.features, Tensor):
        numbers = batch.features
        own = numbers[i] if numbers.dim() == batch.x.dim() else numbers
        # Elements without a feature are a player that never moves.
        own = own.where(own >= 0, own.max() + 1)
    if isinstance(own, str) and own.partition(":")[0] == "superpixel":
        return superpixels(batch.x[i], segments_of(own))
    return resolve(own, shape)


def said_of(features: object) -> str:
    """The end of a title that names the players that were chosen; "" where none were.

    >>> said_of("superpixel:16"), said_of(None), said_of(torch.tensor([0, 0, 1]))
    (' on superpixel:16', '', ' on 2 features')
    """
    if features is None:
        return ""
    if isinstance(features, str):
        return f" on {features}"
    return f" on {int(callers.tensor('features', features).max()) + 1} features"


def unit_of(shape: Sequence[int]) -> str:
    """The unit of the players of samples of one shape, where none is chosen.

    >>> unit_of((3, 224, 224)), unit_of((1, 8, 8)), unit_of((2, 16)), unit_of((30,))
    ('superpixel:50', 'patch:2', 'pixel', 'element')
    """
    if len(shape) == 3:
        short = min(shape[1:])
        if short >= LEAST_SIDE:
            return f"superpixel:{SEGMENTS}"
        return f"patch:{max(1, round(short / ACROSS))}"
    return "element" if len(shape) == 1 else "pixel"


def segments_of(unit: str) -> int:
    """The number of superpixels that a unit asks for.

    Raises:
        InputError: It is no whole number above one.

    >>> segments_of("superpixel:100"), segments_of("superpixel")
    (100, 50)
    """
    number = unit.partition(":")[2] or str(SEGMENTS)
    if not number.isdecimal() or int(number) < 2:
        raise InputError(
            f"features {unit!r} are unknown; use 'superpixel' or 'superpixel:S', about S segments."
        )
    return int(number)


def superpixels(x: Tensor, segments: int = SEGMENTS) -> Features:
    """Segments of similar colour of one image, channels together, by SLIC.

    The image is scaled from its own smallest and largest value to [0, 1], so that the normalisation
    of the model does not matter; images of other than three channels are segmented by their mean.
    A function of the sample alone.

    Args:
        x: (C, H, W).
        segments: Number of segments to ask for; the result has somewhat fewer.

    Returns:
        Features (C, H, W), the same for all channels.

    Raises:
        NotDefinedError: The sample is no image.

    Source: Achanta et al. 2012, "SLIC superpixels compared to state-of-the-art superpixel methods"
    (IEEE TPAMI), by scikit-image.

    >>> superpixels(torch.zeros(3, 64, 64), 16).count  # a grid, where nothing is to be seen
    16
    """
    if x.dim() != 3:
        raise NotDefinedError(
            f"superpixels need images (C, H, W), not samples of shape {tuple(x.shape)}; use "
            "'element' or 'pixel'."
        )
    pixels = x.detach().to("cpu", torch.float32).numpy()
    index = torch.from_numpy(_slic(pixels.tobytes(), pixels.shape, segments))
    return Features(f"superpixel:{segments}", index.expand(x.shape), int(index.max()) + 1)


@lru_cache(maxsize=16)  # the methods of a run ask for the same sample in turn
def _slic(content: bytes, shape: tuple[int, int, int], segments: int) -> np.ndarray:
    """Segment numbers 0..G-1, (1, H, W)."""
    from skimage.segmentation import relabel_sequential, slic

    image = np.frombuffer(content, dtype=np.float32).reshape(shape).astype(np.float64)
    span = float(np.ptp(image)) or 1.0
    image = (image - image.min()) / span
    colour = image if len(image) == 3 else np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0)
    found = slic(
        colour.transpose(1, 2, 0), n_segments=segments, compactness=COMPACTNESS, start_label=1
    )
    return (relabel_sequential(found)[0].astype(np.int64) - 1)[None]
