"""The command that regenerates the picture and the table of README.md."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from igbench.errors import InputError
from igbench.records import store
from igbench.schema import Row
from tests.helpers import synthetic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import readme
    finally:
        sys.path.pop(0)
    return readme


def test_records_without_maps_are_refused(readme, capsys) -> None:
    assert readme.main([str(readme.generate.RUN)]) == 2
    assert "has no maps of images" in capsys.readouterr().err


def test_another_run_is_refused(readme, tmp_path) -> None:
    records = synthetic.make_records(samples=1)
    rows = [Row(*line) for line in records.scores.itertuples(index=False, name=None)]
    folder = store.write(tmp_path / "run", records.run, rows)
    with pytest.raises(InputError, match="not comparable with the reference: samples"):
        readme.write(folder, tmp_path, tmp_path / "README.md")


@pytest.mark.slow
def test_figures_and_table_are_written(readme, tmp_path) -> None:
    reference = store.read(readme.generate.RUN)
    rng = np.random.default_rng(0)
    ids = [s["sample_id"] for s in reference.run.samples][:2]
    maps = {"inputs": {i: rng.integers(0, 256, (16, 16, 3), np.uint8) for i in ids}}
    maps |= {"ig": {i: rng.normal(size=(16, 16)).astype(np.float32) for i in ids}}
    rows = [Row(*line) for line in reference.scores.itertuples(index=False, name=None)]
    folder = store.write(tmp_path / "run", reference.run, rows, maps=maps)
    page = tmp_path / "README.md"
    page.write_text("# Title\n\n<!-- generated: scores -->\nold\n<!-- /generated -->\n")
    into = tmp_path / "figures"
    into.mkdir()
    written = readme.write(folder, into, page)
    assert written == [*sorted(into.iterdir(), key=written.index), page]
    assert {p.name for p in into.iterdir()} >= {"heatmaps.png", "metrics.png", "cost_quality.png"}
    text = page.read_text()
    assert "old" not in text
    own = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.generate.filled(own) == own
    assert text.partition("<!-- generated: scores -->")[2].strip() in own

    page.write_text("\n" * 121)
    with pytest.raises(InputError, match="more than 120 lines"):
        readme.write(folder, into, page)
