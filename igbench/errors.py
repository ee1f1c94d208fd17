"""Errors for users, and preconditions: one line that says what, where and how to fix it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # records and report raise InputError too, and must not import torch
    from torch import Tensor, nn


class InputError(ValueError):
    r"""Invalid input from the user: shown as one line, exit status 2.

    What a message quotes may hold any character; those that break a line or steer a terminal do
    not get into the text.

    >>> str(InputError("name=two\nlines \x1b[31m"))
    'name=two lines \\x1b[31m'
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        super().__init__(text if text.isprintable() else printable(" ".join(text.split())))


class NotDefinedError(InputError):
    """A method or metric has no meaning for these samples, this model or these data.

    As the edges of a row of a table, or the marks of data without masks: called by itself it is an
    `InputError`, and in a run the rows are "undefined", with this text as their reason, and the
    rest goes on.
    """


class SampleError(Exception):
    """One sample cannot be used (corrupt image, bad label): its rows get this reason."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Hint with the nearest known names, to append to a message; empty where none is near.

    >>> suggestion("delition", ["deletion", "insertion"])
    " Did you mean 'deletion' or 'insertion'?"
    >>> suggestion("SRG", ["deletion", "srg"])  # capitals matter, but not for what is near
    " Did you mean 'srg'?"
    >>> suggestion("xyz", ["deletion", "insertion"])
    ''
    """
    names: dict[str, str] = {}
    for n in known:
        names.setdefault(n.casefold(), n)
    near = [names[n] for n in difflib.get_close_matches(name.casefold(), list(names), 2, 0.5)]
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def check_choice(what: str, name: str, known: Sequence[str]) -> None:
    """Raise `InputError` unless `name` is one of `known`.

    >>> check_choice("rule", "left", ["left", "right"])
    >>> check_choice("rule", "lft", ["left", "right"])
    Traceback (most recent call last):
    igbench.errors.InputError: unknown rule 'lft'; known: left, right. Did you mean 'left'?
    """
    if not isinstance(name, str) or name not in known:
        near = suggestion(str(name), known)
        raise InputError(f"unknown {what} {name!r}; known: {', '.join(known)}.{near}")


def printable(text: str, keep: str = "") -> str:
    r"""Text in which every character that cannot be printed is an escape that one can see.

    Sequences that steer a terminal, line breaks and marks that turn the direction of writing are
    among them.

    Args:
        text: Any text.
        keep: Characters that stay, such as line breaks between lines of our own.

    >>> print(printable("red \x1b[31m, caf\udce9"), printable("\u202eno\n"))
    red \x1b[31m, caf\udce9 \u202eno\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


_ESCAPED_BYTES = dict.fromkeys(range(0xDC80, 0xDD00))
"""What Python makes of bytes in file names that are no text."""


def is_one_line(text: str) -> bool:
    r"""Whether a text has no breaks and no controls; bytes of file names that are no text pass.

    >>> is_one_line("caf\udce9"), is_one_line("two\nlines")
    (True, False)
    """
    return text.translate(_ESCAPED_BYTES).isprintable()


def one_line(error: BaseException, most: int = 200) -> str:
    r"""The text of an error of foreign code in one plain line, its type where it has none.

    >>> one_line(ValueError("two\nlines.")), one_line(KeyError())
    ('two lines', 'KeyError')
    """
    return printable(" ".join(str(error).split())[:most]).rstrip(" .") or type(error).__name__


def typed_line(error: BaseException, most: int = 200) -> str:
    r"""The type and the text of an error of foreign code in one line.

    >>> typed_line(ValueError("two\nlines.")), typed_line(KeyError())
    ('ValueError: two lines', 'KeyError')
    """
    name, text = type(error).__name__, one_line(error, most)
    return name if text == name else f"{name}: {text}"


WRAPPERS = ("DataParallel", "DistributedDataParallel")
"""Classes around a module whose own mode has no influence."""


def check_eval_mode(model: nn.Module) -> None:
    """Raise `InputError` if any sub-module is in training mode, where samples influence another."""
    inner = getattr(model, "module", None) if type(model).__name__ in WRAPPERS else None
    modules = (model if inner is None else inner).named_modules()
    names = [name for name, m in modules if getattr(m, "training", False)]
    if names:
        part = f" ({names[0]})" if names[0] else ""
        raise InputError(
            f"the model is in training mode{part}; batch statistics and dropout would make "
            "scores depend on the batch. Call model.eval() first."
        )


def check_same_shape(what: str, value: Tensor, reference: Tensor) -> None:
    """Raise `InputError` unless `value` has the shape of the inputs."""
    if value.shape != reference.shape:
        raise InputError(
            f"{what} has shape {tuple(value.shape)}, the inputs {tuple(reference.shape)}; they "
            "must match. Spread a map without channels over them first."
        )


def check_images(what: str, x: Tensor) -> None:
    """Raise `NotDefinedError` unless a method gets images (N, C, H, W).

    Args:
        what: Name of the method.
        x: The inputs.
    """
    if x.dim() != 4:
        raise NotDefinedError(f"{what} needs images, not inputs of shape {tuple(x.shape)}.")


def check_references(pool: Tensor, x: Tensor) -> None:
    """Raise `InputError` unless a pool of references (R, *F) fits the inputs (N, *F)."""
    if len(pool) == 0 or pool.shape[1:] != x.shape[1:]:
        raise InputError(
            f"the pool of references has shape {tuple(pool.shape)}; expected at least one sample "
            f"of shape {tuple(x.shape[1:])}."
        )


def check_one_per_sample(what: str, value: Tensor, n: int) -> None:
    """Raise `InputError` unless `value` has shape (N,)."""
    if value.shape != (n,):
        raise InputError(
            f"{what} has shape {tuple(value.shape)}, expected ({n},): one number for each sample."
        )


def check_finite(what: str, value: Tensor) -> None:
    """Raise `InputError` if any entry is NaN or infinite."""
    bad = int((~value.isfinite()).sum())
    if bad:
        raise InputError(f"{what} has {bad} entries that are NaN or infinite of {value.numel()}.")


def check_baseline_differs(x: Tensor, baseline: Tensor, sample_ids: Sequence[str]) -> None:
    """Raise `InputError` if a baseline equals its sample: every attribution would be zero."""
    same = (x == baseline).flatten(1).all(dim=1)
    if bool(same.any()):
        i = int(same.nonzero()[0])
        raise InputError(
            f"the baseline of sample {sample_ids[i]!r} equals the sample, so there is nothing to "
            "attribute. Choose another one, for example baseline=blur or baseline=uniform_noise."
        )


def check_whole(what: str, value: object, least: int = 0) -> None:
    """Raise `InputError` unless `value` is a whole number of at least `least`.

    >>> check_whole("seed", 1.5)
    Traceback (most recent call last):
    igbench.errors.InputError: seed=1.5 must be a whole number of at least 0.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise InputError(f"{what}={value!r} must be a whole number of at least {least}.")


def check_positive(what: str, value: float) -> None:
    """Raise `InputError` unless `value` is a finite number above zero.

    >>> check_positive("n_steps", 0)
    Traceback (most recent call last):
    igbench.errors.InputError: n_steps is 0; it must be above zero.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not value > 0:
        raise InputError(f"{what} is {value}; it must be above zero.")
    if value == math.inf:
        raise InputError(f"{what} is {value}; it must be finite.")
