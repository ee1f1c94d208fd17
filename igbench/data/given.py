"""Make `Data` of what callers have: arrays, frames, data sets, loaders, folders of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler

from igbench.core import callers, rng
from igbench.core.dataset import Data
from igbench.core.model import Model, Preprocess
from igbench.data import images, picture_files, text_files
from igbench.data.texts import texts_data
from igbench.errors import InputError, SampleError, one_line, printable

INPUT_KEYS = ("pixel_values", "inputs", "input", "image", "x")
"""Names of the inputs in a batch that is a dictionary, in the order of the look-up."""

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Names of the labels, likewise."""

KNOWN = (
    "give an array (tensor, NumPy, pandas frame, lists), a pair of inputs and labels, a Dataset, a "
    "DataLoader, a folder of images, or an igbench Data"
)


def given(
    data: Any,
    *,
    model: object = None,
    preprocess: Preprocess | Callable[[Any], Tensor] | None = None,
    limit: int | None = None,
    labelled: bool = True,
    owner: Model | None = None,
) -> Data:
    """Data of whatever a caller has.  Arrays are copied; files and data sets are read when needed.

    Args:
        data: Inputs (S, *F); S texts; a pair of inputs or texts and labels (S,); a `Dataset` of
            inputs or pairs; a `DataLoader` in a fixed order; the path of a folder of images, flat
            or with one sub-folder for each class in alphabetical order, or for models of texts that
            of a file of texts; or a `Data`.
        model: Arrays get the dtype and the device of its weights.
        preprocess: For folders: from an image of Pillow to a tensor, or a `Preprocess`.
        limit: Number of samples, the first ones; all by default.  Up to 16 of the others become the
            reference pool of an array.
        labelled: Whether labels are needed: to have those of a data set without `targets`, every
            item of it is loaded.
        owner: The igbench model, whose tokens texts are put into.

    Raises:
        InputError: Nothing of the kind, no samples, or labels that do not fit.

    >>> given(([[0.0, 1.0], [2.0, 3.0]], [1, 0])).labels
    (1, 0)
    """
    if isinstance(data, Data):
        return data if limit is None else _first(data, limit)
    if isinstance(data, str | Path):
        return _place(Path(data), preprocess, limit, owner)
    if preprocess is not None:
        raise InputError("preprocess= is for folders of images; these data are arrays already.")
    texts = _texts(data)
    if texts is not None:
        return _given_texts(*texts, owner, limit)
    if isinstance(data, DataLoader):
        return _loader(data, model, limit)
    if isinstance(data, Dataset):
        return _dataset(data, limit, labelled)
    if isinstance(data, tuple):
        if len(data) != 2:
            raise InputError(
                f"the data are a tuple of {len(data)}; {KNOWN}. Several input tensors are packed "
                "into one, see igbench.pack."
            )
        return _arrays(data[0], data[1], model, limit)
    if isinstance(data, Mapping):
        return _arrays(*_parts(data), model, limit)
    return _arrays(data, None, model, limit)


@dataclass(frozen=True)
class Rows:
    """Maps an index to a row of a tensor; a copy, so that nothing that is done to it remains."""

    x: Tensor

    def __call__(self, index: int) -> Tensor:
        """One sample, (*F)."""
        return self.x[index].clone()


@dataclass(frozen=True)
class Items:
    """Maps an index to the input of an item of a data set.

    The global generators are seeded for each item, so that one that is augmented at random is the
    same at every load, and left as they were.
    """

    dataset: Any

    def item(self, index: int) -> tuple[Any, Any]:
        """Input and label of an item."""
        with rng.global_state(0, "data set", str(index)):
            return _parts(self.dataset[index])

    def __call__(self, index: int) -> Tensor:
        """One sample, (*F)."""
        x = callers.tensor("the sample", self.item(index)[0])
        if not x.is_floating_point():
            dtype = str(x.dtype).removeprefix("torch.")
            raise SampleError(f"has dtype {dtype}; attributions need floating-point inputs")
        return x


@dataclass(frozen=True)
class Files:
    """Maps an index to an image file, preprocessed."""

    paths: tuple[Path, ...]
    preprocess: Preprocess | Callable[[Any], Tensor]

    def __call__(self, index: int) -> Tensor:
        """One image, (C, H, W)."""
        image = images.open_rgb(self.paths[index])
        if isinstance(self.preprocess, Preprocess):
            return images.to_tensor(image, self.preprocess)
        picture_files.check_aspect(image.size)
        try:
            found = self.preprocess(image)
        except Exception as error:
            raise InputError(
                f"preprocess= raised {type(error).__name__} for "
                f"{printable(self.paths[index].name)!r}: {one_line(error)}."
            ) from error
        if not isinstance(found, Tensor) or found.dim() != 3:
            got = (
                f"one of shape {tuple(found.shape)}"
                if isinstance(found, Tensor)
                else (f"a {type(found).__name__}")
            )
            raise InputError(
                f"preprocess= must return a tensor (C, H, W) for an image; it returned {got}."
            )
        return found.float()

    def files(self, index: int) -> tuple[Path, ...]:
        """The file of an image, for `Data.files`."""
        return (self.paths[index],)


def _data(
    shape: Sequence[int],
    labels: Sequence[int | None],
    load: Callable[[int], Tensor],
    source: str,
    ids: Sequence[str] = (),
    **more: Any,
) -> Data:
    kind: Literal["image", "table"] = "image" if len(shape) == 3 else "table"
    standard: dict[str, Any] = {"display": None, "black": (0.0,), "reference": None}
    return Data(
        name="given",
        kind=kind,
        shape=tuple(shape),
        sample_ids=tuple(ids) or tuple(f"sample-{i:05d}" for i in range(len(labels))),
        labels=tuple(labels),
        load=load,
        features="pixel" if kind == "image" else "element",
        source=source,
        **standard | more,
    )


def _first(data: Data, limit: int) -> Data:
    """The first samples of data."""
    return replace(data, sample_ids=data.sample_ids[:limit], labels=data.labels[:limit])


def _arrays(inputs: Any, labels: Any, model: object, limit: int | None) -> Data:
    x = callers.rows("the data", inputs, model)
    ids: tuple[str, ...] = ()
    if hasattr(inputs, "select_dtypes") and type(inputs.index).__name__ != "RangeIndex":
        if not inputs.index.is_unique:
            raise InputError("the index of the frame is not unique; each sample needs a name.")
        ids = tuple(map(str, inputs.index))
    own = [None] * len(x) if labels is None else as_labels(labels, len(x))
    part, rest = slice(limit), slice(limit, None if limit is None else limit + images.POOL)
    pool: dict[str, Any] = {}
    if limit is not None and len(x) > limit:  # as images of the command line have it
        pool = {"reference": lambda: x[rest].clone(), "reference_labels": lambda: own[rest]}
    return _data(x.shape[1:], own[part], Rows(x[part]), "given by the caller", ids[part], **pool)


def as_labels(labels: Any, n: int) -> list[int | None]:
    """Labels of N samples as whole numbers; None where unknown.

    Raises:
        InputError: Another number of them, or no whole numbers.

    >>> as_labels([1, None], 2)
    [1, None]
    """
    if isinstance(labels, list | tuple) and any(v is None for v in labels):
        known = as_labels([0 if v is None else v for v in labels], n)
        return [None if v is None else k for v, k in zip(labels, known, strict=True)]
    found = callers.tensor("labels", labels)
    if found.dim() == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.shape != (n,):
        raise InputError(
            f"labels have shape {tuple(found.shape)} for {n} samples, expected ({n},): one class "
            "for each. Several input tensors are packed into one, see igbench.pack."
        )
    if found.is_floating_point():
        raise InputError(
            f"labels have dtype {str(found.dtype).removeprefix('torch.')}; expected whole numbers, "
            "the index of the class. Leave the values of a regression out: they decide no score."
        )
    return [int(v) for v in found.tolist()]


def _parts(item: Any) -> tuple[Any, Any]:
    """Inputs and labels of an item or a batch; None for labels that are not there."""
    if isinstance(item, Mapping):
        inputs = [item[k] for k in INPUT_KEYS if k in item]
        if not inputs:
            raise InputError(
                f"the data are dictionaries with the keys {', '.join(map(str, item))}; expected "
                f"the inputs under one of {', '.join(INPUT_KEYS)}."
            )
        return inputs[0], next((item[k] for k in LABEL_KEYS if k in item), None)
    if isinstance(item, tuple | list) and len(item) in (1, 2) and hasattr(item[0], "shape"):
        return item[0], item[1] if len(item) == 2 else None
    return item, None


def _loader(loader: DataLoader[Any], model: object, limit: int | None) -> Data:
    """The batches of a loader, in its order, as one tensor."""
    if isinstance(loader.sampler, RandomSampler):
        raise InputError(
            "the DataLoader shuffles, so that its samples have no names that stay; give one with "
            "shuffle=False, or its data set."
        )
    x: list[Tensor] = []
    labels: list[int | None] = []
    with rng.untouched():
        for batch in _until(loader, limit):
            inputs, own = _parts(batch)
            x.append(callers.rows("the data", inputs, model))
            n = len(x[-1])
            labels += [None] * n if own is None else as_labels(own, n)
    if not x:
        return _data((0,), (), Rows(torch.zeros(0, 0)), "a DataLoader given by the caller")
    rows, part = torch.cat(x), slice(limit)
    return _data(rows.shape[1:], labels[part], Rows(rows[part]), "a DataLoader given by the caller")


def _texts(data: Any) -> tuple[list[str], Any] | None:
    """Texts with their labels, None where unknown; None for anything else."""
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str):
        found = _texts(data[0])
        return found and (found[0], data[1])
    if hasattr(data, "tolist") and str(getattr(data, "dtype", "")).startswith(
        ("object", "str", "<U")
    ):
        data = data.tolist()
    if isinstance(data, list | tuple) and data and all(isinstance(text, str) for text in data):
        return list(data), None
    return None


def _given_texts(texts: list[str], labels: Any, owner: Model | None, limit: int | None) -> Data:
    if owner is None:
        raise InputError(
            "the data are texts, and the model takes tensors; give an igbench Model of texts, such "
            "as igbench.models.hf_text.wrapped(module, tokenizer)."
        )
    own = [None] * len(texts) if labels is None else as_labels(labels, len(texts))
    return texts_data(
        "given",
        owner,
        texts[:limit],
        sample_ids=[f"sample-{i:05d}" for i in range(len(texts))][:limit],
        labels=own[:limit],
        source="given by the caller",
    )


def _until(loader: Iterable[Any], limit: int | None) -> Iterable[Any]:
    """Batches until there are enough samples."""
    seen = 0
    for batch in loader:
        if limit is not None and seen >= limit:
            return
        yield batch
        seen += len(_parts(batch)[0])


def _dataset(dataset: Any, limit: int | None, labelled: bool) -> Data:
    """A map-style data set, whose items are loaded when they are needed."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise InputError(
            "the data set has no length and no positions; give a DataLoader of it, with limit=."
        )
    n = len(dataset) if limit is None else min(limit, len(dataset))
    source = f"{type(dataset).__name__} given by the caller"
    items = Items(dataset)
    if n == 0:
        return _data((0,), (), items, source)
    first = callers.tensor("the sample", items.item(0)[0])
    own = getattr(dataset, "targets", None)
    if own is None:
        own = [items.item(i)[1] for i in range(n)] if labelled else [None] * n
    labels = [None] * n if any(v is None for v in own) else as_labels(list(own)[:n], n)
    return _data(first.shape, labels, items, source)


def _place(
    path: Path,
    preprocess: Preprocess | Callable[[Any], Tensor] | None,
    limit: int | None,
    owner: Model | None,
) -> Data:
    """Texts of a file for a model of texts, images of a folder for any other."""
    if owner is not None and owner.text is not None:
        return text_files.texts(owner, limit=limit, path=str(path))
    return _folder(path, preprocess, limit)


def _folder(
    folder: Path, preprocess: Preprocess | Callable[[Any], Tensor] | None, limit: int | None
) -> Data:
    """Images of a folder, flat or in class folders."""
    images.require_folder(folder, "data")
    if preprocess is None:
        raise InputError(
            f"the images in {str(folder)!r} need preprocess=, from an image of Pillow to the "
            "tensor that the model takes: for example the transforms() of torchvision's weights."
        )
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    listing = images.list_images(folder)
    left_out = listing.left_out
    files: list[tuple[Path, int | None]] = [(p, None) for p in listing.images]
    if not files:
        del left_out["folders"]
        for k, place in enumerate(classes):
            inside = images.list_images(place)
            files += [(p, k) for p in inside.images]
            left_out += inside.left_out
    if not files:
        raise InputError(f"there are no images in {str(folder)!r}, nor in its sub-folders.")
    images.report_left_out(folder, left_out)
    names = [images.printable(p.relative_to(folder).as_posix()) for p, _ in files]
    chosen = images.spread(names)[:limit]
    load = Files(tuple(files[i][0] for i in chosen), preprocess)
    more = {"display": images.Display(preprocess)} if isinstance(preprocess, Preprocess) else {}
    shape = load_first(load).shape
    return _data(
        shape,
        [files[i][1] for i in chosen],
        load,
        f"{len(files)} images below '{images.printable(folder.name)}'",
        [names[i] for i in chosen],
        files=load.files,
        **more,
    )


def load_first(load: Files) -> Tensor:
    """The first image that can be read."""
    for i in range(len(load.paths)):
        try:
            return load(i)
        except SampleError as error:
            last = error
    raise InputError(f"none of the {len(load.paths)} images can be read; the last one: {last}")
