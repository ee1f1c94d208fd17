"""Texts that a spreadsheet would evaluate are guarded in CSV files, and read back as they were."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest

from igbench.records import sheets, store
from tests.helpers import strange

EVIL = '=HYPERLINK("http://x","y")'


def test_all_short_texts_come_back() -> None:
    parts = ("=", "'", "\t", "\r", "\n", "a", "-", " ", "＝", "@")
    for text in map("".join, itertools.product(("", *parts), repeat=3)):
        cell = sheets.guard(text)
        assert sheets.unguard(cell) == text
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))


@pytest.mark.parametrize(
    "text", [EVIL, "-1+1", "@SUM(A1)", "\tx", "\rx", "a\rb", "'=1", "'", "'a'"]
)
def test_a_summary_is_guarded_and_read_back(tmp_path: Path, text: str) -> None:
    run = strange.run()
    rows = [
        r._replace(model=text, status="failed", reason=text, value=float("nan"))
        if r.method == "random"
        else r._replace(model=text, value=-0.5)
        for r in strange.rows(run)
    ]
    folder = store.write(store.place(tmp_path, run), run, rows)
    found = store.read_summary(folder)
    assert set(found["model"]) == {text}
    assert set(found["reason"]) == {"", text}
    assert found["mean"].min() == -0.5, "numbers are no text"
    raw = pd.read_csv(folder / store.SUMMARY_FILE, keep_default_na=False)
    assert not [m for m in raw["model"] if m.startswith(("=", "-", "@", "\t", "\r"))]
    assert "-0.5" in (folder / store.SUMMARY_FILE).read_text()


def test_summaries_of_before_are_read_as_they_are(tmp_path: Path) -> None:
    folder = strange.write(tmp_path)
    path = folder / store.SUMMARY_FILE
    path.write_text(path.read_text().replace("\nm,ig", "\n'm' of us,ig"))
    assert "'m' of us" in set(store.read_summary(folder)["model"])
