"""Samples from image files: list, order, load and display."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model, Preprocess
from igbench.data import picture_files
from igbench.errors import InputError, SampleError, check_positive, one_line

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files that count as images."""

POOL = 16
"""Largest number of images that baselines may use."""


class Entry(NamedTuple):
    """One image: identifier, file and class (None where unknown)."""

    sample_id: str
    path: Path
    label: int | None


class Listing(NamedTuple):
    """Image files, by name, and the number of other entries by what they are."""

    images: list[Path]
    left_out: Counter[str]


def list_images(folder: Path) -> Listing:
    """List the image files directly in `folder`, and count what is left out.

    Links count as what they lead to; one that leads nowhere counts by its name.
    """
    found = Listing([], Counter())
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                found.left_out["hidden"] += 1
            elif path.is_dir():  # that of `entry` raises an error for a link to itself
                found.left_out["folders"] += 1
            elif path.suffix.lower() in SUFFIXES:
                found.images.append(path)
            else:
                found.left_out[f"{path.suffix.lower() or 'without suffix'}"] += 1
    found.images.sort()
    return found


def report_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Say in one line what of a folder takes no part."""
    if left_out:
        counts = ", ".join(f"{n} {what}" for what, n in sorted(left_out.items(), key=_rank))
        logger.warning(
            "left out of %s: %s; images end in %s",
            printable(str(folder)),
            printable(counts),
            ", ".join(sorted(SUFFIXES)),
        )


def _rank(entry: tuple[str, int]) -> tuple[int, str]:
    """The most frequent first, then by name."""
    return -entry[1], entry[0]


_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")


def printable(name: str) -> str:
    r"""A name of a file as text that can be stored and printed anywhere.

    Bytes that are not UTF-8, and control characters, are escaped as \xNN.  Two names stay two: in
    names that have such an escape, a backslash is doubled.  All other names stay as they are.

    >>> printable("caf\udce9"), printable("café"), printable(r"caf\xe9")
    ('caf\\xe9', 'café', 'caf\\\\xe9')
    """
    clean = all(c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff" for c in name)
    if clean and not _ESCAPED.search(name):
        return name
    return "".join(_escape(c) for c in name)


def _escape(c: str) -> str:
    if c == "\\":
        return r"\\"
    if c < " " or c == "\x7f":
        return f"\\x{ord(c):02x}"
    if "\udc80" <= c <= "\udcff":  # a byte that is not UTF-8, as Python has it in names of files
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode(errors="backslashreplace").decode()


def require_folder(folder: Path, key: str) -> None:
    """Raise `InputError` unless `folder` exists; `key` is the setting that chooses another."""
    if not folder.is_dir():
        if folder.exists():
            raise InputError(
                f"{str(folder)!r} is a file; set {key}=DIR to the folder that holds the images."
            )
        raise InputError(f"there is no folder {str(folder)!r}; set {key}=DIR to one that exists.")


def spread(names: Sequence[str]) -> list[int]:
    """Order `names` by hash, as indices: the first n are a fair sample for every n.

    Whether one name comes before another does not depend on the other names.

    >>> spread(["cat", "dog"]) == [1 - i for i in spread(["dog", "cat"])]
    True
    """
    hashes = [hashlib.blake2b(n.encode(errors="surrogateescape"), digest_size=8) for n in names]
    keys = [(h.digest(), n) for h, n in zip(hashes, names, strict=True)]
    return sorted(range(len(names)), key=keys.__getitem__)


def open_rgb(path: Path) -> Image.Image:
    """Read an image upright (EXIF orientation) and in RGB, 8 bits a channel.

    Transparent pixels are shown over white.  Grey of 16 bits is divided by 257 and rounded, so
    that 65535 is white; of colours of 16 bits, which Pillow does not have, the upper 8 are taken,
    and that is said.  Of an animation or a file with several pages, the first is taken.  Colour
    profiles are not applied.

    Raises:
        SampleError: The file is missing or corrupt, is none that `picture_files.opened` opens, or
            its pixels have no fixed range.
    """
    try:
        with picture_files.opened(path) as image:
            if getattr(image, "is_animated", False):
                _say("only the first image is used of %r, which has several", path.name)
            _check_depth(image, path)
            return _to_rgb(image, path)
    except SampleError:
        raise
    except FileNotFoundError as error:
        raise SampleError(f"there is no image {path.name!r} in {str(path.parent)!r}") from error
    except Exception as error:  # decoders raise anything for a broken file
        raise SampleError(f"cannot read image {str(path)!r}: {one_line(error)}") from error


def _check_depth(image: Image.Image, path: Path) -> None:
    """Say where colours of 16 bits lose the lower 8; refuse pixels that would become others."""
    if image.mode == "L" and 2 in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ()):
        raise SampleError(
            f"the pixels of {str(path)!r} are numbers with a sign, which have no fixed range; save "
            "it with 8 or 16 bits a channel, without a sign"
        )
    if image.mode.startswith("I") or not any(";16" in str(tile) for tile in _tiles(image)):
        return
    if "transparency" in image.info:
        raise SampleError(
            f"a colour of 16 bits stands for transparent pixels of {str(path)!r}, which cannot be "
            "told from others with 8 bits; save it with an alpha channel"
        )
    _say("the upper 8 of 16 bits a channel are used of %r", path.name)


def _tiles(image: Image.Image) -> Sequence[object]:
    """How the parts of a file are packed, before they are loaded."""
    return getattr(image, "tile", ())


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format not in SCALED):
        kind = "floating-point numbers" if image.mode == "F" else "integers of 32 bits"
        raise SampleError(
            f"the pixels of {str(path)!r} are {kind} (mode {image.mode}), which have no fixed "
            "range; save it with 8 or 16 bits a channel"
        )
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return _grey(upright, getattr(image, "tag_v2", {})).convert("RGB")
    if upright.mode == "La":
        upright = upright.convert("LA")
    if upright.mode not in TRANSPARENT and "transparency" not in upright.info:
        return upright.convert("RGB")
    rgba = upright.convert("RGBA")
    if rgba.getchannel("A").getextrema() != (255, 255):
        _say("transparent pixels are shown over white in %r", path.name)
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


SCALED = ("PNG", "PPM")
"""Formats whose mode I, of 32 bits, holds 16 bits."""

TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF."""


def _grey(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Grey of 16 bits, or of 12 in some TIFF files, as 8 bits."""
    most = 2 ** int(tags.get(_BITS, (16,))[0]) - 1
    values = np.clip(np.rint(np.arange(2**16, dtype=np.float64) * (255 / most)), 0, 255)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves to us
        values = 255 - values
    if "transparency" in image.info:
        values[image.info["transparency"]] = 255
    return Image.fromarray(values.astype(np.uint8)[np.asarray(image)])


@cache
def _say(message: str, name: str) -> None:
    """A warning about one file, once in a process."""
    logger.warning(message, name, extra={"sample": name})


def to_tensor(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Resize, crop and normalise: (value / 255 - mean) / std, (3, crop, crop) float32.

    Raises:
        SampleError: The image would need too much memory after resizing.
    """
    picture_files.check_resized(image.size, preprocess.resize)
    from torchvision.transforms import v2  # takes seconds, which data of other kinds are spared

    mode = v2.InterpolationMode(preprocess.interpolation)
    image = v2.functional.resize(image, [preprocess.resize], interpolation=mode, antialias=True)
    image = v2.functional.center_crop(image, [preprocess.crop])
    pixels = v2.functional.to_dtype(v2.functional.pil_to_tensor(image), torch.float32, scale=True)
    out: Tensor = v2.functional.normalize(pixels, list(preprocess.mean), list(preprocess.std))
    return out


@dataclass(frozen=True)
class Display:
    """Undo the normalisation: (3, H, W) to (H, W, 3) uint8; out-of-range values are clipped."""

    preprocess: Preprocess

    def __call__(self, x: Tensor) -> np.ndarray:
        """The image that a person sees."""
        std = torch.tensor(self.preprocess.std).view(-1, 1, 1)
        mean = torch.tensor(self.preprocess.mean).view(-1, 1, 1)
        pixels = (x.detach().float().cpu() * std + mean).clamp(0, 1) * 255
        return pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


@dataclass(frozen=True)
class Loader:
    """Maps an index to (3, crop, crop); files are opened when they are needed."""

    paths: tuple[Path, ...]
    preprocess: Preprocess

    def __call__(self, index: int) -> Tensor:
        """Load one image; raises `SampleError` where it cannot be read."""
        return to_tensor(open_rgb(self.paths[index]), self.preprocess)

    def files(self, index: int) -> tuple[Path, ...]:
        """The file of an image, for `Data.files`."""
        return (self.paths[index],)


@dataclass(frozen=True)
class Pool:
    """Images that are never evaluated: the first `POOL` that can be read, (R, 3, crop, crop)."""

    load: Loader
    labels: tuple[int | None, ...]

    def __call__(self) -> Tensor:
        """Load them; raises `InputError` where none can be read."""
        return torch.stack([image for _, image in self._readable()])

    def classes(self) -> tuple[int | None, ...]:
        """Their R labels; reads the images too, to know which ones count."""
        return tuple(self.labels[i] for i, _ in self._readable())

    def _readable(self) -> list[tuple[int, Tensor]]:
        """Positions and images."""
        images: list[tuple[int, Tensor]] = []
        for i in range(len(self.load.paths)):
            try:
                images.append((i, self.load(i)))
            except SampleError as error:
                logger.warning("left out of the reference samples: %s", error)
            if len(images) == POOL:
                break
        if not images:
            raise InputError(
                "none of the images that could serve as reference samples can be read; set a "
                "smaller limit, or choose a baseline that needs none, for example baseline=blur."
            )
        return images


def image_data(
    name: str, model: Model, entries: Sequence[Entry], *, limit: int | None, source: str
) -> Data:
    """Build `Data` from image files: ordered by hash, limited, loaded when needed.

    The images after the first `limit` are the reference pool; there is none without a limit.

    Raises:
        InputError: The model takes no photographs, the limit is not above zero, two entries share
            an identifier, or a label exceeds the model's classes.
    """
    preprocess = require_photographs(model, name)
    if limit is not None:
        check_positive("limit", limit)
    _check_entries(entries, model)
    ordered = [entries[i] for i in spread([e.sample_id for e in entries])]
    chosen = ordered[:limit]
    rest = ordered[len(chosen) : len(chosen) + 2 * POOL]  # twice: some may be unreadable
    pool = Pool(Loader(tuple(e.path for e in rest), preprocess), tuple(e.label for e in rest))
    load = Loader(tuple(e.path for e in chosen), preprocess)
    return Data(
        name=name,
        kind="image",
        shape=(3, preprocess.crop, preprocess.crop),
        sample_ids=tuple(e.sample_id for e in chosen),
        labels=tuple(e.label for e in chosen),
        load=load,
        features="pixel",
        display=Display(preprocess),
        black=tuple(-m / s for m, s in zip(preprocess.mean, preprocess.std, strict=True)),
        reference=pool if rest else None,
        source=source,
        white=tuple((1 - m) / s for m, s in zip(preprocess.mean, preprocess.std, strict=True)),
        reference_labels=pool.classes if rest else None,
        files=load.files,
    )


def require_photographs(model: Model, data: str) -> Preprocess:
    """Preprocessing of photographs for `model`; raises `InputError` unless it takes them."""
    if model.preprocess is None or len(model.preprocess.mean) != 3:
        raise InputError(
            f"model {model.name!r} takes no photographs, so data={data} does not suit it; choose "
            "another model, for example model=efficientnet_lite0, or other data."
        )
    return model.preprocess


def _check_entries(entries: Sequence[Entry], model: Model) -> None:
    classes = len(model.class_names)
    seen: dict[str, Path] = {}
    for e in entries:
        if e.sample_id in seen:
            raise InputError(
                f"{str(seen[e.sample_id])!r} and {str(e.path)!r} share the sample id "
                f"{e.sample_id!r}; rename or remove one of them."
            )
        seen[e.sample_id] = e.path
        if e.label is not None and not 0 <= e.label < classes:
            raise InputError(
                f"{str(e.path)!r} has class {e.label}, but model {model.name!r} has classes 0 to "
                f"{classes - 1}; choose other images, or correct its label."
            )
