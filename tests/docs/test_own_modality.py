"""The page on modalities of one's own, followed to the letter by a user in an empty folder."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from igbench.__main__ import main
from igbench.records import store
from tests.docs.test_documentation import BLOCK

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_modality.md"
FILE = re.compile(r"# (sensors/\S+)\n")


def write_files(folder: Path) -> list[str]:
    """Write the blocks whose first line names a file, and return the names."""
    text, names = PAGE.read_text(encoding="utf-8"), []
    for _, code in BLOCK.findall(text):
        if found := FILE.match(code):
            target = folder / found[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(code, encoding="utf-8")
            names.append(found[1])
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "cache"))
    assert len(write_files(tmp_path)) == 4
    yield tmp_path
    for name in ("network", "signals"):
        sys.modules.pop(name, None)


def test_the_page_runs_as_it_is_written(folder):
    (command,) = [code for language, code in BLOCK.findall(PAGE.read_text()) if language == "sh"]
    small = ["limit=2", "batch_size=64", "method=[ig,random]", "metric=[completeness,srg]"]
    assert main([*shlex.split(command)[1:], *small]) == 0
    (run,) = (folder / "results" / "sensors").glob("*/run.json")
    records = store.read(run.parent)
    means = records.scores.groupby(["method", "metric"])["value"].mean()
    assert means["ig", "completeness"] == pytest.approx(0, abs=1e-5)
    assert means["ig", "srg"] > means["random", "srg"]
    assert not records.scores["reason"].astype(bool).any()
    assert isinstance(records.scores, pd.DataFrame)
    assert {f.name for f in (run.parent / "plots").glob("series_*.png")} == {
        "series_1.png", "series_2.png",
    }  # fmt: skip
    report = (run.parent / "report.html").read_text(encoding="utf-8")
    assert "Attributions of one series" in report
