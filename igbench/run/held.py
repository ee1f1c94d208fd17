"""Walk what an object holds: the functions, classes, numbers and paths that decide what it does."""

from __future__ import annotations

import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from igbench.core.dataset import Data

PLAIN = frozenset({bool, bytes, complex, float, int, type(None)})
"""Types of which a whole list is one thing."""

LEAVES = (
    *(bool, bytearray, bytes, complex, float, int, str, type(None)),
    *(Data, ModuleType, PurePath, Tensor, np.ndarray, np.generic, torch.dtype, type),
)
"""Types of things that are not looked into; data, which many hold, count once, by themselves."""

STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
"""Folders of the standard library."""

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that installed packages are in."""


class Again(NamedTuple):
    """Something that was met before, by its place among all that was."""

    place: int


def held(*roots: object) -> Iterator[object]:
    """Everything that some objects hold, themselves included, in an order that stays.

    Containers, fields of objects, and arguments, defaults, enclosed variables and wrapped functions
    of functions are followed; nothing is called, and no property is computed.
    """
    places: dict[int, int] = {}
    kept: list[object] = []  # so that no address is used twice
    waiting = list(reversed(roots))
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | PurePath) or type(value) in PLAIN or is_plain_list(value):
            yield value
        elif id(value) in places:
            yield Again(places[id(value)])
        else:
            places[id(value)] = len(kept)
            kept.append(value)
            yield value
            waiting += reversed(list(_children(value)))


def is_array(value: object) -> bool:
    """Whether a value turns into an array, as frames do."""
    return hasattr(type(value), "__array__")


def is_plain_list(value: object) -> bool:
    """Whether a value is a list of numbers alone."""
    return isinstance(value, list | tuple) and set(map(type, value)) <= PLAIN


def in_standard_library(path: Path) -> bool:
    """Whether a file is one of Python itself."""
    return not is_installed(path) and any(folder in path.parents for folder in STANDARD)


def is_installed(path: Path) -> bool:
    """Whether a file is in a folder of installed packages."""
    return not INSTALLED.isdisjoint(path.parts)


def _children(value: Any) -> Iterable[object]:
    """What one thing holds."""
    if isinstance(value, LEAVES) or is_array(value):
        return ()
    if isinstance(value, FunctionType):
        return _of_function(value)
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, BuiltinFunctionType):
        return (value.__self__,)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    fields, kind = _fields(value), type(value)
    if _is_standard(kind):
        return (*_items(value), fields.get("__wrapped__"))
    return (kind, *_items(value), *fields.values())


def _items(value: Any) -> Iterable[object]:
    """What is in a container; nothing for other things."""
    if isinstance(value, dict | MappingProxyType):
        return [x for pair in value.items() for x in pair]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value if isinstance(value, list | tuple | deque) else ()


def _of_function(function: FunctionType) -> Iterable[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield function.__defaults__
    yield function.__kwdefaults__
    yield vars(function).get("__wrapped__")


def _fields(value: object) -> dict[str, object]:
    """Attributes that are stored, in dictionaries and slots."""
    found: dict[str, object] = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            place: Any = kind.__dict__.get(_mangled(kind, name))
            if name not in ("__dict__", "__weakref__") and hasattr(place, "__get__"):
                try:
                    found[name] = place.__get__(value)
                except (AttributeError, TypeError):  # nothing is stored
                    continue
    with suppress(AttributeError, TypeError):  # as stored: code of the object takes no part
        found |= object.__getattribute__(value, "__dict__")
    return found


def _mangled(kind: type, name: str) -> str:
    """The name under which a class has a slot."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{kind.__name__.lstrip('_')}{name}" if private else name


def _is_standard(kind: type) -> bool:
    """Whether a class is one of Python itself: locks, files and loggers decide no number."""
    return kind is not SimpleNamespace and _is_standard_module(kind.__module__)


@cache
def _is_standard_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return in_standard_library(Path(file)) if file else name in sys.builtin_module_names
