"""What do models and data sets look like to the rest?  Two plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Preprocess:
    """How a photograph becomes a tensor: resize the short side, crop the centre, normalise.

    Attributes:
        resize: Length of the short side after resizing (bicubic or bilinear, antialiased).
        crop: Side of the central square, in pixels.
        mean: Of each channel, in [0, 1]; subtracted.
        std: Of each channel; divided by.
        interpolation: "bicubic" or "bilinear".
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bicubic", "bilinear"] = "bilinear"


@dataclass(frozen=True)
class Model:
    """A trained model, in eval mode with frozen parameters.

    Attributes:
        name: Name in every table.
        module: Maps (N, *F) to (N, K).
        class_names: K names.
        cam_layer: Dotted name of the last layer with spatial axes, for Grad-CAM; "" for none.
        weights_hash: SHA-256 over the parameters and buffers.
        source: Where the weights come from, in words.
        preprocess: For models of photographs.
        channels_last: Whether this memory format is faster.
    """

    name: str
    module: nn.Module
    class_names: tuple[str, ...]
    cam_layer: str
    weights_hash: str
    source: str
    preprocess: Preprocess | None = None
    channels_last: bool = False


@dataclass(frozen=True)
class Data:
    """Samples that are loaded one by one, when they are needed.

    Attributes:
        name: Name in every table.
        kind: Decides which baselines and displays make sense.
        shape: *F, the shape of one sample.
        sample_ids: S identifiers, stable across runs; their order is the order of evaluation.
        labels: S true classes; None where unknown.
        load: Index to (*F) float32, ready for the model; raises `SampleError` with the reason.
        features: Name of the default features, "pixel" for images, "element" for tables.
        display: (*F) to (H, W, 3) uint8, undoing the normalisation; None where not an image.
        black: Value of black (or of absence) in the space of the model, one for each channel.
        reference: Returns (R, *F) samples that are never evaluated: a pool for baselines; None
            where there are none.
        source: Where the samples come from, in words.
        white: Value of white in the space of the model, one for each channel; empty where there is
            none.
        reference_labels: Returns the R true classes of `reference()`, None where unknown; None
            where there are no references.
        mask: Index to (H, W) boolean, true where people marked what the sample shows, None where
            nobody did; None where there are no masks at all.
    """

    name: str
    kind: Literal["image", "table", "text"]
    shape: tuple[int, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int | None, ...]
    load: Callable[[int], Tensor]
    features: str
    display: Callable[[Tensor], np.ndarray] | None
    black: tuple[float, ...]
    reference: Callable[[], Tensor] | None
    source: str
    white: tuple[float, ...] = ()
    reference_labels: Callable[[], Sequence[int | None]] | None = None
    mask: Callable[[int], Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)
