"""Changes that are accepted, with the reason: patterns of cells, and the file that keeps them.

An entry of the file covers what was seen when it was made and no more: the verdicts against one
base run, and the drift against runs before, as long as no cell gets worse by a further minimum
effect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from igbench.errors import InputError, printable
from igbench.files import text as read_text
from igbench.files import write_whole
from igbench.schema import Change, MetricSpec, Verdict

QUIET: tuple[Verdict, ...] = ("identical", "close", "equivalent", "undecided", "unjudged")
"""Verdicts that need no acceptance."""

LARGEST = 2**22
"""Bytes of a file of acceptances."""

_HEAD = """\
# Changes between two runs that are accepted, and why: written by igbench compare --accept, read by
# every later comparison with the same base. Commit it; remove what is no longer true.
"""
_TEXTS = ("pattern", "reason", "date", "base", "new")


@dataclass(frozen=True)
class Acceptance:
    """An entry of a file of acceptances.

    Attributes:
        pattern: Of cells, see `matches`.
        reason: Why they may change.
        date: When it was accepted, as in 2026-11-26.
        base: Identifier of the base run.
        new: Identifier of the new run.
        cells: Cell name to what was accepted: verdict, mean of the new run, lost samples.
    """

    pattern: str
    reason: str
    date: str
    base: str
    new: str
    cells: Mapping[str, Mapping[str, Any]]

    def covers(self, change: Change, base: str, spec: MetricSpec) -> bool:
        """Whether it accepts all that is to be accepted of a cell."""
        seen = self.cells.get(change.name)
        if seen is None or _further(change, seen, spec):
            return False
        drift_covered = not drifted(change) or bool(change.drift and change.drift.run <= self.new)
        same = change.verdict in QUIET or (self.base == base and seen["verdict"] == change.verdict)
        return drift_covered and same


def matches(pattern: str, change: Change) -> bool:
    """Whether a pattern of "metric", "method/metric" or "model/method/metric" means a cell.

    "*" matches anything, and every other character itself.

    >>> matches("ig/del*", Change("resnet18", "ig", "deletion", "regressed"))
    True
    """
    plain = ".*".join(map(re.escape, pattern.split("*")))
    return bool(re.fullmatch(f"(.*/)?{plain}", change.name, re.DOTALL))


def drifted(change: Change) -> bool:
    """Whether a cell is worse than in the best run before."""
    return change.drift is not None and change.drift.verdict == "regressed"


def needs_acceptance(change: Change) -> bool:
    """Whether a cell has changed, against the base or the best run before."""
    return change.verdict not in QUIET or drifted(change)


def accepted(changes: Sequence[Change], accept: Mapping[str, str]) -> dict[str, str]:
    """Names of cells whose verdict is accepted, with the reason.

    Raises:
        InputError: A pattern matches no cell.
    """
    found: dict[str, str] = {}
    for pattern, reason in accept.items():
        hits = _hits(changes, pattern)
        found |= {c.name: reason for c in hits if needs_acceptance(c)}
    return found


def _hits(changes: Sequence[Change], pattern: str) -> list[Change]:
    hits = [c for c in changes if matches(pattern, c)]
    if not hits:
        example = changes[0].name.split("/", 1)[1] if changes else "ig/deletion"
        raise InputError(
            f"accept pattern {pattern!r} matches no cell; give method/metric, for example "
            f"{example!r}."
        )
    return hits


def kept(
    changes: Sequence[Change],
    entries: Sequence[Acceptance],
    base: str,
    specs: Mapping[str, MetricSpec],
) -> tuple[dict[str, str], list[str]]:
    """Cells that earlier entries accept, with the reason, and what is to be said of the others.

    Args:
        changes: The verdicts.
        entries: Those of a file.
        base: Identifier of the base run.
        specs: Definitions of the metrics.
    """
    found: dict[str, str] = {}
    remarks = []
    for entry in entries:
        loud = [c for c in changes if needs_acceptance(c) and c.name in entry.cells]
        covered = [c for c in loud if entry.covers(c, base, specs[c.metric])]
        found |= {c.name: f"{entry.reason} ({entry.date})" for c in covered}
        start = f"the acceptance of {entry.pattern!r} ({entry.date}, {entry.reason})"
        if not loud:
            remarks.append(f"{start} matches no change any more; remove it")
        elif len(covered) < len(loud):
            open_ = next(c for c in loud if c not in covered)
            why = "another base run" if entry.base != base else "more than was accepted"
            remarks.append(
                f"{start} does not cover {len(loud) - len(covered)} cells, the first "
                f"{open_.name}: {why}"
            )
    return found, remarks


def _further(change: Change, seen: Mapping[str, Any], spec: MetricSpec) -> bool:
    """Whether a cell has got worse, or lost more samples, since it was accepted."""
    if len(change.lost) > seen["lost"]:
        return True
    mean = change.new if not math.isnan(change.new) else None
    if mean is None or seen["mean"] is None:
        return mean is None and seen["mean"] is not None
    further = mean - seen["mean"]
    if spec.direction != "none":
        further = -further if spec.direction == "higher" else further
        return bool(further > spec.min_effect)
    return bool(abs(further) > spec.min_effect)


def entries_of(
    changes: Sequence[Change], accept: Mapping[str, str], *, base: str, new: str, date: str = ""
) -> list[Acceptance]:
    """The entries that keep an acceptance.

    Args:
        changes: The verdicts.
        accept: Patterns of cells to the reason why they may change.
        base: Identifier of the base run.
        new: Identifier of the new run.
        date: When it is accepted; today in UTC by default.

    Raises:
        InputError: A pattern matches no cell, or only cells that have not changed; or a reason is
            empty.
    """
    made = []
    date = date or datetime.now(UTC).date().isoformat()
    for pattern, reason in accept.items():
        if not reason.strip():
            raise InputError(f"--accept {pattern} needs a reason; give --reason TEXT.")
        hits = _hits(changes, pattern)
        loud = [c for c in hits if needs_acceptance(c)]
        if not loud:
            raise InputError(
                f"--accept {pattern}: none of the {len(hits)} cells that it matches has changed, "
                "so there is nothing to accept."
            )
        cells = {
            c.name: {
                "verdict": c.verdict,
                "mean": None if math.isnan(c.new) else c.new,
                "lost": len(c.lost),
            }
            for c in loud
        }
        made.append(Acceptance(pattern, reason.strip(), date, base, new, cells))
    return made


def beside(base: Path) -> Path:
    """The file of what is accepted against a base run, beside its folder.

    >>> beside(Path("baselines/v1")).as_posix()
    'baselines/v1.accepted.yaml'
    """
    return base.with_name(f"{base.name}.accepted.yaml")


def read(path: Path) -> list[Acceptance]:
    """The entries of a file of acceptances; none if there is no such file.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    import yaml

    if not path.exists() and not path.is_symlink():
        return []
    try:
        content = yaml.safe_load(read_text(path, LARGEST))
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read: {printable(said)}. Mend or remove it.") from error
    if content is None:
        return []
    if not isinstance(content, list):
        raise InputError(f"{path} is no list of acceptances; mend or remove it.")
    return [_entry(path, i, one) for i, one in enumerate(content)]


def _entry(path: Path, i: int, one: Any) -> Acceptance:
    fault = _fault(one)
    if fault:
        raise InputError(f"{path}, entry {i + 1}: {printable(fault)}; mend or remove it.")
    return Acceptance(**one)


def _fault(one: Any) -> str:
    """What is wrong with an entry; "" for nothing."""
    if not isinstance(one, dict) or set(one) != {*_TEXTS, "cells"}:
        return f"it must have {', '.join(_TEXTS)} and cells, and nothing else"
    for name in _TEXTS:
        if not isinstance(one[name], str) or not one[name]:
            return f"{name} must be a text, in quotes if it looks like a date or a number"
    if not isinstance(one["cells"], dict):
        return "cells must be a mapping"
    for name, seen in one["cells"].items():
        if not isinstance(seen, dict) or set(seen) != {"verdict", "mean", "lost"}:
            return f"cells.{name} must have verdict, mean and lost"
        mean = seen["mean"]
        number = isinstance(mean, int | float) and not isinstance(mean, bool)
        if not (number or mean is None) or not isinstance(seen["lost"], int):
            return f"cells.{name} must have numbers as mean and lost"
    return ""


def write(path: Path, entries: Sequence[Acceptance]) -> None:
    """Write a file of acceptances; an entry takes the place of one of its pattern and runs.

    Raises:
        InputError: It cannot be written.
    """
    import yaml

    last = {(e.pattern, e.base, e.new): e for e in entries}
    content = [{k: getattr(e, k) for k in _TEXTS} | {"cells": dict(e.cells)} for e in last.values()]
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (_HEAD + body).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from error
