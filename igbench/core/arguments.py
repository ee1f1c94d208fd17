"""Check arguments against their annotations when an object is made, before any work.

A number, a text, a choice, a list or a function of another type is refused with its name.  Types
that annotations leave open are not looked at; what a number may be is for its owner to say, by the
checks of `igbench.errors`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from igbench.errors import InputError, check_choice, is_one_line, one_line

MOST = 10_000_000
"""Largest whole number that an argument may be: no count of samples, rows or steps gets near."""
LARGEST = 3.4028234663852886e38
"""Largest number that an argument may be, the largest of float32, in which models compute."""
SEEDS = 2**63 - 1
"""Largest seed."""

UNSET = inspect.Parameter.empty
"""In place of the default of an argument without one."""

F = TypeVar("F", bound=Callable[..., Any])


class Checked:
    """Base of frozen dataclasses whose arguments are checked against their annotations.

    A subclass with checks of its own calls `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        """Check every argument.

        Raises:
            InputError: One has another type than its annotation.
        """
        hints = _hints(type(self))  # type: ignore[arg-type]
        for field in fields(self):  # type: ignore[arg-type]
            if field.init and field.name in hints:
                value = getattr(self, field.name)
                check_argument(field.name, value, hints[field.name], field.default)


def checked(function: F) -> F:
    """Check the arguments of every call of a factory against their annotations.

    Args:
        function: With annotations.

    >>> @checked
    ... def sized(*, size: int = 3) -> int:
    ...     return size
    >>> sized(size="large")
    Traceback (most recent call last):
    igbench.errors.InputError: size='large' must be a whole number.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def made(*args: Any, **options: Any) -> Any:
        hints = _hints(function)
        for name, value in signature.bind(*args, **options).arguments.items():
            default = signature.parameters[name].default
            check_argument(name, value, hints.get(name, Any), default)
        return function(*args, **options)

    return made  # type: ignore[return-value]


def check_argument(name: str, value: Any, hint: Any, default: Any = UNSET) -> None:
    """Raise unless a value is what an annotation says.

    Truth values are no numbers, and 5.0 is no whole number; those of NumPy count as their own.
    Numbers are those of float32, unless the default is infinite.

    Args:
        name: Of the argument.
        value: Its value.
        hint: Its annotation, resolved.
        default: Its default.

    Raises:
        InputError: It is something else; the message says what it must be.

    >>> check_argument("n_steps", 5.0, int)
    Traceback (most recent call last):
    igbench.errors.InputError: n_steps=5.0 must be a whole number.
    """
    if value is default or (_infinite(value) and _infinite(default)) or fits(value, hint):
        return
    if name == "seed" and isinstance(value, int) and not isinstance(value, bool):
        check_range(name, value, 0, SEEDS)
        return
    choices = [h for h in _members(hint) if get_origin(h) is Literal]
    if isinstance(value, str) and value.isprintable() and len(choices) == len(_members(hint)):
        check_choice(name, value, [str(c) for h in choices for c in get_args(h)])
    raise InputError(f"{name}={shown(value)} must be {describe(hint)}.")


def shown(value: Any) -> str:
    """A value in a few words of one line, for a message.

    >>> shown("a"), shown([1, 2]), shown(len), shown(object())
    ("'a'", '[1, 2]', '<builtin_function_or_method>', '<object>')
    """
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    if not plain:
        return str(value) if isinstance(value, Real) else f"<{type(value).__name__}>"
    text = one_line(ValueError(repr(value)), most=60)
    return text if text else repr(value)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says.

    >>> fits(3, int), fits(True, int), fits((0.1, 2), Sequence[float]), fits("ab", Sequence[str])
    (True, False, True, False)
    """
    origin, members = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in members)
    if origin is Literal:
        return any(type(value) is type(m) and value == m for m in members)
    if hint in _SIMPLE:
        return _SIMPLE[hint](value)
    if _is_tensor(hint):
        return isinstance(value, list | tuple) or hasattr(value, "__array__")
    if origin in (tuple, Sequence, list):
        return _is_list(value, origin, members)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(fits(k, members[0]) for k in value)
    if origin is Callable or getattr(hint, "_is_protocol", False):
        return callable(value)
    return _is_instance(value, hint)


def _is_instance(value: Any, hint: Any) -> bool:
    """Whether a value is of a class; true of annotations that are no classes to ask."""
    try:
        return hint is Any or not isinstance(hint, type) or isinstance(value, hint)
    except TypeError:  # as of typed dictionaries
        return True


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless a number lies between two others.

    >>> check_range("seed", -1, 0, 9)
    Traceback (most recent call last):
    igbench.errors.InputError: seed=-1 must lie between 0 and 9.
    """
    if not low <= value <= high:
        raise InputError(f"{name}={value} must lie between {low:,} and {high:,}.")


def _is_list(value: Any, origin: Any, members: tuple[Any, ...]) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    if origin is tuple and members and members[-1] is not Ellipsis:
        return len(value) == len(members) and all(map(fits, value, members))
    return not members or all(fits(item, members[0]) for item in value)


def _is_whole(value: Any) -> bool:
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return -MOST <= int(value) <= MOST


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    if isinstance(value, Integral):
        return -SEEDS <= int(value) <= SEEDS
    return -LARGEST <= float(value) <= LARGEST  # not for NaN


def _is_tensor(hint: Any) -> bool:
    """Whether this is the class of tensors; torch is not imported here, which takes seconds."""
    known = getattr(hint, "__name__", ""), getattr(hint, "__module__", "").partition(".")[0]
    return known == ("Tensor", "torch")


_SIMPLE: dict[Any, Callable[[Any], bool]] = {
    NoneType: lambda value: value is None,
    bool: lambda value: isinstance(value, bool),
    int: _is_whole,
    float: _is_number,
    str: lambda value: isinstance(value, str) and is_one_line(value),
}
_WORDS: dict[Any, str] = {
    NoneType: "null",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number (of float32)",
    str: "a text of one line",
}


def describe(hint: Any) -> str:
    """What an annotation asks for, in words.

    >>> describe(int | None), describe(Sequence[float]), describe(Literal["a", 1])
    ('a whole number, or null', 'a list, each a finite number (of float32)', "one of 'a', 1")
    """
    return ", or ".join(dict.fromkeys(_words(member) for member in _members(hint)))


def _words(hint: Any) -> str:
    origin, members = get_origin(hint), get_args(hint)
    if hint in _WORDS or _is_tensor(hint):
        return _WORDS.get(hint, "an array")
    if origin is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(map(repr, members))
    if origin in (tuple, Sequence, list):
        several = origin is tuple and Ellipsis not in members
        return f"a list{f' of {len(members)}' if several else ''}, each {describe(members[0])}"
    if origin is Mapping:
        return "keys and values"
    if origin is Callable or getattr(hint, "_is_protocol", False):
        return "a function"
    return f"of type {getattr(hint, '__name__', hint)}"


def _members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation, None last."""
    if get_origin(hint) not in (Union, UnionType):
        return (hint,)
    return tuple(sorted(get_args(hint), key=lambda member: member is NoneType))


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


@cache
def _hints(owner: Any) -> dict[str, Any]:
    """Annotations, resolved; none where a user's name what cannot be found from outside."""
    try:
        return get_type_hints(owner)
    except (NameError, AttributeError, TypeError):
        return {}
