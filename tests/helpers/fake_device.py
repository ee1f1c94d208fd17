"""What would happen on an accelerator?  A device that is only pretended, and needs no hardware.

Tensors on it say that they are on the device "meta", and carry their numbers on the CPU.  Every
operation is looked at on the way: operations that mix the two devices are refused as on a real one,
and everything that makes the host wait is counted.  The numbers are those of the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
FAR = torch.device("meta")
NEAR = torch.device("cpu")

COPIES = {aten._to_copy, aten.copy_, aten.copy}
"""Operations that lead from one device to the other."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""Operations whose index may be on the host; it is sent."""
WAITS = {
    aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.item, aten.masked_select,
    aten.nonzero, aten.repeat_interleave, aten.unique_consecutive, aten.unique_dim, aten._unique,
    aten._unique2,
}  # fmt: skip
"""Operations whose result, or its shape, the host must know before it goes on."""


class Mixed(Exception):  # noqa: N818  what is reported is the defect of others
    """Tensors of two devices met."""


class Far(Tensor):
    """A tensor on the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        with torch.inference_mode(False):
            made = Tensor._make_wrapper_subclass(
                cls, near.shape, near.stride(), near.storage_offset(), dtype=near.dtype, device=FAR
            )
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} left the pretended device")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"far {self.near!r}"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise Mixed("a tensor on the device is no array")
        return self.cpu().numpy()


class _Literals(TorchFunctionMode):
    """Numbers from Python go through the host; on "meta" torch would leave them out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and given.get("device") is not None:
            return func(*args, **{**given, "device": NEAR}).to(given["device"])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            found = tuple(torch.tensor(p) if isinstance(p, list) else p for p in places)
            return func(args[0], found, *args[2:])
        return func(*args, **given)


class _Device(TorchDispatchMode):
    """Does the work of the pretended device on the CPU.

    Attributes:
        waits: What made the host wait, and how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        with self:  # in inference mode composite operations arrive whole
            parts = func.decompose(*args, **given)
        if parts is not NotImplemented:
            return parts
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        far = [t for t in tensors if isinstance(t, Far)]
        asked = given.get("device")
        if asked is not None:
            given["device"] = NEAR
        to_far = bool(far) if asked is None else torch.device(asked).type == FAR.type
        if not far and not to_far:
            return func(*args, **given)
        if to_far and isinstance(given.get("generator"), torch.Generator):
            raise Mixed(f"{func} draws from a generator of the host on the device")
        self._look(func, args, tensors, far, to_far)
        found = func(*tree_map(_near, args), **tree_map(_near, given))
        if func.overloadpacket is aten.copy_:
            return args[0]
        known = {id(t.near): t for t in far}
        return tree_map(lambda v: _far(v, known), found) if to_far else found

    def _look(
        self, func: Any, args: Any, tensors: list[Tensor], far: list[Far], to_far: bool
    ) -> None:
        """Refuse what a device would refuse, and count what it would wait for."""
        packet = func.overloadpacket
        assert all(isinstance(t, Far) or t.device == NEAR for t in tensors), f"{func}: no numbers"
        near = [t for t in tensors if not isinstance(t, Far) and t.dim() > 0]
        if packet in COPIES:
            if near or not to_far:
                self.waits[f"{packet} to {'device' if to_far else 'host'}"] += 1
            return
        indices = args[1] if packet in INDEXED else []
        wrong = [t for t in near if not any(t is i for i in indices)]
        if far and wrong:
            shapes = [tuple(t.shape) for t in wrong]
            raise Mixed(f"{func} got tensors of shape {shapes} that were left on the host")
        sent = [i for i in indices if i is not None and not isinstance(i, Far)]
        masks = [i for i in indices if isinstance(i, Far) and i.dtype == torch.bool]
        fill = bool(masks) and packet is not aten.index and args[2].numel() == 1
        if sent or (masks and not fill) or packet in WAITS:
            self.waits[str(packet)] += 1


def _near(value: Any) -> Any:
    return value.near if isinstance(value, Far) else value


def _far(value: Any, known: dict[int, Far]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else Far(value)


@contextmanager
def pretended() -> Iterator[Counter[str]]:
    """Within this, the device "meta" works; yields what made the host wait, and how often."""
    device = _Device()
    with _Literals(), device:
        yield device.waits


def moved(module: nn.Module) -> nn.Module:
    """A module with all its tensors on the pretended device; call it within `pretended`."""
    return module.to(FAR)
