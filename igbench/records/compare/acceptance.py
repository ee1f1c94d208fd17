"""Changes that are accepted, with the reason: patterns of cells, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from igbench.errors import InputError
from igbench.schema import Change, Verdict

QUIET: tuple[Verdict, ...] = ("identical", "close", "equivalent", "undecided", "unjudged")
"""Verdicts that need no acceptance."""


def matches(pattern: str, change: Change) -> bool:
    """Whether a pattern of "metric", "method/metric" or "model/method/metric" means a cell.

    >>> matches("ig/del*", Change("resnet18", "ig", "deletion", "regressed"))
    True
    """
    return fnmatchcase(change.name, pattern) or fnmatchcase(change.name, f"*/{pattern}")


def accepted(changes: Sequence[Change], accept: Mapping[str, str]) -> dict[str, str]:
    """Names of cells whose verdict is accepted, with the reason.

    Raises:
        InputError: A pattern matches no cell.
    """
    found: dict[str, str] = {}
    for pattern, reason in accept.items():
        hits = [c for c in changes if matches(pattern, c)]
        if not hits:
            example = changes[0].name.split("/", 1)[1] if changes else "ig/deletion"
            raise InputError(
                f"accept pattern {pattern!r} matches no cell; give method/metric, for example "
                f"{example!r}."
            )
        found |= {c.name: reason for c in hits if needs_acceptance(c)}
    return found


def needs_acceptance(change: Change) -> bool:
    """Whether a cell has changed, against the base or the best run before."""
    drifted = change.drift is not None and change.drift.verdict == "regressed"
    return change.verdict not in QUIET or drifted
