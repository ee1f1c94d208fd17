"""Open picture files of strangers: few formats, whole files, of bounded size before and after.

Every picture that is read goes through `opened`.  Nothing is decoded before its size is known, and
no setting of Pillow is another one afterwards.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from igbench import files
from igbench.errors import SampleError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats of Pillow that are opened, whatever a file is named.

All others are refused: some start programs (EPS), most are parsed by code that is rarely tested.
"""

MOST_BYTES = 2**29
"""Bytes of a picture file, and of its pixels in RGB, that are read."""

MOST_PIXELS = MOST_BYTES // 3
"""Pixels of a picture, as it is stored and after resizing; twice the limit of Pillow's warning."""

ORIENTATION = 0x0112
"""Tag of EXIF that says how to turn a picture upright."""

MOST_ASPECT = 1000
"""Largest length of a picture in its widths, where nobody knows what it is resized to."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, of which nothing is decoded yet.

    The content of the file decides on its format.  A cut file raises an error when its pixels are
    loaded in this context, also where `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` would fill it up.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is no regular file, or too large.
        ValueError: It is in none of `FORMATS`, or has too many pixels.
        Exception: Whatever else Pillow raises for a broken file.
    """
    with files.opened(path, MOST_BYTES) as stream, _WHOLE, warnings.catch_warnings():
        # Metadata and palettes that do not touch the pixels; sizes, which are checked here.
        for category in (UserWarning, Image.DecompressionBombWarning):
            warnings.filterwarnings("ignore", category=category, module="PIL")
        try:
            image = Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError(
                f"its beginning is not that of a picture in {', '.join(FORMATS[:-1])} or "
                f"{FORMATS[-1]}"
            ) from error
        with image:
            width, height = image.size
            if not 0 < width * height <= MOST_PIXELS:
                raise ValueError(
                    f"it has {width:,} x {height:,} pixels; 1 to {MOST_PIXELS:,} in all are read"
                )
            yield image


def stored(path: Path) -> tuple[tuple[int, int], int] | None:
    """Size of a picture as it is stored, and orientation; None if it cannot be read.

    Its sample fails then, with its own reason.
    """
    try:
        with opened(path) as image:
            return image.size, int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # decoders raise anything for a broken file
        return None


def as_text(size: tuple[int, int]) -> str:
    """Width and height in words."""
    return f"{size[0]} x {size[1]}"


class _Whole:
    """While a file is read, cut files are errors; afterwards, Pillow does as the user chose.

    Threads that read at the same time count themselves, so that the last one restores the choice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._chosen = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._chosen = ImageFile.LOAD_TRUNCATED_IMAGES
            self._inside += 1
            ImageFile.LOAD_TRUNCATED_IMAGES = False

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._chosen


_WHOLE = _Whole()


def check_resized(size: tuple[int, int], short: int) -> None:
    """Raise `SampleError` where a picture would be too large after its short side is resized.

    Args:
        size: Width and height.
        short: The short side after resizing.

    >>> check_resized((640, 480), 256)
    """
    width, height = size
    long = max(width, height) * short // min(width, height)
    if long * short > MOST_PIXELS:
        after = (short, long) if width <= height else (long, short)
        raise SampleError(
            f"the image has {width:,} x {height:,} pixels, and would have {after[0]:,} x "
            f"{after[1]:,} with its short side resized to {short}, more than {MOST_PIXELS:,} "
            "pixels in all; cut it to another shape"
        )


def check_aspect(size: tuple[int, int]) -> None:
    """Raise `SampleError` where a picture is too long for a resizing that is not known.

    >>> check_aspect((640, 480))
    """
    width, height = size
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise SampleError(
            f"the image has {width:,} x {height:,} pixels, one side more than {MOST_ASPECT:,} "
            "times the other, so that resizing may need any memory; cut it to another shape"
        )
