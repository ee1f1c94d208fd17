"""Types of the fields of definitions, and values in a few words."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from igbench.errors import printable

LONGEST_TEXT = 100_000
"""Characters of a text in a definition or a description of a run."""


def shown(value: Any) -> str:
    """A value of any kind in a few words, for a message.

    >>> shown("red"), shown([1, 2]), shown({"a": 1})
    ("'red'", 'a list of 2', 'a mapping of 1')
    """
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)}"
    cut = value[:50] if isinstance(value, str) else value
    text = printable(repr(cut))
    return text if len(text) <= 60 else f"{text[:60]}…"


def fault(kind: type, values: Mapping[str, Any]) -> str:
    """The first field of a definition that has a value of another type, in words; "" if none has.

    Args:
        kind: `MetricSpec` or `MethodSpec`.
        values: Field to value.

    >>> from igbench.schema import MethodSpec
    >>> fault(MethodSpec, {"signed": 1})
    'signed is 1, not true or false'
    """
    for name, (fits, what) in _fits(kind).items():
        if name in values and not fits(values[name]):
            return f"{name} is {shown(values[name])}, not {what}"
    low, high = values.get("low", 0), values.get("high", math.inf)
    return "" if low <= high else f"low is {shown(low)}, above high, {shown(high)}"


@cache
def _fits(kind: type) -> dict[str, tuple[Any, str]]:
    """Field to a test of its value, and what it should be."""
    return {name: _fit(hint) for name, hint in get_type_hints(kind).items()}


def _fit(hint: Any) -> tuple[Any, str]:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return lambda v: isinstance(v, str) and v in choices, f"one of {', '.join(choices)}"
    if hint is bool:
        return lambda v: isinstance(v, bool), "true or false"
    if hint is str:
        return (
            lambda v: isinstance(v, str) and len(v) <= LONGEST_TEXT,
            f"a text of at most {LONGEST_TEXT:,} characters",
        )
    kind, what = (numbers.Integral, "a whole number") if hint is int else (numbers.Real, "a number")
    return lambda v: isinstance(v, kind) and not isinstance(v, bool) and v == v, what
