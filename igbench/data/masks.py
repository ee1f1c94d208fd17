"""Masks of people: PNG files by sample name, and boxes of ImageNet's annotations.

A mask goes through the geometry of its picture, resize and centre crop, by nearest neighbour.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from igbench import files
from igbench.core import callers
from igbench.core.dataset import Data
from igbench.core.model import Preprocess
from igbench.data import images, picture_files
from igbench.data.boxes import Boxes
from igbench.errors import InputError, one_line

logger = logging.getLogger(__name__)

MODES = ("1", "L")
"""Modes of Pillow that a mask may have: one bit, or grey of 8 bits."""

UPRIGHT = 4
"""Largest orientation with which the sides of a picture are not swapped."""


class Marked(NamedTuple):
    """One mask: the file that says it, how to read it, and the picture that it belongs to."""

    path: Path
    read: Callable[[Path, Path], Image.Image]
    picture: Path


@dataclass(frozen=True)
class GivenMasks:
    """Maps an index to a mask that the caller has, boolean; None where there is none."""

    masks: tuple[Tensor | None, ...]

    def __call__(self, index: int) -> Tensor | None:
        """One mask; a copy, so that nothing that is done to it remains."""
        mask = self.masks[index]
        return None if mask is None else mask.clone()


def with_given(data: Data, masks: Any, limit: int | None = None) -> Data:
    """Data with the masks that a caller has.

    Args:
        data: S samples.
        masks: For S samples, in their order, or more where there is a limit: (H, W) each, true or 1
            where something is marked and false or 0 elsewhere, None where there is no mask; one
            mark for each feature, (G,), where the data have features of their own, as texts have
            words; or a folder of masks for a folder of images, see `with_masks`.
        limit: The number of samples that was asked for.

    Raises:
        InputError: Other masks than that, or a folder of masks for what are no image files.
    """
    if isinstance(masks, str | Path):
        if not isinstance(getattr(data.load, "preprocess", None), Preprocess):
            raise InputError(
                "a folder of masks is for a folder of images whose preprocess= is a Preprocess: "
                "masks go through the same resizing and cropping; give masks (S, H, W) instead."
            )
        return with_masks(data, masks, "masks")
    if hasattr(data.load, "paths"):
        raise InputError(
            "the order of the images of a folder is not that of an array of masks; give a folder "
            "of masks, one for each image by its name: masks=DIR."
        )
    found = masks if hasattr(masks, "__len__") else ()
    if len(found) < len(data) or (limit is None and len(found) > len(data)):
        raise InputError(
            f"there are {len(found)} masks for {len(data)} samples; give a mask (H, W) for each, "
            "None where there is none."
        )
    names = data.sample_ids
    given = tuple(_given(names[i], found[i], _marks_of(data, i)) for i in range(len(data)))
    return replace(data, mask=GivenMasks(given))


def _marks_of(data: Data, index: int) -> tuple[int, ...]:
    """Shape of the marks of one sample: that of its pixels, or (G,) for features of its own."""
    if data.groups is None:
        return data.shape[1:] or data.shape
    groups = data.groups if isinstance(data.groups, Tensor) else data.groups(index)
    return (int(groups.max()) + 1,)


def _given(name: str, mask: Any, shape: tuple[int, ...]) -> Tensor | None:
    """One mask of a caller's as a boolean tensor on the CPU."""
    if mask is None:
        return None
    found = callers.tensor(f"the mask of sample {name!r}", mask).cpu()
    if tuple(found.shape) != shape:
        raise InputError(
            f"the mask of sample {name!r} has shape {tuple(found.shape)}, its pixels or features "
            f"{shape}; they must match."
        )
    if not bool(((found == 0) | (found == 1)).all()):
        raise InputError(f"the mask of sample {name!r} has other values than 0 and 1.")
    return found.bool()


@dataclass(frozen=True)
class Masks:
    """Maps an index to the mask of a picture, (crop, crop) boolean; None where there is none."""

    marked: tuple[Marked | None, ...]
    preprocess: Preprocess

    def __call__(self, index: int) -> Tensor | None:
        """Read one mask; raises `InputError` where it cannot be used."""
        one = self.marked[index]
        return None if one is None else fitted(one.read(one.path, one.picture), self.preprocess)


@dataclass(frozen=True)
class MarkedFiles:
    """Maps an index to the files of a picture and, if there is one, of its mask."""

    files: Callable[[int], Sequence[Path]]
    marked: tuple[Marked | None, ...]

    def __call__(self, index: int) -> tuple[Path, ...]:
        """The files of one sample."""
        one = self.marked[index]
        return (*self.files(index), *(() if one is None else (one.path,)))


def fitted(mask: Image.Image, preprocess: Preprocess) -> Tensor:
    """A mask of the size of its picture, resized by nearest neighbour and cropped: boolean.

    >>> half = Image.new("1", (4, 4)); half.paste(1, (0, 0, 2, 4))
    >>> fitted(half, Preprocess(4, 2, (0.5,), (0.5,))).tolist()
    [[True, False], [True, False]]
    """
    picture_files.check_resized(mask.size, preprocess.resize)
    from torchvision.transforms import v2  # takes seconds, which data of other kinds are spared

    nearest = v2.InterpolationMode.NEAREST_EXACT
    mask = v2.functional.resize(mask.convert("L"), [preprocess.resize], interpolation=nearest)
    cropped = v2.functional.center_crop(mask, [preprocess.crop])
    return torch.from_numpy(np.asarray(cropped) > 0)


def with_masks(data: Data, folder: str | Path, key: str) -> Data:
    """Data of pictures with the masks of a folder: `DIR/SAMPLE_ID.png`.

    White marks, black does not.  Samples without a file have no mask; their number is said.  All
    files are checked here, before any work.

    Args:
        data: Samples of picture files, whose `load` has their `paths` and `preprocess`.
        folder: With the masks.
        key: The setting that names it, for messages.

    Raises:
        InputError: The folder is missing or has no mask of these samples, or a mask has another
            size than its picture, another mode, or other values than black and white.
    """
    place = Path(folder).expanduser().absolute()
    images.require_folder(place, key)
    named = [(place / f"{name}.png",) for name in _names(data)]
    return _marked(data, place, key, named, [read_mask] * len(data))


def with_boxes(
    data: Data, folder: str | Path, key: str, resolve: Callable[[str], int | None]
) -> Data:
    """Data of pictures with the boxes of PASCAL annotations: `DIR/SAMPLE_ID.xml`.

    The file may also lie in `DIR` itself, by the name of the picture alone, as those of the
    validation images of ImageNet do.  The boxes of the class of a sample are its mask; where it has
    no label, all boxes are.

    Args:
        data: Samples of picture files, whose `load` has their `paths` and `preprocess`.
        folder: With the annotations.
        key: The setting that names it, for messages.
        resolve: Class of the name of an object; None if there is none.

    Raises:
        InputError: The folder is missing or has no boxes of these samples, or a file is no
            annotation, is of another size than its picture, or has a box outside it.
    """
    place = Path(folder).expanduser().absolute()
    images.require_folder(place, key)
    named = [
        tuple(dict.fromkeys((place / f"{name}.xml", place / f"{PurePosixPath(name).name}.xml")))
        for name in _names(data)
    ]
    return _marked(data, place, key, named, [Boxes(resolve, label) for label in data.labels])


def _names(data: Data) -> list[str]:
    """Sample ids, without the suffix of the file where they have it."""
    load: Any = data.load
    return [
        s.removesuffix(path.suffix) if s.endswith(images.printable(path.name)) else s
        for s, path in zip(data.sample_ids, load.paths, strict=True)
    ]


def _marked(
    data: Data,
    folder: Path,
    key: str,
    named: Sequence[Sequence[Path]],
    readers: Sequence[Callable[[Path, Path], Image.Image]],
) -> Data:
    """Data with the masks that exist, each read once to check it."""
    load: Any = data.load
    marked: list[Marked | None] = []
    content = hashlib.blake2b(digest_size=4)
    for picture, places, read in zip(load.paths, named, readers, strict=True):
        path = next((p for p in places if os.path.lexists(p)), None)
        if path is None or read(path, picture).getbbox() is None:
            marked.append(None)
            continue
        with files.opened(path) as stream:
            content.update(stream.read())
        marked.append(Marked(path, read, picture))
    missing = [s for s, one in zip(data.sample_ids, marked, strict=True) if one is None]
    if len(missing) == len(marked):
        raise InputError(
            f"{str(folder)!r} marks none of the {len(marked)} samples; the first would be "
            f"{named[0][-1].relative_to(folder).as_posix()!r}. Set {key}=DIR to another folder."
        )
    if missing:
        logger.warning(
            "%d of %d samples have no mask in %s, so that localisation metrics are undefined for "
            "them; the first: %s",
            len(missing), len(marked), images.printable(str(folder)), missing[0],
        )  # fmt: skip
    return replace(
        data,
        mask=Masks(tuple(marked), load.preprocess),
        files=MarkedFiles(data.files, tuple(marked)) if data.files else None,
        source=f"{data.source}; marks of '{images.printable(folder.name)}' ({content.hexdigest()})",
    )


def read_mask(path: Path, picture: Path) -> Image.Image:
    """A black and white image of the size of its picture.

    Raises:
        InputError: It cannot be read, or has another size, mode, or other values, or says by
            transparency, orientation or further images what would have no effect.
    """
    try:
        with picture_files.opened(path) as image:
            _check_mask(image, path, picture)
            image.load()
            _check_plain(image, path)
            mask = image.copy()
    except InputError:
        raise
    except Exception as error:  # decoders raise anything for a broken file
        raise InputError(f"the mask {str(path)!r} cannot be read: {one_line(error)}.") from error
    grey = sorted({v for _, v in mask.getcolors() or ()} - {0, 255})
    if grey:
        raise InputError(
            f"the mask {str(path)!r} has values such as {grey[0]}; white (255) marks and black (0) "
            "does not, and there is nothing between."
        )
    return mask


def _check_mask(mask: Image.Image, path: Path, picture: Path) -> None:
    """Raise for what can be seen of a mask before its pixels are read."""
    if mask.mode not in MODES:
        raise InputError(
            f"the mask {str(path)!r} has mode {mask.mode}; save it in black and white, as grey of "
            "8 bits (L) or one bit (1)."
        )
    stored, orientation = picture_files.stored(picture) or (mask.size, 1)
    size = stored[::-1] if orientation > UPRIGHT else stored
    if mask.size != size:
        raise InputError(
            f"the mask {str(path)!r} has {picture_files.as_text(mask.size)} pixels, and its "
            f"picture has {picture_files.as_text(size)}; they must match."
        )


def _check_plain(mask: Image.Image, path: Path) -> None:
    """Raise for what a mask says beside its pixels, and would have no effect."""
    odd = {
        "transparent pixels": "transparency" in mask.info,
        "an orientation of its own": mask.getexif().get(picture_files.ORIENTATION, 1) != 1,
        "several images": getattr(mask, "is_animated", False),
    }
    for what in (what for what, there in odd.items() if there):
        raise InputError(
            f"the mask {str(path)!r} has {what}; save it as one upright image in black and white."
        )
