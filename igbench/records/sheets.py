"""Texts in CSV files that a spreadsheet must not take for formulas."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

_FORMULA = re.compile(r"['\s]*[=+\-@＝＋－＠\t\r\n]")
"""How a text begins that a spreadsheet evaluates, whatever spaces and apostrophes are before it."""


def guard(text: str) -> str:
    """A text with an apostrophe before it where a spreadsheet would take it for a formula.

    >>> guard("=1+1"), guard("ig"), guard("'a' is no class")
    ("'=1+1", 'ig', "'a' is no class")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """The inverse of `guard`.

    >>> unguard("'=1+1"), unguard("'a' is no class")
    ('=1+1', "'a' is no class")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def write(frame: pd.DataFrame, path: Path | TextIO, texts: Sequence[str]) -> None:
    """Write a frame as CSV, with `guard` on its columns of text; numbers stay numbers.

    Args:
        frame: What to write.
        path: The file, or a stream of text.
        texts: Its columns of text.
    """
    guarded = frame.assign(**{name: frame[name].map(guard) for name in texts})
    returns = any("\r" in text for name in texts for text in frame[name])
    # The writer of CSV leaves a carriage return bare, which readers take for the end of the line.
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    guarded.to_csv(path, index=False, lineterminator="\n", quoting=quoting)
