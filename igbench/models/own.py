"""What the user says of a model of their own: preprocessing, shape of the input, outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from igbench.core.model import Preprocess
from igbench.core.outputs import logits
from igbench.errors import InputError, check_choice, typed_line


def preprocess(
    resize: int | None,
    crop: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    interpolation: Literal["bilinear", "bicubic"],
) -> Preprocess | None:
    """Preprocessing of photographs from its keys; None where none is given.

    Raises:
        InputError: Some are given and others not, or a value cannot be.

    >>> preprocess(None, None, None, None, "bilinear") is None
    True
    """
    given = {"resize": resize, "crop": crop, "mean": mean, "std": std}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if resize is None or crop is None or mean is None or std is None:
        raise InputError(
            f"the preprocessing lacks model.{missing[0]}; give resize, crop, mean and std as the "
            "model was trained, or none of them for data that is no photographs."
        )
    check_choice("model.interpolation", interpolation, ("bilinear", "bicubic"))
    if not 1 <= crop <= resize:
        raise InputError(f"model.crop={crop} must be between 1 and model.resize={resize}.")
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise InputError(
            f"model.mean={list(mean)} and model.std={list(std)} need one number for each channel, "
            "and std above zero."
        )
    return Preprocess(resize, crop, tuple(mean), tuple(std), interpolation)


def input_shape(
    shape: Sequence[int] | None, steps: Preprocess | None, example: Sequence[int] | None = None
) -> tuple[int, ...] | None:
    """Shape of one input: as given, else of the preprocessed photograph, else of an example."""
    if shape is not None:
        return tuple(shape)
    if steps is not None:
        return (len(steps.mean), steps.crop, steps.crop)
    return None if example is None else tuple(example)


def inputs(shape: Sequence[int], rows: int, like: torch.dtype = torch.float32) -> Tensor:
    """Rows that differ from each other, the same at each call: a grid of numbers in [-1, 1]."""
    size = rows * math.prod(shape)
    return torch.linspace(-1, 1, size).view(rows, *shape).sin().to(like)


def outputs(module: nn.Module, shape: Sequence[int], rows: int = 2) -> Tensor:
    """Outputs (N, K) of a few rows.

    Raises:
        InputError: The model does not run, with its own reason.
    """
    kinds = [p.dtype for p in module.parameters() if p.is_floating_point()]
    x = inputs(shape, rows, kinds[0] if kinds else torch.float32)
    try:
        with torch.no_grad():
            raw = module(x)
    except Exception as error:  # whatever code of the user's raises
        raise InputError(
            f"the model does not run on {rows} inputs of shape {tuple(shape)}: {typed_line(error)}."
        ) from error
    return logits(raw, rows)


def has_gradients(module: nn.Module, shape: Sequence[int]) -> bool:
    """Whether outputs depend on inputs in a way that autograd can follow.

    >>> has_gradients(nn.Linear(2, 1), (2,)), has_gradients(nn.Flatten(), (2,))
    (True, True)
    """
    kinds = [p.dtype for p in module.parameters() if p.is_floating_point()]
    x = inputs(shape, 2, kinds[0] if kinds else torch.float32).requires_grad_()
    try:
        with torch.enable_grad():
            total = logits(module(x), 2).sum()
            return torch.autograd.grad(total, x, allow_unused=True)[0] is not None
    except RuntimeError:  # an operation without a derivative
        return False


def count(found: Tensor) -> int:
    """K: outputs of each row; 1 for (N,)."""
    return found.shape[1] if found.dim() > 1 else 1
