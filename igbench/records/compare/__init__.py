"""Compare two runs with a paired verdict for each cell (model, method, metric).

Runs are comparable if they ask the same question of the same model with the same libraries on the
same machine; what may differ is named, see `igbench.records.compare.identity`.  Every cell is
judged over the samples that have a value in both runs; samples that lost or regained theirs are
named.
"""

from __future__ import annotations

from collections.abc import Callable

from igbench.records.compare.acceptance import Acceptance
from igbench.records.compare.as_json import SCHEMA, as_dict, format_json
from igbench.records.compare.comparison import (
    NOT_COMPARABLE,
    Comparison,
    Exit,
    FailOn,
    Outcome,
    compare,
)
from igbench.records.compare.identity import FIELDS, METRIC_VERSIONS, Difference, Field
from igbench.records.compare.judging import LEVEL
from igbench.records.compare.junit import format_junit
from igbench.records.compare.markdown import format_markdown
from igbench.records.compare.pairing import TOLERANCES, Cell
from igbench.records.compare.text import (
    FINDING_COLUMNS,
    finding_rows,
    format_text,
    headline,
    remarks,
)

FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": format_text, "markdown": format_markdown, "json": format_json, "junit": format_junit,
}  # fmt: skip
"""Name of a format to what writes it."""

__all__ = [
    "FIELDS", "FINDING_COLUMNS", "FORMATS", "LEVEL", "METRIC_VERSIONS", "NOT_COMPARABLE", "SCHEMA",
    "TOLERANCES", "Acceptance", "Cell", "Comparison", "Difference", "Exit", "FailOn", "Field",
    "Outcome", "as_dict", "compare", "finding_rows", "format_json", "format_junit",
    "format_markdown", "format_text", "headline", "remarks",
]  # fmt: skip
