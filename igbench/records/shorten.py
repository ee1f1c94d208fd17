"""Cut long texts in descriptions of runs to a beginning and a hash, so that they still compare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

LONGEST = 1000
"""Characters of a text that is kept as it is."""
KEPT = 60
"""Characters of a longer one that are kept."""


def shorten(value: Any) -> Any:
    """Plain nested values with every text of more than `LONGEST` characters cut.

    A cut text ends with its length and the SHA-256 of the whole, so that two texts are equal if and
    only if what remains of them is.  Cutting twice changes nothing.

    >>> shorten({"pool": "word " * 1000, "n": 3})
    {'pool': 'word word ... word … (5,000 characters, SHA-256 899d7a4c...)', 'n': 3}
    >>> shorten(shorten("a" * 5000)) == shorten("a" * 5000) != shorten("a" * 5001)
    True
    """
    if isinstance(value, str):
        return value if len(value) <= LONGEST else _cut(value)
    if isinstance(value, Mapping):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shorten(item) for item in value]
    return value


def long_texts(value: Any, place: str = "") -> list[str]:
    """The places of the texts that `shorten` cuts.

    >>> long_texts({"methods": {"rare": "a" * 5000, "ig": "IG()"}}, "identity")
    ['identity.methods.rare']
    """
    if isinstance(value, str):
        return [place] if len(value) > LONGEST else []
    if isinstance(value, Mapping):
        return [p for k, item in value.items() for p in long_texts(item, f"{place}.{k}")]
    if isinstance(value, list | tuple):
        return [p for i, item in enumerate(value) for p in long_texts(item, f"{place}[{i}]")]
    return []


def _cut(text: str) -> str:
    whole = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{text[:KEPT]}… ({len(text):,} characters, SHA-256 {whole})"
