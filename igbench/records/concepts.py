"""Correct, tabulate and write the scores of concepts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from igbench.records import sheets, stats, store
from igbench.records.settings import own_settings
from igbench.schema import ConceptScore

SCHEMA = "igbench.tcav/1"
"""Name and version of the format of tcav.json."""

TEXTS = ("concept", "target", "layer", "status", "reason")
"""Columns of text of scores.csv."""


def corrected(lines: Sequence[ConceptScore]) -> list[ConceptScore]:
    """The same with Holm's correction over concepts and classes; undefined ones do not count."""
    adjusted = stats.holm([line.p_value for line in lines])
    return [replace(line, p_holm=float(p)) for line, p in zip(lines, adjusted, strict=True)]


@own_settings()
def frame(lines: Sequence[ConceptScore]) -> pd.DataFrame:
    """One row for each concept and class, with the columns of `igbench.schema.ConceptScore`."""
    return pd.DataFrame(
        [asdict(line) for line in lines], columns=[f.name for f in fields(ConceptScore)]
    )


@own_settings()
def write(
    folder: Path,
    lines: Sequence[ConceptScore],
    settings: Mapping[str, Any],
    draw: Callable[[Path], None],
) -> None:
    """Write scores.csv, scores.parquet, tcav.json and what `draw` adds, all or nothing.

    Args:
        folder: Must not exist.
        lines: The scores.
        settings: Plain values: what decided them.
        draw: Writes more files into a folder.

    Raises:
        InputError: The folder exists, or cannot be written.
    """

    def fill(place: Path) -> None:
        table = frame(lines)
        sheets.write(table, place / "scores.csv", TEXTS)
        table.to_parquet(place / "scores.parquet", index=False)
        content = {"schema": SCHEMA, **settings, "scores": [asdict(line) for line in lines]}
        text = json.dumps(store.encode(content), indent=1, ensure_ascii=False, allow_nan=False)
        (place / "tcav.json").write_bytes(store.as_bytes(text + "\n"))
        draw(place)

    store.write_folder(folder, fill)
