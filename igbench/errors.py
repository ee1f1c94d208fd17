"""Which preconditions hold?  One function each; the message says what, where and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the reporting half raises InputError too, and must not import torch
    from torch import Tensor, nn


class InputError(ValueError):
    """Bad input from outside: shown to the user as one line, exit status 2."""


class SampleError(Exception):
    """One sample cannot be used (corrupt image, bad label): becomes rows with this reason."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest known names, as a hint to append to a message; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def check_choice(what: str, name: str, known: Sequence[str]) -> None:
    """Raise unless `name` is one of `known`."""
    if name not in known:
        raise InputError(
            f"unknown {what} {name!r}; known: {', '.join(known)}.{suggestion(name, known)}"
        )


def check_eval_mode(model: nn.Module) -> None:
    """Raise if any sub-module is in training mode: batch norm and dropout would mix samples."""
    names = [name or "(the model)" for name, m in model.named_modules() if m.training]
    if names:
        raise InputError(
            f"the model is in training mode ({names[0]}); batch statistics and dropout would make "
            "scores depend on the batch. Call model.eval() first."
        )


def check_same_shape(what: str, value: Tensor, reference: Tensor) -> None:
    """Raise unless an attribution has the shape of the inputs."""
    if value.shape != reference.shape:
        raise InputError(
            f"{what} has shape {tuple(value.shape)}, the inputs {tuple(reference.shape)}; they "
            "must match. A map without channels should be spread over them first."
        )


def check_one_per_sample(what: str, value: Tensor, n: int) -> None:
    """Raise unless `value` has shape (N,)."""
    if value.shape != (n,):
        raise InputError(
            f"{what} has shape {tuple(value.shape)}, expected ({n},): one number for each sample."
        )


def check_finite(what: str, value: Tensor) -> None:
    """Raise if any entry is NaN or infinite."""
    bad = int((~value.isfinite()).sum())
    if bad:
        raise InputError(f"{what} has {bad} entries that are NaN or infinite of {value.numel()}.")


def check_baseline_differs(x: Tensor, baseline: Tensor, sample_ids: Sequence[str]) -> None:
    """Raise if the baseline of a sample equals the sample: every attribution would be zero."""
    same = (x == baseline).flatten(1).all(dim=1)
    if bool(same.any()):
        i = int(same.nonzero()[0])
        raise InputError(
            f"the baseline of sample {sample_ids[i]!r} equals the sample, so there is nothing to "
            "attribute. Choose another one, for example baseline=blur or baseline=uniform_noise."
        )


def check_positive(what: str, value: float) -> None:
    """Raise unless `value` is above zero."""
    if not value > 0:
        raise InputError(f"{what} is {value}; it must be above zero.")
