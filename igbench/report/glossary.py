"""Tables that define the metrics and the methods of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping

from igbench.report import names, styles
from igbench.report.table import Cell, Table
from igbench.schema import MetricSpec, Run


def definitions_table(run: Run) -> Table:
    """Table of the definitions of the metrics."""
    heads = (
        "title", "better", "range", "scalar", "feature", "version", "source", "undefined", "name",
    )  # fmt: skip
    return _text_table(
        "definitions", "Definitions of the metrics. Name: in configurations and records.",
        ("metric", *heads),
        {
            names.method(name, run.metrics): (*_definition(spec), name)
            for name, spec in run.metrics.items()
        },
    )  # fmt: skip


def _definition(spec: MetricSpec) -> tuple[str, ...]:
    low = "(−∞" if math.isinf(spec.low) else f"[{spec.low:g}"
    high = "∞)" if math.isinf(spec.high) else f"{spec.high:g}]"
    better = {"higher": "↑ higher", "lower": "↓ lower", "none": "–"}[spec.direction]
    return (
        spec.title, better, f"{low}, {high}".replace("-", "−"), spec.scalar, spec.unit or "–",
        str(spec.version), spec.reference, spec.undefined,
    )  # fmt: skip


def methods_table(run: Run) -> Table:
    """Table of the methods."""
    return _text_table(
        "methods", "The attribution methods. Name: in configurations and records.",
        ("method", "title", "role", "kind", "map", "source", "name"),
        {
            names.method(name, run.methods): (
                run.methods[name].title, run.methods[name].role, run.methods[name].kind,
                "signed" if run.methods[name].signed else "magnitude",
                run.methods[name].reference, name,
            )
            for name in styles.method_names(run)
        },
    )  # fmt: skip


def _text_table(
    name: str, caption: str, columns: tuple[str, ...], lines: Mapping[str, tuple[str, ...]]
) -> Table:
    cells = tuple(tuple(Cell(text) for text in line) for line in lines.values())
    return Table(name, caption, columns, tuple(lines), cells, numeric=False)
