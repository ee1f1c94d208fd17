"""Identifiers of tables, rows and figures on the page, for links."""

from __future__ import annotations

import re
from collections.abc import Iterable


def anchor(*names: str) -> str:
    """One identifier from names: letters, digits and underscores, joined by hyphens.

    >>> anchor("scores", "ig_captum (oracle)"), anchor("scores", "<b>")
    ('scores-ig_captum-oracle', 'scores-b')
    """
    return "-".join(re.sub(r"\W+", "-", name.lower()).strip("-") or "x" for name in names)


def row_anchors(table: str, rows: Iterable[str]) -> list[str]:
    """Identifiers of the rows of a table; those that would be equal get numbers.

    >>> row_anchors("scores", ["a b", "a-b", "c"])
    ['scores-a-b', 'scores-a-b--2', 'scores-c']
    """
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        own = anchor(table, row)
        seen[own] = seen.get(own, 0) + 1
        found.append(own if seen[own] == 1 else f"{own}--{seen[own]}")
    return found
