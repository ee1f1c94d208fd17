"""Tell data and parts apart by what they hold: files, tensors, arrays and numbers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from igbench.core.content import digest
from igbench.core.dataset import Data
from igbench.errors import InputError
from igbench.files import cache_folder
from igbench.run.file_hashes import hashes
from igbench.run.held import PLAIN, Again, held, is_array, is_plain_list

MEMORY = "files"
"""Folder of the cache in which the hashes of files are remembered."""

LONGEST = 4096
"""Characters of the longest path."""

VALUES = PLAIN | {str, bytearray, torch.dtype, torch.device, torch.Size}
"""Types of what its text says whole."""


class Contents(NamedTuple):
    """What data hold.

    Attributes:
        samples: Hashes of the files of each sample; none where the data do not say which.
        rest: A hash of everything else.
    """

    samples: tuple[tuple[str, ...], ...]
    rest: str


POOL = ("reference", "reference_labels", "black", "white")
"""Fields of data that baselines and methods draw from."""
ELSEWHERE = ("name", "kind", "shape", "sample_ids", "labels", "features", "source", "files")
"""Fields that count by themselves, for all samples or for their own sample alone."""


def of_data(data: Data) -> Contents:
    """What data hold: the files of each sample, and the rest.

    Tensors, arrays and numbers that `load`, `mask` and the pool hold count by what is in them, and
    so do files whose paths they hold; those of samples count for their own sample alone where
    `Data.files` says which they are.

    Raises:
        InputError: `Data.files` returns something else than paths.
    """
    files = [_files(data, i) for i in range(len(data))]
    pool = list(held(*(getattr(data, name) for name in POOL)))
    others = {f.name: getattr(data, f.name) for f in fields(data) if f.name not in ELSEWHERE}
    rest = list(held(*(value for name, value in others.items() if name not in POOL)))
    named = _paths(pool) if data.files else _paths([*pool, *rest])
    known = hashes(
        dict.fromkeys([*named, *(path for one in files for path in one)]),
        cache_folder(None) / MEMORY,
    )
    shown = known if data.files is None else {path: known[path] for path in named}
    whole = [*_words(pool, shown), "", *_words(rest, shown)]
    return Contents(tuple(tuple(known[path] for path in one) for one in files), _digest(whole))


def of_parts(*parts: object) -> str:
    """A hash of what methods, metrics or baselines hold besides code and data."""
    return _digest(_words(held(*parts), {}))


def _files(data: Data, index: int) -> tuple[Path, ...]:
    """The files of one sample."""
    if data.files is None:
        return ()
    found = data.files(index)
    several = isinstance(found, Sequence) and not isinstance(found, str | bytes)
    if several and all(isinstance(path, str | os.PathLike) for path in found):
        return tuple(Path(path) for path in found)
    raise InputError(
        f"Data.files({index}) of data {data.name!r} returned {type(found).__name__} "
        f"{str(found)[:60]!r}; it must return a tuple of paths."
    )


def _paths(values: Iterable[object]) -> list[Path]:
    """The files among what is held: paths, and texts that name a file in a folder."""
    return [path for value in values if (path := _path(value)) and _is_file(path)]


def _path(value: object) -> Path | None:
    if isinstance(value, np.memmap):
        return Path(value.filename) if value.filename else None
    named = isinstance(value, str) and os.sep in value and len(value) < LONGEST
    return Path(value) if isinstance(value, PurePath) or named else None  # type: ignore[arg-type]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no path at all, or a folder that is closed
        return False


def _words(values: Iterable[object], known: Mapping[Path, str]) -> Iterator[str]:
    """What is held, as words that say what is in it; the names of files do not count."""
    for value in values:
        path = _path(value)
        if path is not None and path in known:
            yield f"file {known[path]}"
        elif not isinstance(value, PurePath):
            yield _word(value)


def _word(value: Any) -> str:
    kind = type(value)
    if isinstance(value, Again):
        return f"again {value.place}"
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if is_array(value):
        # Frames have names of rows and columns.
        parts = (value, getattr(value, "index", None), getattr(value, "columns", None))
        return " ".join((kind.__name__, *map(_of_array, parts)))
    if kind in VALUES or is_plain_list(value):
        return f"{kind.__name__} {value!r}"
    size = len(value) if kind in (dict, list, tuple, set, frozenset) else ""
    owner = value if isinstance(value, type | FunctionType | BuiltinFunctionType) else kind
    return f"{owner.__module__} {owner.__qualname__} {size}"


def _of_tensor(value: Tensor) -> str:
    try:
        return digest(value.detach().to_dense().resolve_conj().resolve_neg())
    except RuntimeError:  # no numbers that can be read, as on the device "meta"
        return f"{value.dtype} {tuple(value.shape)}"


def _of_array(value: object) -> str:
    array = np.asarray(value)
    if array.dtype == object:
        return repr(array.tolist())
    hashed = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype} {array.shape} {hashed}"


def _digest(words: Iterable[str]) -> str:
    text = "\0".join(words)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
