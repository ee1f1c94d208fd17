"""A comparison as Markdown, for the summary of a CI job or a pull request."""

from __future__ import annotations

import re

from igbench.errors import printable
from igbench.records.compare.comparison import Comparison
from igbench.records.compare.text import FINDING_COLUMNS, finding_rows, headline, remarks

_MARKDOWN = re.compile(r"([\\`*|~$]|\[(?=[^\]]*\][(\[:]))")
"""What Markdown reads in a cell; brackets only where a link begins."""


def format_markdown(comparison: Comparison) -> str:
    """Format a comparison as Markdown, with a table of the findings, for a job summary."""
    c = comparison
    lines = [f"### {_escape(headline(c))}", ""]
    lines += [f"- not comparable: {_escape(text)}" for text in c.incomparable]
    rows = finding_rows(c)
    if rows:
        lines += [
            f"| {' | '.join(FINDING_COLUMNS)} |",
            "|---|---|---:|---:|---:|---:|---:|---|",
            *("| " + " | ".join(map(_escape, row)) + " |" for row in rows),
            "",
        ]
    lines += [f"- {_escape(text)}" for text in remarks(c)]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """A text of a line or a cell: no HTML, link, code or end of the cell; names stay readable."""
    plain = printable(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", plain)
