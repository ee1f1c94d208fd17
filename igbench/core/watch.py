"""Notice what a piece of work leaves changed in modules and weights, and undo it.

Weights are compared bit by bit with a copy in the memory of the CPU, since writes through `.data`
or `.numpy()` raise no version counter.  On another device they are compared by sums of their bits
and their version counters, and bit by bit where these differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.process import Change, filled, same_parts
from igbench.core.score import Score

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_OWN = tuple(k for k, v in vars(nn.Module()).items() if isinstance(v, dict | set))
"""Attributes of every module that hold its parts: weights, modules and hooks."""

_WORDS = {
    "_parameters": "replaced a parameter of",
    "_buffers": "added, removed or replaced a buffer of",
    "_non_persistent_buffers_set": "added, removed or replaced a buffer of",
    "_modules": "added, removed or replaced a module of",
}
_CALLED = ("forward", "__call__", "_call_impl")
_SCORE = ("output", "channels_last", "quick", "cost", "limit", "model")
"""Attributes of a scalar that decide numbers, or count."""

_MISSING = object()


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have equal shape, type, device and bits; NaN equals itself.

    >>> same_bits(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    True
    """
    if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
        return False
    return torch.equal(a, b) or torch.equal(*(_bits(v.contiguous().clone()) for v in (a, b)))


def _bits(tensor: Tensor) -> Tensor:
    """A tensor's numbers as whole numbers; a view, of the longest whole numbers that fit."""
    plain = tensor.detach()
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    size = plain.element_size()
    whole = plain.numel() * size % 8 == plain.storage_offset() * size % 8 == 0
    if whole and plain.numel() and plain.is_contiguous():
        return plain.view(-1).view(torch.int64)
    return plain.view(_BITS[size])


class Modules:
    """Modules as they are now: their parts, hooks, modes, settings and weights.

    Args:
        roots: Names and modules; what they contain is watched too.

    >>> from igbench.core.process import put_back
    >>> layer = nn.Linear(1, 1)
    >>> before = Modules([("", layer)])
    >>> _ = layer.register_forward_hook(print)
    >>> layer.weight.data += 1
    >>> found = list(before.changes())
    >>> [change.text for change in found]
    ['left or removed a hook on the model', "wrote into the weights 'weight'"]
    >>> put_back(found)
    >>> list(before.changes())
    []
    """

    def __init__(self, roots: Iterable[tuple[str, nn.Module]]) -> None:
        modules: dict[int, tuple[str, nn.Module]] = {}
        weights: dict[int, _Weight] = {}
        places: set[object] = set()
        for root, top in roots:
            for name, module in top.named_modules():
                modules.setdefault(id(module), (_dotted(root, name), module))
            for name, value in [*top.named_parameters(), *top.named_buffers()]:
                if id(value) not in weights:
                    own = _Weight(_dotted(root, name), value, known=_place(value) in places)
                    places.add(own.place)
                    weights[id(value)] = own
        self.modules = [_Module(name, module) for name, module in modules.values()]
        self.weights = _Weights(list(weights.values()))
        kinds = dict.fromkeys(k for _, m in modules.values() for k in type(m).__mro__[:-1])
        self.called = [
            (kind, name, vars(kind).get(name, _MISSING)) for kind in kinds for name in _CALLED
        ]

    def changes(self) -> Iterator[Change]:
        """What is not as it was."""
        for module in self.modules:
            yield from module.changes()
        for kind, name, before in self.called:
            if vars(kind).get(name, _MISSING) is not before:
                text = f"replaced {name} of the class {kind.__name__}"
                yield Change((kind, name), text, partial(_set, kind, name, before))
        yield from self.weights.changes()

    def leave(self, keys: Iterable[object]) -> None:
        """Watch no longer what has these keys."""
        gone = set(keys)
        self.weights = _Weights([w for w in self.weights.each if w.key not in gone])
        for module in self.modules:
            module.leave(gone)


class _Module:
    """One module: which parts, hooks and settings it has."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.kind = name, type(module)
        self.own = own = vars(module)
        self.known = set(own)
        self.parts = [
            (key, own[key], dict.fromkeys(own[key]) | _items(own[key]))
            for key in _OWN
            if isinstance(own.get(key), dict | set)
        ]
        constants = {str(c) for c in getattr(module, "__constants__", ())}
        constants |= {"training", *(_SCORE if isinstance(module, Score) else ())}
        self.fixed = [
            (key, value)
            for key, value in own.items()
            if key in constants or (key not in _OWN and callable(getattr(self.kind, key, None)))
        ]

    def changes(self) -> Iterator[Change]:
        own, where = self.own, f"'{self.name}'" if self.name else "the model"
        for key, part, before in self.parts:
            if own.get(key) is not part or ((part or before) and not same_parts(part, before)):
                text = f"{_WORDS.get(key, 'left or removed a hook on')} {where}"
                undo = partial(self._restore, key, part, before)
                yield Change((id(own), key), text, undo)
        for key, before in self.fixed:
            if own.get(key, _MISSING) is not before and not _equal(own.get(key), before):
                what = "the mode (training or not)" if key == "training" else repr(key)
                text = f"changed {what} of {where}"
                yield Change((id(own), key), text, partial(own.__setitem__, key, before))
        if own.keys() != self.known:
            for key in own.keys() - self.known:
                if callable(getattr(self.kind, key, None)):
                    text = f"replaced {key} of {where}"
                    yield Change((id(own), key), text, partial(own.pop, key))

    def _restore(self, key: str, part: Any, before: Mapping[Any, Any]) -> None:
        self.own[key] = part
        filled(part, before)()

    def leave(self, keys: set[object]) -> None:
        self.parts = [p for p in self.parts if (id(self.own), p[0]) not in keys]
        self.fixed = [f for f in self.fixed if (id(self.own), f[0]) not in keys]
        self.known |= {key for key in self.own if (id(self.own), key) in keys}


class _Weight:
    """One parameter or buffer: its object, its place, its flags and a copy of its numbers."""

    def __init__(self, name: str, value: Tensor, known: bool) -> None:
        self.name, self.value = name, value
        self.key = ("weight", id(value))
        self.alias = value.detach()  # the numbers, whatever `.data` is set to
        self.place = _place(value)
        self.flag, self.gradient, self.hooks = value.requires_grad, value.grad, _hooks(value)
        try:
            self.bits: Tensor | None = None if known else _bits(self.alias)
            self.saved = None if self.bits is None else self.bits.cpu().clone()
        except (RuntimeError, KeyError):  # sparse, quantised: they have no bits to look at
            self.bits = self.saved = None

    def changes(self, changed: bool) -> Iterator[Change]:
        value, what = self.value, f"'{self.name}'"
        if _place(value) != self.place:
            undo = partial(setattr, value, "data", self.alias)
            yield Change(self.key, f"replaced the data of {what}", undo)
        if value.requires_grad != self.flag:
            undo = partial(setattr, value, "requires_grad", self.flag)
            yield Change(self.key, f"changed requires_grad of {what}", undo)
        if value.grad is not self.gradient:
            undo = partial(setattr, value, "grad", self.gradient)
            yield Change(self.key, f"left a gradient on {what}", undo)
        if _hooks(value) != self.hooks:
            undo = partial(setattr, value, "_backward_hooks", self.hooks and dict(self.hooks))
            yield Change(self.key, f"left a hook on {what}", undo)
        if changed:
            yield Change(self.key, f"wrote into the weights {what}", self._write)

    def _write(self) -> None:
        if self.bits is not None and self.saved is not None:
            with torch.inference_mode(self.alias.is_inference()), torch.no_grad():
                self.bits.copy_(self.saved)


class _Weights:
    """All weights; those of other devices are compared by one transfer."""

    def __init__(self, each: list[_Weight]) -> None:
        self.each = each
        self.away = [w for w in each if w.bits is not None and w.bits.device.type != "cpu"]
        self.sums, self.versions = self._sums(), [_version(w.alias) for w in self.away]

    def _sums(self) -> list[int]:
        """A sum of the bits of each weight on another device."""
        sums = [w.bits.sum(dtype=torch.int64) for w in self.away if w.bits is not None]
        return torch.stack(sums).tolist() if sums else []

    def changes(self) -> Iterator[Change]:
        found = (self._sums(), [_version(w.alias) for w in self.away])
        suspects = set()
        if found != (self.sums, self.versions):
            before = zip(self.away, self.sums, self.versions, strict=True)
            now = zip(*found, strict=True)
            suspects = {id(w) for (w, *old), new in zip(before, now, strict=True) if (*old,) != new}
        for weight in self.each:
            at_home = weight.bits is not None and weight.bits.device.type == "cpu"
            suspect = at_home or id(weight) in suspects
            yield from weight.changes(suspect and _differs(weight))


def _differs(weight: _Weight) -> bool:
    if weight.bits is None or weight.saved is None:
        return False
    return not torch.equal(weight.bits.cpu(), weight.saved)


def _dotted(*names: str) -> str:
    return ".".join(filter(None, names))


def _version(value: Tensor) -> int:
    return 0 if value.is_inference() else value._version


def _hooks(value: Tensor) -> dict[int, Any] | None:
    """Hooks of a tensor; None and none are the same."""
    hooks = value._backward_hooks
    return dict(hooks) if hooks else None


def _place(value: Tensor) -> tuple[Any, ...]:
    """Where the numbers of a tensor are, and how they are read."""
    where = value.data_ptr() if value.layout == torch.strided else 0
    strides = value.stride() if value.layout == torch.strided else ()
    return (where, value.dtype, value.device, value.shape, strides)


def _set(owner: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _items(part: Any) -> dict[Any, Any]:
    return dict(part) if isinstance(part, Mapping) else {}


def _equal(value: Any, before: Any) -> bool:
    """Whether a setting is the same number, text or tuple of these."""
    plain = (bool, int, float, str, tuple)
    return type(value) is type(before) and isinstance(value, plain) and value == before
