"""Pictures of a folder as a model takes them, besides the samples of a data set."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Preprocess
from igbench.data import images
from igbench.errors import InputError, SampleError

logger = logging.getLogger(__name__)


def listed(folder: Path, key: str) -> list[Path]:
    """Image files of a folder, by name; a line says what is left out.

    Args:
        folder: The folder.
        key: The setting that chose it, for messages.

    Raises:
        InputError: The folder is missing or holds no images.
    """
    images.require_folder(folder, key)
    found, left_out = images.list_images(folder)
    if not found:
        raise InputError(
            f"there are no images in {images.printable(str(folder))!r}; set {key}=DIR to a folder "
            f"with {', '.join(sorted(images.SUFFIXES))} files."
        )
    images.report_left_out(folder, left_out)
    return found


def load(paths: list[Path], data: Data, preprocess: Preprocess | None) -> Tensor:
    """Pictures (n, *F), prepared as samples are; unreadable ones are left out, and said.

    With a preprocessing, as photographs are; otherwise resized to the size of the samples, and from
    the black to the white of the data.

    Args:
        paths: From `listed`.
        data: Samples of the same model.
        preprocess: Of the model, where it takes photographs.

    Raises:
        InputError: The data are no images, nobody knows how to prepare pictures, or none can be
            read.
    """
    check_images(data, preprocess)
    found = []
    for path in paths:
        try:
            image = images.open_rgb(path)
            found.append(
                images.to_tensor(image, preprocess) if preprocess else _scaled(image, data)
            )
        except SampleError as error:
            logger.warning("left out: %s: %s", images.printable(path.name), error)
    if not found:
        raise InputError(
            f"none of the images in {images.printable(str(paths[0].parent))!r} can be read."
        )
    return torch.stack(found)


def check_images(data: Data, preprocess: Preprocess | None) -> None:
    """Raise unless pictures can be prepared as the samples of some data are.

    Args:
        data: The samples.
        preprocess: Of the model, where it takes photographs.

    Raises:
        InputError: The data are no images, or their black and white are unknown.
    """
    if data.kind != "image":
        raise InputError(
            f"the data {data.name!r} are of kind {data.kind}, and concepts are folders of "
            "pictures; choose a model and data of images."
        )
    if preprocess is not None:
        if data.shape != (3, preprocess.crop, preprocess.crop):
            raise InputError(
                f"samples have shape {data.shape}, and the model's preprocessing makes "
                f"{(3, preprocess.crop, preprocess.crop)}; give concepts as tensors from Python."
            )
    elif len(data.shape) != 3 or not (
        len(data.white) == len(data.black) == data.shape[0] in (1, 3)
    ):
        raise InputError(
            f"nothing says how pictures become inputs of shape {data.shape}: the model has no "
            "preprocessing, and black and white of the data are not known; give concepts as "
            "tensors from Python."
        )


def _scaled(image: Image.Image, data: Data) -> Tensor:
    """A picture in the size and the range of the data, (C, H, W)."""
    channels, height, width = data.shape
    grey = image.convert("L") if channels == 1 else image
    if grey.size != (width, height):
        grey = grey.resize((width, height), Image.Resampling.BOX)
    pixels = torch.from_numpy(np.array(grey)).float().div(255).reshape(height, width, channels)
    black, white = torch.tensor(data.black), torch.tensor(data.white)
    return (black + pixels * (white - black)).permute(2, 0, 1).contiguous()
