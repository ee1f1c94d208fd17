"""ImageNet, or any folder of labelled images: class folders, or a table of labels."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from igbench import files
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data import images
from igbench.data.images import Entry
from igbench.data.masks import with_boxes, with_masks
from igbench.errors import InputError, one_line, suggestion

WNID = re.compile(r"n[0-9]{8}")
"""A WordNet identifier, the name of an ImageNet class folder."""


MOST_TABLE = 2**27
"""Bytes of a table of labels that are read; one of all 1.3 million images has half of that."""


@checked
def imagenet(
    model: Model,
    *,
    limit: int | None,
    root: str | None = None,
    labels_csv: str | None = None,
    masks: str | None = None,
    boxes: str | None = None,
) -> Data:
    """Images in class folders, or in one folder with a table of labels.

    Classes are named by a class name of the model, by WNID (for models with the 1,000 ImageNet
    classes in their usual order) or by index.  Sample ids are paths below `root` without suffix,
    in an order by hash.

    Args:
        model: Must take photographs.
        limit: Number of samples; None for all.  Up to 16 of the others become the reference pool.
        root: Folder with one sub-folder for each class; or with a sub-folder `val` of that kind;
            or, with `labels_csv`, the folder that its files are relative to.
        labels_csv: Table with the columns `file` and `label`.
        masks: A folder of masks of people, `SAMPLE_ID.png`, white where they marked something, see
            `igbench.data.masks`; None for none.
        boxes: Instead, a folder of annotations in the form of PASCAL VOC, `SAMPLE_ID.xml` or
            `FILE.xml`, as those of ImageNet; the boxes of the class of a sample are its mask.

    Raises:
        InputError: A folder or table is missing or empty, names an unknown class, or has marks
            that do not fit their images.
    """
    images.require_photographs(model, "imagenet")
    if not root:
        raise InputError("data=imagenet needs its folder; set data.root=DIR.")
    folder = Path(root).expanduser().absolute()
    images.require_folder(folder, "data.root")
    if masks and boxes:
        raise InputError("data.masks and data.boxes are both given; choose one of them.")
    resolve = Classes.of(model.class_names)
    if labels_csv:
        entries = _from_table(Path(labels_csv).expanduser(), folder, resolve)
    else:
        val = folder / "val"
        entries = _from_folders(val if val.is_dir() else folder, resolve)
    data = images.image_data(
        "imagenet",
        model,
        entries,
        limit=limit,
        source=f"images below '{images.printable(folder.name)}'",
    )
    if masks:
        return with_masks(data, masks, "data.masks")
    return with_boxes(data, boxes, "data.boxes", resolve) if boxes else data


@dataclass(frozen=True)
class Classes:
    """Look-up of the index of a class by name, WNID or index."""

    names: tuple[str, ...]
    index: Mapping[str, int | None]

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Classes:
        """Prepare the look-up; a name that several classes share stands for none of them."""
        index: dict[str, int | None] = {}
        for k, name in enumerate(names):
            index[_plain(name)] = None if _plain(name) in index else k
        return cls(names, index)

    def __call__(self, text: str) -> int | None:
        """Index of the class that `text` means; None if there is none, or more than one."""
        if _plain(text) in self.index:
            return self.index[_plain(text)]
        if WNID.fullmatch(text) and len(self.names) == 1000:
            return imagenet_wnids().get(text)
        if re.fullmatch("[0-9]+", text) and int(text) < len(self.names):
            return int(text)
        return None

    def hint(self, text: str) -> str:
        """What was expected, and the nearest names."""
        last = len(self.names) - 1
        if self.names == tuple(map(str, range(last + 1))):
            return (
                f"the classes of the model have no names; name them in the order of its {last + 1} "
                "outputs with model.class_names=[A,B,...] or a file of one name a line, or name "
                f"folders by index, 0 to {last}."
            )
        return (
            "expected a class name of the model, a WNID such as n02123045, or an index from 0 to "
            f"{last}.{suggestion(text, self.names)}"
        )


def _plain(name: str) -> str:
    """Normalise case, spaces, hyphens, underscores and apostrophes of a class name.

    >>> _plain("Egyptian_cat") == _plain("egyptian cat")
    True
    """
    return re.sub(r"[\s_\-']+", " ", name).strip().casefold()


@cache
def imagenet_wnids() -> dict[str, int]:
    """Map WNIDs to class indices in the order of ImageNet-1k models, from timm's data files.

    Raises:
        InputError: timm is not installed.
    """
    spec = find_spec("timm")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place) / "data" / "_info" / "imagenet_synsets.txt"
        if file.is_file():
            return {wnid: k for k, wnid in enumerate(file.read_text("ascii").split())}
    raise InputError(
        "folders named by WNID need the list of ImageNet classes in the package timm; run "
        "`pip install timm`."
    )


OUTSIDE = "images outside the class folders"


def _from_folders(folder: Path, resolve: Classes) -> list[Entry]:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise InputError(
            f"there are no class folders in {str(folder)!r}; set data.root=DIR to a folder with "
            "one sub-folder for each class, or give data.labels_csv=FILE for a flat one."
        )
    labels = _resolved([c.name for c in classes], resolve, lambda i: f"folder {str(classes[i])!r}")
    found = images.list_images(folder)
    left_out = found.left_out + Counter({OUTSIDE: len(found.images)})
    del left_out["folders"]
    entries = []
    for place, label in zip(classes, labels, strict=True):
        listing = images.list_images(place)
        entries += [Entry(_sample_id(file, folder), file, label) for file in listing.images]
        left_out += listing.left_out
    images.report_left_out(folder, left_out)
    if not entries:
        raise InputError(
            f"there are no images in the {len(classes)} class folders of {str(folder)!r}; set "
            "data.root=DIR to another folder."
        )
    return entries


def _from_table(table: Path, folder: Path, resolve: Classes) -> list[Entry]:
    try:
        rows = list(csv.DictReader(io.StringIO(files.text(table, MOST_TABLE), newline="")))
    except FileNotFoundError as error:
        raise InputError(f"there is no table {str(table)!r}; set data.labels_csv=FILE.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{str(table)!r} is not a CSV file in UTF-8: {one_line(error)}") from error
    if not rows or any(not row.get("file") or not row.get("label") for row in rows):
        raise InputError(
            f"{str(table)!r} must have the columns 'file' and 'label', and a value of both in "
            "every row."
        )
    labels = _resolved(
        [row["label"].strip() for row in rows], resolve, lambda i: f"row {i + 1} of {str(table)!r}"
    )
    paths = [folder / row["file"].strip() for row in rows]
    return [Entry(_sample_id(p, folder), p, label) for p, label in zip(paths, labels, strict=True)]


def _resolved(texts: Sequence[str], resolve: Classes, where: Callable[[int], str]) -> list[int]:
    """Class index of every text; each distinct one is looked up once."""
    known: dict[str, int] = {}
    for i, text in enumerate(texts):
        if text in known:
            continue
        label = resolve(text)
        if label is None:
            raise InputError(f"unknown class {text!r} ({where(i)}): {resolve.hint(text)}")
        known[text] = label
    return [known[t] for t in texts]


def _sample_id(file: Path, folder: Path) -> str:
    relative = file.relative_to(folder) if file.is_relative_to(folder) else file
    return images.printable(relative.with_suffix("").as_posix())
