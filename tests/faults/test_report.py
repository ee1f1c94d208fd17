"""A report that cannot be drawn costs no rows; the table of faults is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igbench.__main__ import main
from igbench.records import store
from igbench.report import plots
from tests.helpers.broken_runs import (
    RUN,
    line,
    page,
)
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


def test_a_report_that_cannot_be_drawn(out, whole, capsys, monkeypatch, drawn):
    words = [*RUN, f"results_dir={out}"]

    def fails(*args):
        raise RuntimeError("no such font")

    with monkeypatch.context() as patch:
        patch.setattr(plots, "makers", fails)
        assert main(words) == 2
        said = line(capsys)
        assert main(words) == 2, "it is not taken for done"
    (folder,) = store.runs(out / "digits_resnet")
    assert f"RuntimeError: no such font); the run is saved in {folder}" in said
    assert_same(only_run(out), whole)
    assert main(["report", str(folder)]) == 0
    assert "</html>" in page(out)
    before = store.read(folder)
    assert main(words) == 0
    assert only_run(out).run == before.run


def test_the_table_of_faults_names_tests_that_exist():
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    _, _, section = text.partition("# When something goes wrong")
    named = re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", section)
    own = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    for file, name in named:
        where = (ROOT / file).read_text(encoding="utf-8") if file else own
        assert f"\ndef {name}(" in where, name
    told = {name for file, name in named if not file}
    mine = set(re.findall(r"\ndef (test_\w+)\(", own))
    assert mine - told == {"test_the_table_of_faults_names_tests_that_exist"}
