"""Turn Captum's arguments (tensors or tuples, targets, extra arguments) into rows of a model.

Captum takes one tensor or a tuple of them, axis 0 being the examples, and repeats examples over
steps or draws.  Every such repetition, and every chunk, is one function `rows` that maps the number
of examples of a value to the example of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from captum._utils.common import _run_forward
from torch import Tensor

from igbench.core.outputs import described
from igbench.errors import InputError

Tensors: TypeAlias = Tensor | tuple[Tensor, ...]
Baseline: TypeAlias = Tensor | int | float
Baselines: TypeAlias = Baseline | tuple[Baseline, ...] | None
Target: TypeAlias = int | tuple[Any, ...] | list[Any] | Tensor | None
Rows: TypeAlias = Callable[[int], Tensor]
"""Maps a number of examples to the example of each row, (rows,)."""

MOST_ROWS = 512
MOST_ELEMENTS = 2**22
"""Bounds of one call of the model where the user sets none; 4 Mi elements are 27 photographs."""


def as_tuple(what: str, value: Any) -> tuple[Tensor, ...]:
    """One tensor or a tuple of tensors, as a tuple.

    Raises:
        InputError: Neither of them, or a tensor without examples.
    """
    values = value if isinstance(value, tuple) else (value,)
    if not values:
        raise InputError(f"{what} is an empty tuple; give at least one tensor.")
    for v in values:
        if not isinstance(v, Tensor):
            raise InputError(
                f"{what} must be a tensor or a tuple of tensors, but holds a {type(v).__name__}."
            )
        if v.dim() == 0 or len(v) == 0:
            raise InputError(
                f"{what} holds a tensor of shape {tuple(v.shape)}; axis 0 must count the examples, "
                "at least one."
            )
    return values


def as_baselines(baselines: Baselines, inputs: tuple[Tensor, ...]) -> tuple[Baseline, ...]:
    """One baseline for each input: scalars stay scalars, None is zero.

    Raises:
        InputError: Their number or a shape does not fit the inputs.
    """
    if baselines is None:
        return tuple(0 for _ in inputs)
    values = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(values) != len(inputs):
        raise InputError(f"{len(values)} baselines for {len(inputs)} inputs; give one for each.")
    for i, (value, x) in enumerate(zip(values, inputs, strict=True)):
        if isinstance(value, Tensor):
            single = value.dim() == x.dim() and len(value) == 1 and _broadcasts(value, x)
            if not (value.shape == x.shape or single or value.numel() == 1):
                raise InputError(
                    f"baseline {i} has shape {tuple(value.shape)}, its input {tuple(x.shape)}; "
                    "they must match, or the baseline have one example."
                )
        elif not isinstance(value, int | float):
            raise InputError(f"baseline {i} is a {type(value).__name__}; give a number or tensor.")
    return values


def _broadcasts(value: Tensor, x: Tensor) -> bool:
    return all(v in (1, n) for v, n in zip(value.shape, x.shape, strict=True))


def as_arguments(additional: Any) -> tuple[Any, ...] | None:
    """Extra arguments of the forward function, as a tuple; None where there are none."""
    return additional if additional is None or isinstance(additional, tuple) else (additional,)


def shaped_like(inputs: Tensors, values: tuple[Tensor, ...]) -> Tensors:
    """A tuple where the inputs were one, else its only tensor."""
    return values if isinstance(inputs, tuple) else values[0]


def repeat_all(times: int, examples: slice = slice(None)) -> Rows:
    """All chosen examples, then all again, ...: rows of integration steps.

    >>> repeat_all(2)(3).tolist(), repeat_each(2)(3).tolist()
    ([0, 1, 2, 0, 1, 2], [0, 0, 1, 1, 2, 2])
    """
    return lambda n: torch.arange(n)[examples].repeat(times)


def repeat_each(times: int) -> Rows:
    """The first example several times, then the second, ...: rows of random draws."""
    return lambda n: torch.arange(n).repeat_interleave(times)


def per_example(target: Target) -> bool:
    """Whether there is one target for each example (not one for all)."""
    return isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)


def take_target(target: Target, rows: Rows) -> Target:
    """The target of each row; targets that hold for all examples stay as they are."""
    if isinstance(target, list):
        return [target[i] for i in rows(len(target)).tolist()]
    if isinstance(target, Tensor) and target.numel() > 1:
        return target[rows(len(target))]
    return target


def take_arguments(arguments: tuple[Any, ...] | None, rows: Rows) -> tuple[Any, ...] | None:
    """The extra arguments of each row: tensors with axes are indexed, others stay as they are."""
    if arguments is None:
        return None
    return tuple(a[rows(len(a))] if isinstance(a, Tensor) and a.dim() else a for a in arguments)


def take_baselines(baselines: tuple[Any, ...], inputs: tuple[Tensor, ...], rows: Rows) -> Any:
    """The baselines of each row: only those with one entry for each of several examples move."""
    return tuple(
        b[rows(len(b))] if isinstance(b, Tensor) and b.dim() and len(b) == len(x) > 1 else b
        for b, x in zip(baselines, inputs, strict=True)
    )


def separable(
    inputs: tuple[Tensor, ...], target: Target, arguments: tuple[Any, ...] | None
) -> bool:
    """Whether everything has one entry for each example, so that examples can be cut apart."""
    n = len(inputs[0])
    tensors = [v for v in (*inputs, *(arguments or ())) if isinstance(v, Tensor) and v.dim()]
    own = isinstance(target, list | Tensor) and per_example(target)
    return all(len(v) == n for v in tensors) and (not own or len(target) == n)  # type: ignore[arg-type]


def cuts(n: int, limit: int, apart: bool) -> list[slice]:
    """Chunks of at most `limit` examples; everything in one where examples stay together."""
    return [slice(i, i + limit) for i in range(0, n, limit)] if apart else [slice(None)]


def row_limit(
    limit: int | None, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...] | None
) -> int:
    """Rows in one call of the model: the user's, or as many as `MOST_ELEMENTS` allows.

    Raises:
        InputError: The user's bound is below one.
    """
    if limit is not None:
        if limit < 1:
            raise InputError(f"the bound on rows for each call is {limit}; it must be at least 1.")
        return limit
    tensors = [v for v in (*inputs, *(arguments or ())) if isinstance(v, Tensor) and v.dim()]
    elements = sum(v.numel() // max(len(v), 1) for v in tensors)
    return min(MOST_ROWS, max(1, MOST_ELEMENTS // max(elements, 1)))


def checked(forward: Callable[..., Tensor], target: Target) -> Callable[..., Tensor]:
    """A forward function that raises where its output is not one row for each row of its inputs.

    A gradient of fewer outputs than rows would be a map, and a wrong one: that of the first row by
    the points of all others is zero.

    Args:
        forward: The function of the user.
        target: The output that is explained.

    >>> checked(lambda x: x.sum(), None)(torch.ones(2, 3))
    Traceback (most recent call last):
    igbench.errors.InputError: forward_func returned Tensor () for 2 rows; expected a tensor that \
holds the outputs of each row on axis 0. A model of single rows needs internal_batch_size=1, in \
metrics max_examples_per_batch=1.
    """

    def run(*values: Any) -> Tensor:
        out = forward(*values)
        if values:
            _check_rows(out, len(values[0]), target)
        return out

    run.__wrapped__ = forward  # type: ignore[attr-defined]  # Captum looks at its signature
    return run


def _check_rows(out: Any, rows: int, target: Target) -> None:
    """Raise unless an output has a row for each of some rows, and the output that is asked for."""
    if not isinstance(out, Tensor) or out.dim() == 0 or len(out) != rows:
        raise InputError(
            f"forward_func returned {described(out)} for {rows} rows; expected a tensor that holds "
            "the outputs of each row on axis 0. A model of single rows needs "
            "internal_batch_size=1, in metrics max_examples_per_batch=1."
        )
    one = target if not isinstance(target, Tensor) or target.numel() != 1 else target.item()
    if isinstance(one, int) and out.dim() == 2 and not -out.shape[1] <= one < out.shape[1]:
        count = out.shape[1]
        advice = "; leave target out" if count == 1 else ""
        raise InputError(
            f"target {one} is not one of forward_func's {count} outputs, 0 to {count - 1}{advice}."
        )


@contextmanager
def explained() -> Iterator[None]:
    """Say of an output that does not depend on the inputs that it does not."""
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in UNUSED):
            raise
        raise InputError(
            "forward_func's output does not depend on each of its inputs: it uses other tensors "
            "than those that it is called with, or cuts the graph (detach, no_grad, NumPy); "
            "everything that is explained must be computed from its arguments."
        ) from error


UNUSED = ("not have been used in the graph", "does not require grad")
"""What torch says of gradients that do not exist."""


def outputs(
    forward: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target: Target,
    arguments: tuple[Any, ...] | None,
    limit: int,
) -> Tensor:
    """The target's output for every row, (rows,), in calls of at most `limit` rows.

    Raises:
        InputError: The forward function does not give one number for each row.
    """
    run, parts = checked(forward, target), []
    for cut in cuts(len(inputs[0]), limit, separable(inputs, target, arguments)):
        rows = repeat_all(1, cut)
        part = tuple(x[cut].clone() for x in inputs)  # the function may work in place
        out = _run_forward(run, part, take_target(target, rows), take_arguments(arguments, rows))
        if out.numel() != len(part[0]):
            raise InputError(
                f"forward_func returned shape {tuple(out.shape)} for {len(part[0])} rows; expected "
                "one number for each row. Give target=, the output that is explained."
            )
        parts.append(out.reshape(-1))
    return torch.cat(parts)


def unaliased(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function with copies of the tensors that it gets, on which it may work in place."""

    def forward_func(*arguments: Any) -> Tensor:
        return forward(*(a.clone() if isinstance(a, Tensor) else a for a in arguments))

    forward_func.__wrapped__ = forward  # type: ignore[attr-defined]  # as in `checked`
    return forward_func


def accumulator_dtype(device: torch.device) -> torch.dtype:
    """Float64, or float32 on a device that has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
