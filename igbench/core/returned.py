"""Check what methods and metrics return: plain tensors of real numbers, in the expected shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from igbench.core.batch import Measurement
from igbench.errors import InputError, check_one_per_sample, check_same_shape

_ORDINARY = torch.empty(0)


def check_map(values: object, x: Tensor, what: str = "the attribution") -> None:
    """Raise unless a map can be used as it is.

    A map has the shape and the device of the inputs, and floating-point numbers of at least their
    precision; it is a plain dense tensor, without a graph.

    Args:
        values: What a method returned.
        x: (N, *F) the inputs.
        what: What it is, for messages.

    Raises:
        InputError: It is anything else; nothing is converted.

    >>> check_map(torch.ones(1, 2), torch.ones(1, 2))
    >>> check_map(torch.ones(1, 2, dtype=torch.int64), torch.ones(1, 2))
    Traceback (most recent call last):
    igbench.errors.InputError: the attribution holds int64; return floating-point numbers.
    """
    found = _plain(what, values, x)
    check_same_shape(what, found, x)
    if found.device != x.device:
        raise InputError(f"{what} is on {found.device}, the inputs on {x.device}; move it there.")
    if not found.is_floating_point():
        raise InputError(f"{what} holds {_kind(found)}; return floating-point numbers.")
    if found.element_size() < x.element_size():
        raise InputError(
            f"{what} holds {_kind(found)}, less precise than the inputs in {_kind(x)}; return it "
            "in their type."
        )


def check_measurements(
    found: object, names: Iterable[str], omitted: frozenset[str], n: int
) -> None:
    """Raise unless a metric measured every method and sample, in plain tensors of real numbers.

    Args:
        found: What it returned.
        names: Methods that it was given.
        omitted: Methods that it may leave out.
        n: Number of samples.

    Raises:
        InputError: Anything is missing, or of another kind or shape.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"the metric returned a {_type(found)}; expected a dict of Measurement.")
    asked = list(names)
    if {*found} - omitted != {*asked} - omitted:
        raise InputError(
            f"the metric measured {', '.join(map(str, found)) or 'nothing'}; it was given "
            f"{', '.join(asked)}."
        )
    for name, measurement in found.items():
        if not isinstance(measurement, Measurement):
            raise InputError(
                f"the metric returned a {_type(measurement)} for {name!r}; expected a Measurement."
            )
        _check_measurement(measurement, n)


def _check_measurement(found: Measurement, n: int) -> None:
    _check_numbers("the metric's value", found.value, n)
    if found.std_error is not None:
        _check_numbers("the metric's standard error", found.std_error, n)
    if not isinstance(found.reason, str):
        raise InputError(f"the metric's reason is a {_type(found.reason)}; expected a text.")
    if not isinstance(found.curves, Mapping):
        raise InputError(f"the metric's curves are a {_type(found.curves)}; expected a dict.")
    for name, curve in found.curves.items():
        _check_curve(f"the curve {name!r}", curve, n)


def _check_curve(what: str, curve: object, n: int) -> None:
    if not isinstance(curve, tuple | list) or len(curve) != 2:
        raise InputError(f"{what} is a {_type(curve)}; expected a pair (x, y).")
    xs, ys = curve
    real = isinstance(xs, Sequence) and all(isinstance(x, Real) and math.isfinite(x) for x in xs)
    if not real or isinstance(xs, str):
        raise InputError(f"the x of {what} are a {_type(xs)}; expected a list of finite numbers.")
    _check_real(what, _plain(what, ys))
    if ys.shape != (n, len(xs)):
        raise InputError(
            f"{what} has shape {tuple(ys.shape)}, expected {(n, len(xs))}: one line for each "
            "sample."
        )


def _check_numbers(what: str, value: object, n: int) -> None:
    plain = _plain(what, value)
    check_one_per_sample(what, plain, n)
    _check_real(what, plain)


def _check_real(what: str, value: Tensor) -> None:
    if value.is_complex() or value.is_quantized:
        raise InputError(f"{what} holds {_kind(value)}; return real numbers.")


def _plain(what: str, value: object, like: Tensor = _ORDINARY) -> Tensor:
    """The value, if it is a dense tensor with numbers, and without a graph or names.

    Its type and device are ordinary ones, or those of a given tensor.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{what} is a {_type(value)}; return a tensor.")
    if type(value) not in (Tensor, type(like)):
        raise InputError(
            f"{what} is a {_type(value)}, a subclass of tensors; return a plain tensor."
        )
    if value.layout != torch.strided:
        raise InputError(f"{what} is not dense ({value.layout}); return its to_dense().")
    if value.is_meta and not like.is_meta:
        raise InputError(f"{what} is on the meta device, so it has no values.")
    if value.requires_grad:
        raise InputError(f"{what} is part of a graph (it requires grad); return its detach().")
    if any(getattr(value, "names", ())):  # torch before 2.14
        raise InputError(f"{what} has named axes; return its rename(None).")
    return value


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _type(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
