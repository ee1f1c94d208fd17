"""Boxes of annotations in the form of PASCAL VOC, as those of ImageNet are, as masks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageOps

from igbench import files
from igbench.data import picture_files
from igbench.errors import InputError, one_line

LARGEST = 2**20
"""Bytes of an annotation file that is read; those of ImageNet have some hundred."""


@dataclass(frozen=True)
class Boxes:
    """Reads an annotation file as a mask: the boxes of one class.

    Attributes:
        resolve: Class of the name of an object.
        label: The class; None for all.
    """

    resolve: Callable[[str], int | None]
    label: int | None

    def __call__(self, path: Path, picture: Path) -> Image.Image:
        """The boxes as a mask of the picture, upright.

        Columns xmin to xmax - 1 and rows ymin to ymax - 1 are marked, counted from 0.

        Raises:
            InputError: No annotation, another size than the picture, or a box outside it.
        """
        root = parsed(path)
        size = (_number(root, "size/width", path), _number(root, "size/height", path))
        orientation = _orientation(size, path, picture)
        mask = Image.new("1", size)
        for found in root.iterfind("object"):
            if self.label is not None and self.resolve(found.findtext("name", "")) != self.label:
                continue
            box = [_number(found, f"bndbox/{k}", path) for k in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = box
            if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
                raise InputError(
                    f"{str(path)!r} has the box {left}, {top} to {right}, {bottom}, which is empty "
                    f"or outside its {picture_files.as_text(size)} pixels; correct it."
                )
            mask.paste(1, (left, top, right, bottom))
        mask.getexif()[picture_files.ORIENTATION] = orientation
        return ImageOps.exif_transpose(mask)


def _orientation(size: tuple[int, int], path: Path, picture: Path) -> int:
    """How the picture of an annotation is turned; it must have the size that is annotated."""
    if not 0 < size[0] * size[1] <= picture_files.MOST_PIXELS:
        raise InputError(
            f"{str(path)!r} is for a picture of {picture_files.as_text(size)} pixels; pictures "
            f"of 1 to {picture_files.MOST_PIXELS:,} pixels are read."
        )
    stored, orientation = picture_files.stored(picture) or (size, 1)
    if size != stored:
        raise InputError(
            f"{str(path)!r} is for a picture of {picture_files.as_text(size)} pixels, and "
            f"{str(picture)!r} has {picture_files.as_text(stored)}; they must match."
        )
    return orientation


class _Tree(ET.TreeBuilder):
    """A tree of elements, without document types and the entities that they define."""

    def doctype(self, *_: Any) -> NoReturn:
        raise InputError("it has a DOCTYPE, which annotations do not need")


def parsed(path: Path) -> ET.Element:
    """The root of an annotation file; document types, and so entities, are refused.

    Raises:
        InputError: It cannot be read, is larger than `LARGEST`, or is no annotation.
    """
    try:
        with files.opened(path, LARGEST) as stream:
            root = ET.fromstring(stream.read(), ET.XMLParser(target=_Tree()))
        if root.tag != "annotation":
            raise InputError(f"its root is <{root.tag}>, expected <annotation>")
    except (OSError, ET.ParseError, ValueError, LookupError, InputError) as error:
        raise InputError(
            f"{str(path)!r} is no annotation of boxes that can be read: {one_line(error)}."
        ) from error
    return root


def _number(element: ET.Element, name: str, path: Path) -> int:
    """A whole number in an annotation."""
    text = element.findtext(name, "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(
            f"{str(path)!r}: <{name}> is {text[:10]!r}, expected a whole number of pixels."
        )
    return int(text)
