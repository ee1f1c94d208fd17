"""Articles around tables, compiled by pdflatex where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed"
)
CLASSES = ("onecolumn", "twocolumn")


def compile_tables(texts: Sequence[str], columns: str, folder: Path) -> str:
    """Compile an article with tables and nothing but what they say they need; returns the log.

    Args:
        texts: LaTeX of the tables.
        columns: One of `CLASSES`.
        folder: Where article.tex, .pdf and .log go.

    Raises:
        AssertionError: It does not compile.
    """
    packages = dict.fromkeys(re.findall(r"^% needs (\\usepackage\{.*\})$", "\n".join(texts), re.M))
    document = "\n".join(
        [rf"\documentclass[{columns}]{{article}}", *packages, r"\begin{document}", "Text.", *texts,
         r"\end{document}", ""]
    )  # fmt: skip
    (folder / "article.tex").write_text(document, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*words, "article.tex"], cwd=folder, capture_output=True, timeout=120, check=False
    )
    log = (folder / "article.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, [line for line in log.splitlines() if line.startswith(("!", "l."))]
    return log


def too_large(log: str) -> list[str]:
    """What does not fit: boxes wider than the line, and floats higher than the page."""
    return re.findall(r"^(?:Overfull \\hbox .*|.*Float too large.*)$", log, re.M)
