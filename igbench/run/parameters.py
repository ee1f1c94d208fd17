"""Parameters of methods and metrics as plain values, for records and for keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from igbench.core.content import digest

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def parameters(part: object) -> dict[str, Any]:
    """Every parameter of a method or metric, defaults included, as plain values.

    Args:
        part: A dataclass; other objects have no parameters that are known.  Fields that are left
            out of its `repr`, such as the data set, are left out here too.

    Returns:
        Name to number, text, None, or lists and dictionaries of such.  Tensors are described by
        type, shape and hash, and other objects by their `repr`.
    """
    if not is_dataclass(part):
        return {}
    return {f.name: plain(getattr(part, f.name)) for f in fields(part) if f.repr}


def plain(value: Any) -> Any:
    """A parameter as JSON has it; see `parameters`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return digest(value) if isinstance(value, Tensor) else described(value)


def described(part: object) -> str:
    """The text of an object by which equal objects are known, also in another process.

    Addresses in memory are left out, and tensors, which `repr` abbreviates, are hashed.
    """
    text = _ADDRESS.sub("", repr(part))
    own = [getattr(part, f.name) for f in fields(part)] if is_dataclass(part) else []
    return text + "".join(f" {digest(v)}" for v in own if isinstance(v, Tensor))
