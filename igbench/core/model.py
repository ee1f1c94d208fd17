"""`Model`: a trained network with what methods need to know of it, and its preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


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
