"""Print the trend of an experiment over its runs and releases, and draw it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from igbench.cli import formats, printing
from igbench.errors import InputError, check_choice
from igbench.records import compare, trend
from igbench.records import history as records
from igbench.records.compare import acceptance
from igbench.records.history import Cell, History
from igbench.records.steps import Step
from igbench.schema import Change

KINDS = ("png", "pdf", "svg")
LOUD = ("regressed", "failed", "missing", "incomparable", "changed", "improved", "new")
"""Verdicts that are written beside a mean."""
POINTS = (
    "release", "label", "run", "created", "model", "method", "metric", "line", "n", "n_undefined",
    "n_failed", "mean", "low", "high", "verdict", "best_verdict", "change_point",
)  # fmt: skip
"""Columns of the CSV file."""


def show(
    console: Console,
    history: History,
    steps: Sequence[Step],
    *,
    format_: str = "text",
    plot: Path | None = None,
) -> None:
    """Print a history, and draw it into a file.

    Raises:
        InputError: The format or the suffix of the file is unknown.
    """
    check_choice("--format", format_, formats.FORMATS)
    if plot is not None:
        draw(history, plot)
    if format_ in ("text", "markdown"):
        _print(console, history, steps, markdown=format_ == "markdown")
    elif format_ == "csv":
        console.file.write(formats.comma_separated(points(history, steps), POINTS))
    else:
        text = json.dumps(formats.finite(as_json(history, steps)), indent=1, allow_nan=False)
        console.file.write(f"{text}\n")


def draw(history: History, path: Path) -> None:
    """Draw a history into a PNG, PDF or SVG file.

    Raises:
        InputError: Its suffix is another, or it cannot be written.
    """
    kind = check_suffix(path)
    from igbench.report import history as report
    from igbench.report import styles

    try:
        styles.save(report.figure(history), path.with_suffix(""), (kind,))
    except OSError as error:
        raise InputError(f"--plot {path}: {error.strerror}.") from error


def check_suffix(path: Path) -> str:
    """The format that the suffix of a file names.

    Raises:
        InputError: It is none of `KINDS`.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise InputError(f"--plot {path}: its suffix must be one of {', '.join(KINDS)}.")
    return kind


def _print(console: Console, history: History, steps: Sequence[Step], *, markdown: bool) -> None:
    made = formats.markdown if markdown else formats.text
    printing.say(console, f"{'### ' if markdown else ''}{headline(history)}\n")
    console.file.write(made(_releases(history), list(_releases(history)[0])) + "\n")
    several = history.points["model"].nunique() > 1
    for (model, metric), rows in history.points.groupby(["model", "metric"], sort=False):
        spec = history.metrics[str(metric)]
        head = f"{metric} {spec.arrow}".strip() + (f", {model}" if several else "")
        printing.say(console, f"{'#### ' if markdown else ''}{head}: {spec.title}\n")
        lines = _means(history, steps, rows)
        console.file.write(made(lines, list(lines[0])) + "\n")
    item = "- " if markdown else ""
    for text in remarks(history):
        printing.say(console, f"{item}{text}")
    for step in steps[:-1]:
        printing.say(console, f"{item}{_step(step)}")
    if steps:
        report = compare.format_markdown if markdown else compare.format_text
        last = steps[-1]
        printing.say(
            console, f"\n{item}Release {last.release + 1} against {last.before + 1} and the best:"
        )
        console.file.write(("\n" if markdown else "") + report(last.comparison))


def headline(history: History) -> str:
    """How many releases there are, from when to when, and how many are shown."""
    count, shown = len(history.releases), len(history.releases) - history.shown
    dates = [f"{r.listed.created:%Y-%m-%d}" for r in (history.releases[0], history.releases[-1])]
    when = dates[0] if dates[0] == dates[1] else f"{dates[0]} to {dates[1]}"
    text = f"{history.experiment}: {count} releases, {when}" if count > 1 else (
        f"{history.experiment}: 1 release, {when}"
    )  # fmt: skip
    return text if shown == count else f"{text}; the newest {shown} are shown (--last 0 for all)"


def _shown(history: History) -> range:
    return range(history.shown, len(history.releases))


def _releases(history: History) -> list[dict[str, Any]]:
    found = []
    for i in _shown(history):
        one = history.releases[i]
        record = one.listed.record
        row = {
            "release": i + 1, "label": one.label, "run": record["id"],
            "samples": len(record["samples"]), "state": record["state"],
        }  # fmt: skip
        if len(history.questions) > 1:
            row["question"] = one.question + 1
        row["changed from the release before"] = "; ".join(one.changed) or "nothing" if i else ""
        found.append(row)
    return found


def _means(history: History, steps: Sequence[Step], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each shown release, a column for each method."""
    verdicts = _verdicts(steps)
    methods = list(dict.fromkeys(rows["method"]))
    cells = {(r.release, r.method): r for r in rows.itertuples()}
    steps_at = {(c.release, *c.cell) for c in history.change_points}
    found = []
    for i in _shown(history):
        row: dict[str, Any] = {"release": i + 1, "label": history.releases[i].label}
        for method in methods:
            one = cells.get((i, method))
            row[method] = "" if one is None else _mean(one, verdicts, steps_at)
        found.append(row)
    return found


def _mean(one: Any, verdicts: Mapping[tuple[int, Cell], Change], steps_at: set[Any]) -> str:
    cell = (one.model, one.method, one.metric)
    text = "n/a"
    if one.n:
        ends = "" if math.isnan(one.low) else f" [{one.low:.3g}, {one.high:.3g}]"
        text = f"{one.mean:.4g}{ends}"
    counts = {"undefined": one.n_undefined, "failed": one.n_failed}
    notes = [f"{count} {what}" for what, count in counts.items() if count]
    change = verdicts.get((one.release, cell))
    if change and change.verdict in LOUD:
        notes.append(change.verdict)
    if change and acceptance.drifted(change):
        notes.append("worse than the best")
    if (one.release, *cell) in steps_at:
        notes.append("change point")
    return f"{text} ({', '.join(notes)})" if notes else text


def _verdicts(steps: Sequence[Step]) -> dict[tuple[int, Cell], Change]:
    return {(s.release, cell): c for s in steps for cell, c in s.verdicts().items()}


def _step(step: Step) -> str:
    return f"Release {step.release + 1} against {step.before + 1}: " + compare.headline(
        step.comparison
    )


def remarks(history: History) -> list[str]:
    """Which releases are not joined, and the change points or why there are none."""
    found = []
    for i, text in enumerate(history.questions):
        if text:
            own = [r + 1 for r, one in enumerate(history.releases) if one.question == i]
            found.append(
                f"question {i + 1} ({_numbers(own)}) is another one, neither joined nor "
                f"compared with that of the newest release: {text}"
            )
    lines = history.points.groupby("metric")["line"].nunique()
    if len(history.questions) < int(lines.max() if len(lines) else 0):
        other = [str(m) for m, n in lines.items() if n > len(history.questions)]
        found.append(f"not joined where their version changed: {', '.join(other)}")
    for one in history.change_points:
        model, method, metric = one.cell
        found.append(
            f"change point of {method}/{metric} ({model}) at release {one.release + 1} "
            f"({history.releases[one.release].label}): mean {one.before:.4g} -> {one.after:.4g}"
        )
    if history.too_short:
        found.append(
            f"change points are looked for from {trend.LEAST} comparable releases on, of which "
            f"there are {history.too_short}: neighbours are compared instead"
        )
    elif not history.change_points:
        found.append("no change points (Pelt, squared error, penalty 4 s^2 ln n)")
    return found


def _numbers(places: Sequence[int]) -> str:
    """Numbers of releases in words, neighbours as ranges.

    >>> _numbers([1, 2, 3, 5]), _numbers([4])
    ('releases 1-3, 5', 'release 4')
    """
    parts: list[list[int]] = []
    for place in places:
        if parts and place == parts[-1][-1] + 1:
            parts[-1].append(place)
        else:
            parts.append([place])
    text = ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
    return f"release{'s' if len(places) > 1 else ''} {text}"


def points(history: History, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A row with `POINTS` for each release and cell."""
    verdicts = _verdicts(steps)
    steps_at = {(c.release, *c.cell) for c in history.change_points}
    found = []
    for one in history.points.to_dict("records"):
        release = history.releases[one["release"]]
        cell = (one["model"], one["method"], one["metric"])
        change = verdicts.get((one["release"], cell))
        found.append(
            {
                **one,
                "release": one["release"] + 1,
                "label": release.label,
                "run": release.listed.record["id"],
                "created": release.listed.record["created"],
                "verdict": change.verdict if change else "",
                "best_verdict": change.drift.verdict if change and change.drift else "",
                "change_point": (one["release"], *cell) in steps_at,
            }
        )
    return found


def as_json(history: History, steps: Sequence[Step]) -> dict[str, Any]:
    """All of a history as plain values."""
    return {
        "experiment": history.experiment,
        "questions": [{"question": i + 1, "differs": t} for i, t in enumerate(history.questions)],
        "releases": [
            {
                "release": i + 1,
                "label": one.label,
                "question": one.question + 1,
                "baseline": one.listed.name,
                "folder": str(one.listed.folder),
                **one.listed.values(),
                "changed": list(one.changed),
            }
            for i, one in enumerate(history.releases)
        ],
        "points": points(history, steps),
        "verdicts": [
            {"release": s.release + 1, "before": s.before + 1, **asdict(change)}
            for s in steps
            for change in s.comparison.changes
        ],
        "not_comparable": {s.release + 1: s.comparison.incomparable for s in steps},
        "change_points": [
            {
                "release": one.release + 1,
                **dict(zip(("model", "method", "metric"), one.cell, strict=True)),
                "before": one.before,
                "after": one.after,
            }
            for one in history.change_points
        ],
        "remarks": remarks(history),
    }


def read(
    experiment: str,
    results_dir: Path,
    baselines_dir: Path,
    *,
    metrics: Sequence[str],
    methods: str,
    label: str,
    last: int,
) -> History:
    """The history that is asked for on the command line."""
    if last < 0:
        raise InputError(f"--last {last}: give a number of releases, or 0 for all.")
    chosen = [name for name in methods.split(",") if name]
    return records.read(
        experiment, results_dir, baselines_dir, metrics=metrics, methods=chosen, label=label,
        last=last,
    )  # fmt: skip
