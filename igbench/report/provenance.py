"""What it takes to repeat a run: its command, versions, hashes and environment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from igbench.schema import Run

CHANGED = "+changes"
"""End of a revision whose working tree had changes."""

PARTS = ("config", "comparability", "identity", "environment")
"""Parts of the record that the page shows as JSON."""
MOST_CHARACTERS, MOST_ITEMS = 2_000, 200
"""Of one text and of one list in them; the rest is in run.json alone, which they say."""
_HIDDEN = ("certificates", "reuse")
"""Keys that are left out, because they have their own tables or are internal."""


def command(run: Run) -> str:
    """The recorded command line, or one that starts the same experiment."""
    recorded = run.config.get("command")
    if isinstance(recorded, str) and recorded:
        return recorded
    words = ["python", "-m", "igbench", f"experiment={run.experiment}"]
    words += [
        f"{key}={run.config[key]}" for key in ("limit", "seed") if run.config.get(key) is not None
    ]
    return shlex.join(words)


def facts(run: Run) -> list[tuple[str, str]]:
    """Names and texts of what decides the numbers of a run; what is not on record is left out."""
    same, own, around = run.comparability, run.identity, run.environment
    found: dict[str, Any] = {
        "Record": run.id,
        "Started": run.created,
        "Code": _revision(str(around.get("git") or "")),
        "Python": around.get("python"),
        "Platform": around.get("platform"),
        "Device": own.get("device"),
        "Numbers": ", ".join(
            str(v) for v in (own.get("dtype"), _precision(own), _folded(own, around)) if v
        ),
        "Threads": around.get("threads"),
        "Seed": same.get("seed", run.config.get("seed")),
        "Hash of the samples": same.get("samples"),
        "Hash of the weights": same.get("weights"),
        "Hash of all that decides the rows": around.get("identity"),
    }
    return [(name, str(text)) for name, text in found.items() if text is not None and text != ""]


def _revision(git: str) -> str:
    if not git.endswith(CHANGED):
        return git
    return f"{git.removesuffix(CHANGED)}, with changes that were not committed"


def _precision(own: Mapping[str, Any]) -> str:
    precision = own.get("precision")
    return f"perturbed inputs in {precision}" if precision and precision != own.get("dtype") else ""


def _folded(own: Mapping[str, Any], around: Mapping[str, Any]) -> str:
    if not (count := own.get("folded")):
        return ""
    known = around.get("precision")
    largest = known.get("fold_largest") if isinstance(known, Mapping) else None
    off = f" (outputs off by up to {largest:.2g})" if isinstance(largest, float) else ""
    return f"{count} batch norms folded into convolutions{off}"


def requirements(run: Run) -> str:
    """Versions of the packages of a run, one a line, as pip reads them.

    Args:
        run: The run.
    """
    versions = run.identity.get("versions")
    if not isinstance(versions, Mapping):
        return ""
    return "\n".join(f"{name}=={version}" for name, version in versions.items())


def details(run: Run) -> dict[str, str]:
    """Parts of the record as JSON, by name; very long texts and lists are cut.

    Args:
        run: The run.
    """
    found = {}
    for name in PARTS:
        shown = {k: _cut(v) for k, v in getattr(run, name).items() if k not in _HIDDEN}
        found[name] = json.dumps(shown, indent=2, ensure_ascii=False, default=str)
    return found


def _cut(value: Any) -> Any:
    """A value whose long texts and lists end with a remark on what was left out.

    >>> _cut({"a": ["x" * 5000]})["a"][0][1995:]
    'xxxxx… (5,000 characters; all in run.json)'
    """
    if isinstance(value, Mapping):
        return {k: _cut(v) for k, v in value.items()}
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return f"{value[:MOST_CHARACTERS]}… ({len(value):,} characters; all in run.json)"
    if isinstance(value, list | tuple):
        more = [f"… ({len(value):,} entries; all in run.json)"] * (len(value) > MOST_ITEMS)
        return [*map(_cut, value[:MOST_ITEMS]), *more]
    return value
