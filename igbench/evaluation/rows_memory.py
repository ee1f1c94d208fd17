"""Remember the batch sizes that were measured, how sure they are, and which came before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from igbench.evaluation import answers

MAX_SPREAD = 0.03
"""Largest spread of an answer that is not measured again."""

MAX_MEASURED = 3
"""How often one answer is measured, at most."""

Readings = Mapping[int, tuple[tuple[float, ...], ...]]
"""Rows in a call to the two lowest seconds per row, of forwards and then of gradients."""


@dataclass(frozen=True)
class Answer:
    """The rows of a call that were found fastest.

    Attributes:
        rows: Rows of a call.
        seconds: Seconds per row, of a forward and of a forward with its gradient; empty if unknown.
        spread: Largest gap between the two lowest readings of the sizes that may be fastest,
            relative to the lowest; infinite if unknown.
        measured: How often it was measured.
        when: Time of the last measurement (ISO 8601).
        again: Whether a run had another speed, so that it is to be measured again.
        earlier: Earlier answers, the newest first, which interrupted runs may have.
        readings: The evidence, to which another measurement is added.
    """

    rows: int
    seconds: tuple[float, ...] = ()
    spread: float = math.inf
    measured: int = 0
    when: str = ""
    again: bool = False
    earlier: tuple[int, ...] = ()
    readings: Readings | None = None

    @property
    def due(self) -> bool:
        """Whether the next run that is new should measure it again."""
        return self.measured < MAX_MEASURED and (self.again or self.spread > MAX_SPREAD)

    def as_json(self) -> dict[str, Any]:
        """Plain values; an unknown spread is null."""
        return {
            "rows": self.rows,
            "seconds": list(self.seconds),
            "spread": self.spread if math.isfinite(self.spread) else None,
            "measured": self.measured,
            "when": self.when,
            "again": self.again,
            "earlier": list(self.earlier),
            "readings": {str(rows): found for rows, found in (self.readings or {}).items()},
        }


def recall(memory: Path) -> dict[str, Answer]:
    """Earlier answers; none if the file is missing or not what it should be."""
    try:
        return {name: _answer(node) for name, node in answers.recall(memory).items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}


def _answer(node: Any) -> Answer:
    """An answer from plain values; a number alone has an unknown spread.

    Raises:
        ValueError: A number is not what it should be.
    """
    if not isinstance(node, Mapping):
        return Answer(_positive(node))
    spread = node["spread"]
    return Answer(
        _positive(node["rows"]),
        tuple(float(s) for s in node["seconds"]),
        math.inf if spread is None else float(spread),
        int(node["measured"]),
        str(node["when"]),
        bool(node["again"]),
        tuple(_positive(rows) for rows in node["earlier"]),
        {
            _positive(rows): tuple(tuple(float(s) for s in kind) for kind in found)
            for rows, found in node["readings"].items()
        },
    )


def _positive(value: Any) -> int:
    if int(value) < 1:
        raise ValueError(f"{value} rows")
    return int(value)


def remember(memory: Path, name: str, answer: Answer) -> None:
    """Add an answer, replacing the file in one step; a folder that is read-only is no error."""
    known = recall(memory) | {name: answer}
    answers.remember(
        memory,
        {key: each.as_json() for key, each in known.items()},
        "the batch size",
        f"set batch_size={answer.rows}, or a stopped run may begin again with another one",
    )


def mark(memory: Path, name: str) -> None:
    """Have an answer measured again at the next new run, if it may be."""
    answer = recall(memory).get(name)
    if answer is not None and not answer.again and answer.measured < MAX_MEASURED:
        remember(memory, name, replace(answer, again=True))
