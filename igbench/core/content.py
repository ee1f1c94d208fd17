"""Equality, hash and text by content, for parameters that may hold tensors or dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest(tensor: Tensor) -> str:
    """Type, shape and hash of a tensor.

    >>> digest(torch.tensor([[0, 1]]))
    'int64 tensor of shape [1, 2], sha256 9d34149fbd1fe777'
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    hashed = hashlib.sha256(_bytes(tensor)).hexdigest()[:16]
    return f"{kind} tensor of shape {list(tensor.shape)}, sha256 {hashed}"


def short_hash(tensor: Tensor) -> str:
    """8 hexadecimal digits by which a text tells tensors apart.

    >>> short_hash(torch.ones(2, 3))
    '88f8780c'
    """
    return hashlib.blake2b(_bytes(tensor), digest_size=4).hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    found = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return bytes(found.numpy().tobytes())


def content(value: Any) -> Hashable:
    """A key that is equal for equal values: tensors and arrays count by what they hold.

    Args:
        value: Anything; objects that cannot be hashed are equal to themselves alone.

    >>> content(torch.tensor([0, 1])) == content(torch.tensor([0, 1]))
    True
    >>> content({"a": [1, 2]}) == content({"a": (1, 2)}), content("a") == content("b")
    (True, False)
    """
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest())
    if isinstance(value, Mapping):
        return frozenset((content(k), content(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(content, value))
    try:
        hash(value)
    except TypeError:
        return (type(value), id(value))
    return value


class ByContent:
    """Base of frozen dataclasses whose fields may hold tensors, lists or dictionaries.

    Objects of one class with equal content are equal and have the same hash; in their text a tensor
    is one short line with a hash of its numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Marked(ByContent):
    ...     index: Tensor
    >>> Marked(torch.tensor([0, 1]))
    Marked(index=<int64 tensor of shape [2], sha256 9d34149fbd1fe777>)
    >>> Marked(torch.tensor([0, 1])) == Marked(torch.tensor([0, 1])), len({Marked(torch.ones(2))})
    (True, 1)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Set the three methods, which `dataclass` then leaves as they are."""
        super().__init_subclass__(**options)
        for name, own in (("__eq__", _equal), ("__hash__", _hash), ("__repr__", _text)):
            if name not in cls.__dict__:
                setattr(cls, name, own)


def _values(part: Any) -> tuple[Any, ...]:
    return tuple(getattr(part, f.name) for f in fields(part) if f.compare)


def _equal(self: Any, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented
    if not is_dataclass(self):
        return self is other
    return self is other or content(_values(self)) == content(_values(other))


def _hash(self: Any) -> int:
    return hash(content(_values(self))) if is_dataclass(self) else object.__hash__(self)


def _text(self: Any) -> str:
    if not is_dataclass(self):
        return object.__repr__(self)
    shown = (f"{f.name}={_shown(getattr(self, f.name))}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"<{digest(value)}>" if isinstance(value, Tensor) else repr(value)
