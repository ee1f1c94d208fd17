"""List what conf/ holds: experiments, methods by kind, metrics by family, and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any, get_args

from rich.console import Console

from igbench.cli import tables
from igbench.config import folders
from igbench.config.build import construct
from igbench.errors import check_choice, printable
from igbench.report import render
from igbench.report.table import Cell, Table
from igbench.schema import Family, MethodSpec, MetricSpec

PLURALS = {
    "experiments": "experiment",
    "methods": "method",
    "metrics": "metric",
    "models": "model",
    "data": "data",
    "baselines": "baseline",
    "presets": "preset",
    "executors": "executor",
}

KINDS = {
    "global": "global: contributions that sum to f(x) - f(x')",
    "local": "local: sensitivities, per unit of input",
    "oracle": "oracles: independent implementations, never ranked",
    "control": "controls: maps that know nothing of the model, never ranked",
    "ceiling": "ceilings: searches for the best that removal metrics can reach, never ranked",
}
"""Heads of the groups of methods."""


BROKEN = "your own that cannot be listed"
"""Head of the files of the user that hold no method or metric, or one that needs a model."""


def show(console: Console, group: str = "", *, markdown: bool = False) -> None:
    """Print names and descriptions: tables on a terminal, a line each elsewhere.

    Raises:
        InputError: Unknown group.
    """
    for table in listed(group):
        if markdown:
            console.file.write(f"{render.to_markdown(table)}\n")
        elif console.is_terminal:
            console.print(tables.plain(table.caption, "bold"), soft_wrap=False)
            tables.draw(console, table)
        else:
            console.file.write(
                f"{printable(table.caption)}\n{indent(tables.to_text(table), '  ')}\n"
            )


def listed(group: str = "") -> Iterator[Table]:
    """A table for each group of names, of one folder of conf/ or of all.

    Raises:
        InputError: Unknown group.
    """
    if group and group not in PLURALS.values():
        check_choice("group", group, tuple(PLURALS))
    folder = PLURALS.get(group, group)
    for plural, name in PLURALS.items():
        if folder in ("", name):
            yield from _BUILDERS.get(name, _plain)(plural, name)


def _plain(plural: str, folder: str) -> Iterator[Table]:
    """What the files of a folder say of themselves."""
    yield _table(plural, {name: (_comment(folder, name),) for name in folders.choices(folder)})


def _metrics(plural: str, folder: str) -> Iterator[Table]:
    """Metrics by family: direction, question and paper."""
    specs: dict[str, MetricSpec]
    specs, broken = _specs(folder)
    for family in get_args(Family):
        lines = {
            name: (spec.arrow or "–", spec.explains or spec.title, spec.reference)
            for name, spec in specs.items()
            if spec.family == family
        }
        if lines:
            yield _table(f"{plural}, {family or 'others'}", lines)
    if broken:
        yield _table(f"{plural}, {BROKEN}", broken)


def _methods(plural: str, folder: str) -> Iterator[Table]:
    """Methods by kind, then oracles and controls: title and paper."""
    specs: dict[str, MethodSpec]
    specs, broken = _specs(folder)
    for kind, title in KINDS.items():
        lines = {
            name: (spec.title + ("" if spec.signed else " (magnitudes)"), spec.reference)
            for name, spec in specs.items()
            if (spec.kind if spec.role == "method" else spec.role) == kind
        }
        if lines:
            yield _table(f"{plural}, {title}", lines)
    if broken:
        yield _table(f"{plural}, {BROKEN}", broken)


_BUILDERS = {"metric": _metrics, "method": _methods}


def _table(title: str, lines: Mapping[str, tuple[str, ...]]) -> Table:
    width = max(map(len, lines.values()), default=0)
    return Table(
        name="list",
        caption=title,
        columns=("",) * (width + 1),
        rows=tuple(lines),
        cells=tuple(tuple(map(Cell, line)) for line in lines.values()),
        numeric=False,
    )


def _comment(folder: str, name: str) -> str:
    """The comment at the top of a file, without the lines that are commands."""
    path = folders.file(folder, name)
    return " ".join(
        line.removeprefix("#").strip()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("#") and "@package" not in line and "python -m" not in line
    )


def _specs(folder: str) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Definitions of all methods or metrics, and why those of the user's files have none."""
    found: dict[str, Any] = {}
    broken: dict[str, tuple[str, ...]] = {}
    for name in folders.choices(folder):
        try:
            found[name] = construct(folders.node(folder, name), f"{folder}.{name}").spec
        except Exception as error:
            if name in folders.packaged(folder):
                raise
            broken[name] = (" ".join(str(error).split()),)
    return found, broken
