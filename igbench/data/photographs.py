"""The 82 free photographs of the package, or a folder of the user's."""

from __future__ import annotations

import re
from pathlib import Path

from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data import images
from igbench.data.masks import with_masks
from igbench.errors import InputError

PHOTOS = Path(__file__).parent / "photos"
"""The photographs of the package; authors, sources and licences are in its `credits.csv`."""


@checked
def photographs(
    model: Model, *, limit: int | None, path: str | None = None, masks: str | None = None
) -> Data:
    """Photographs whose names start with a class index of four digits: `0281_chelsea.jpg`.

    Loads (3, crop, crop) as the model's preprocessing says.  Sample ids are file names without
    suffix, in an order by hash.

    Args:
        model: Must take photographs.
        limit: Number of samples; None for all.  Up to 16 of the others become the reference pool.
        path: A folder of other photographs; those without an index have no label.  None for the
            photographs of the package: 82, CC0 or public domain, labelled after looking at
            predictions, so a demonstration set and no estimate of accuracy.
        masks: A folder of masks of people, `SAMPLE_ID.png`, white where they marked something, see
            `igbench.data.masks`; None for none.

    Raises:
        InputError: A folder is missing or empty, the model takes no photographs, or a mask does
            not fit its photograph.
    """
    folder = PHOTOS if path is None else Path(path).expanduser().absolute()
    images.require_folder(folder, "data.path")
    files, left_out = images.list_images(folder)
    if not files:
        raise InputError(
            f"there are no images in {str(folder)!r}; set data.path=DIR to a folder with "
            f"{', '.join(sorted(images.SUFFIXES))} files."
        )
    if path is not None:
        images.report_left_out(folder, left_out)
    data = images.image_data(
        "photographs",
        model,
        [images.Entry(images.printable(f.stem), f, _label(f.stem)) for f in files],
        limit=limit,
        source="photographs of igbench (CC0 or public domain)"
        if path is None
        else images.printable(str(folder)),
    )
    return with_masks(data, masks, "data.masks") if masks else data


def _label(stem: str) -> int | None:
    """The four digits before the first underscore.

    >>> _label("0281_chelsea"), _label("holiday_2")
    (281, None)
    """
    digits = re.match(r"([0-9]{4})(?:_|$)", stem)
    return int(digits[1]) if digits else None
