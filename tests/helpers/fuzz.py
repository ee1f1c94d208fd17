"""What property tests of strangers' input share: a small profile, and bytes that were changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from igbench.errors import InputError


def few(examples: int) -> settings:
    """The same few examples in every run, so that a red test is red for everybody."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """Content with some bits flipped, pieces cut out, doubled or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "double", "insert", "end"]))
        size = draw(st.integers(1, 40))
        if how == "flip" and changed:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del changed[at : at + size]
        elif how == "double":
            changed[at:at] = changed[at : at + size]
        elif how == "insert":
            changed[at:at] = draw(st.binary(min_size=1, max_size=size))
        elif how == "end":
            del changed[at:]
    return bytes(changed)


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([-1, 0, 2**31, 10**400, "../up", "\x1b[31m", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
"""Values as JSON and YAML may hold them."""


def found(read: Callable[[], Any], refusal: type[Exception] = InputError) -> Any:
    """What is read; None where it is refused, which must be in one line."""
    try:
        return read()
    except refusal as error:
        message = str(error)
    assert message
    assert message.isprintable()
    return None


def as_json(value: Any) -> str:
    """A value as text, NaN and lone surrogates included."""
    return json.dumps(value)
