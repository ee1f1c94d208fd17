"""A comparison as JSON; docs/howto/compare_in_ci.md describes the fields."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any, get_args

from igbench.records.compare.comparison import Comparison
from igbench.schema import Change, Verdict

SCHEMA = "igbench.compare/1"
"""Name and version of the format; fields are added without a new version, never changed."""


def format_json(comparison: Comparison) -> str:
    """Format a comparison as strict JSON: every cell and sample; NaN is null."""
    content = _plain(as_dict(comparison))
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def as_dict(c: Comparison) -> dict[str, Any]:
    """A comparison as plain nested values."""
    counts = Counter(change.verdict for change in c.changes)
    return {
        "schema": SCHEMA,
        "base": c.base,
        "new": c.new,
        "outcome": c.outcome,
        "exit_code": c.exit_code,
        "fail_on": c.fail_on,
        "across": list(c.across),
        "history": list(c.history),
        "counts": {verdict: counts[verdict] for verdict in get_args(Verdict)},
        "incomparable": c.incomparable,
        "differences": [asdict(d) | {"allowed": d.allowed(c.across)} for d in c.found],
        "warnings": c.warnings,
        "detectable": c.detectable,
        "metrics": {
            name: {k: getattr(spec, k) for k in ("title", "direction", "version", "min_effect")}
            for name, spec in c.metrics.items()
        },
        "cells": [_cell(c, change) for change in c.changes],
    }


def _cell(c: Comparison, change: Change) -> dict[str, Any]:
    cell = asdict(change) | {
        "lost": [s._asdict() for s in change.lost],
        "recovered": [s._asdict() for s in change.recovered],
        "accepted": c.accepted.get(change.name),
    }
    return cell


def _plain(value: Any) -> Any:
    """Values that strict JSON has: null for NaN, and texts for infinities."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
