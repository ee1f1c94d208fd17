"""What belongs to the caller stays as it is: private copies of models and tensors, own modes.

A private copy of a model is a copy of its modules and buffers around the same weights, so that it
costs no memory to speak of, and nothing that a forward pass, a hook or a method does to it
reaches the model of the caller: caches, counters, `requires_grad`, in-place changes of buffers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from igbench.errors import InputError, check_eval_mode, check_finite


@overload
def private(model: nn.Module) -> nn.Module: ...


@overload
def private(model: Callable[..., Any]) -> Callable[..., Any]: ...


def private(model: nn.Module | Callable[..., Any]) -> nn.Module | Callable[..., Any]:
    """A copy of a module around the same weights, with their gradients off; functions as they are.

    Where a module cannot be copied it is used itself, without its weights being frozen.

    Args:
        model: In eval mode.

    Raises:
        InputError: A model in training mode, or one with weights that are not there yet.

    >>> layer = nn.Linear(2, 1).eval()
    >>> own = private(layer)
    >>> own.weight.data_ptr() == layer.weight.data_ptr(), own.weight.requires_grad
    (True, False)
    >>> layer.weight.requires_grad
    True
    """
    if not isinstance(model, nn.Module):
        return model
    _check_weights(model)
    try:
        own = duplicate(model, {id(p): _weight(p) for p in model.parameters()})
    except Exception:  # locks, open files, nodes of a graph: whatever has no copy
        check_eval_mode(model)
        return model
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    if "eval" in vars(model):  # torch.export puts a refusal there: its programs have no modes
        for module in own.modules():
            module.training = False
    check_eval_mode(own)
    return own


def duplicate(model: nn.Module, shared: Mapping[int, Any] | None = None) -> nn.Module:
    """A copy of a module, which may keep tensors that belong to a graph, such as activations.

    Args:
        model: What to copy; its weights are copied too, unless they are shared.
        shared: Objects that take the place of others, by the identity of these.

    >>> layer = nn.Linear(2, 1)
    >>> layer.last = layer(torch.ones(1, 2))  # copy.deepcopy refuses
    >>> duplicate(layer).weight.data_ptr() == layer.weight.data_ptr()
    False
    """
    memo = dict(shared or {})
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    with torch.inference_mode(False), torch.no_grad():
        return copy.deepcopy(model, memo)


def _weight(parameter: nn.Parameter) -> nn.Parameter:
    """The same numbers, as a parameter that takes no gradient."""
    values = parameter.detach()
    return nn.Parameter(values.clone() if values.is_inference() else values, requires_grad=False)


def _check_weights(model: nn.Module) -> None:
    """Raise on weights without values."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(value) or value.is_meta:
            how = "on the meta device" if value.is_meta else "not initialised"
            raise InputError(
                f"the model's {name!r} is {how}, so it has no values; load the weights, and call "
                "a lazy model once first."
            )


def placed(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A module on a device in a dtype: itself where it is so already, and else a private copy.

    A module whose weights have more than one floating-point dtype keeps them.

    Args:
        module: In eval mode.
        device: Where it is to run.
        dtype: Of its weights.

    >>> layer = nn.Linear(2, 1).eval()
    >>> placed(layer, torch.device("cpu"), torch.float64).weight.dtype, layer.weight.dtype
    (torch.float64, torch.float32)
    """
    wanted = dtype if len(dtypes(module)) == 1 else None
    tensors = [*module.parameters(), *module.buffers()]
    if all(_at(t, device) and not _cast(t, wanted) for t in tensors):
        return module
    own = private(module)
    if own is module:
        raise InputError(
            f"the model is not on {device} in {dtype}, and it cannot be copied to put it there; "
            "move it before."
        )
    return own.to(device, wanted)


def _at(tensor: Tensor, device: torch.device) -> bool:
    same = tensor.device.type == device.type
    return same and (device.index is None or tensor.device.index == device.index)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> bool:
    return dtype is not None and tensor.is_floating_point() and tensor.dtype != dtype


def dtypes(model: object) -> set[torch.dtype]:
    """Floating-point dtypes of the weights of a model; none for functions."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return {p.dtype for p in weights if p.is_floating_point()}


@contextmanager
def own_modes() -> Iterator[None]:
    """A context without the inference mode, gradient mode and autocast of the caller."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def rows(what: str, value: Any, model: object = None) -> Tensor:
    """Inputs as a tensor of igbench's own, on the device and in the dtype of the model.

    Args:
        what: Name of the argument, for messages.
        value: (N, *F): a tensor, a NumPy array, a pandas frame of numbers, or nested lists.
        model: Where its weights have one dtype, the inputs get it; None to keep theirs.

    Raises:
        InputError: No rows, no numbers, or integers.

    >>> rows("inputs", [[1.0, 2.0]])
    tensor([[1., 2.]])
    """
    found = tensor(what, value)
    if found.dim() < 2:
        raise InputError(
            f"{what} has shape {tuple(found.shape)}, expected (N, *F): a row for each sample, with "
            "at least one axis of features. A single sample is x[None]."
        )
    if found.is_complex() or not found.is_floating_point():
        raise InputError(
            f"{what} has dtype {str(found.dtype).removeprefix('torch.')}; attributions need "
            "floating-point inputs. Convert measurements with x.float(), and explain the "
            "embeddings of integer tokens instead of the tokens."
        )
    known = dtypes(model)
    dtype = known.pop() if len(known) == 1 else found.dtype
    place = next(iter(model.parameters()), found) if isinstance(model, nn.Module) else found
    return found.to(place.device, dtype)


def tensor(what: str, value: Any) -> Tensor:
    """A copy of an array of numbers as a tensor, outside of any graph.

    Args:
        what: Name of the argument, for messages.
        value: A tensor, a NumPy array, a pandas frame, a series, a number, or nested lists.

    Raises:
        InputError: Anything else.
    """
    with torch.inference_mode(False):
        if isinstance(value, Tensor):
            if value.is_sparse or value.layout != torch.strided:
                raise InputError(f"{what} is sparse; give {what}.to_dense().")
            return value.detach().clone(memory_format=torch.contiguous_format)
        if hasattr(value, "dtypes") and hasattr(value, "select_dtypes"):
            value = _frame(what, value)
        elif isinstance(value, Sequence) and value and isinstance(value[0], Tensor):
            value = _stacked(what, value)
        listed = isinstance(value, list | tuple)
        try:
            array = np.array(value, order="C")
        except ValueError as error:
            raise InputError(f"{what} is not a rectangular array: {error}.") from error
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"{what} is a {type(value).__name__} of {array.dtype}; give a tensor, a NumPy "
                "array, a pandas frame or lists of numbers."
            )
        if listed and array.dtype == np.float64:
            array = array.astype(np.float32)  # as torch reads lists
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def like(what: str, value: Any, x: Tensor) -> Tensor:
    """A number or an array that broadcasts to the inputs, as a tensor of their shape.

    Args:
        what: Name of the argument, for messages.
        value: A number, or an array of numbers.
        x: (N, *F) the inputs.

    Raises:
        InputError: Another shape, or NaN.
    """
    return broadcast(what, tensor(what, value).to(x.device, x.dtype), x.shape, "inputs")


def broadcast(what: str, value: Tensor, shape: Sequence[int], whole: str) -> Tensor:
    """A tensor of finite numbers, broadcast to a shape.

    Args:
        what: Name of the argument, for messages.
        value: The tensor.
        shape: Of the result.
        whole: What has this shape, for messages.

    Raises:
        InputError: It does not broadcast, or holds NaN.
    """
    try:
        full = value.expand(*shape)
    except RuntimeError as error:
        raise InputError(
            f"{what} has shape {tuple(value.shape)}, which does not broadcast to the {whole} "
            f"{tuple(shape)}."
        ) from error
    check_finite(what, value)
    return full


def names(sample_ids: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """Names of N samples: those given, or "0" to "N-1".

    Raises:
        InputError: Another number of names, or one that is there twice.

    >>> names(None, 2)
    ('0', '1')
    """
    found = tuple(map(str, range(n) if sample_ids is None else sample_ids))
    if len(found) != n:
        raise InputError(f"there are {len(found)} sample ids for {n} samples.")
    if len(set(found)) != n:
        twice = next(s for i, s in enumerate(found) if s in found[:i])
        raise InputError(f"the sample id {twice!r} is there twice; each sample needs its own.")
    return found


def _stacked(what: str, value: Sequence[Tensor]) -> np.ndarray:
    try:
        return torch.stack(list(value)).detach().cpu().numpy()
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{what} is a list of tensors of different shapes; several inputs of one model are "
            "packed into one, see igbench.pack."
        ) from error


def _frame(what: str, frame: Any) -> Any:
    """The numbers of a pandas frame, in its narrowest floating-point dtype that holds them."""
    others = [str(c) for c in frame.columns if c not in frame.select_dtypes("number").columns]
    if others:
        raise InputError(
            f"{what} has columns that are not numbers: {', '.join(others[:5])}; encode or drop "
            "them (igbench.data.tables.table_data makes data of mixed columns)."
        )
    array = frame.to_numpy()
    if array.dtype.kind == "f":
        return array
    return frame.to_numpy(dtype="float64", na_value=np.nan)  # pd.NA too
