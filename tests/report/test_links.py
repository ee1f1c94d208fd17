"""Reports neither follow links in a run folder nor write through them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from igbench import report
from igbench.__main__ import main
from igbench.errors import InputError
from igbench.records import compare, store
from igbench.report import render, styles
from igbench.report.table import Cell, Table
from tests.helpers import strange


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return strange.write(tmp_path / "results")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What others own: a folder of files that a report would delete or overwrite."""
    place = tmp_path / "outside"
    place.mkdir()
    for name in ("a.md", "a.png", "report.html", "summary.csv", "run.json"):
        (place / name).write_text("mine")
    return place


PLANTED = {
    "report.html": "report.html",
    "tables": "",
    "plots": "",
    "tables/scores.md": "a.md",
    "plots/metrics.png": "a.png",
    "summary.csv": "summary.csv",
    "run.json": "run.json",
    "attributions": "",
    "attributions/ig.safetensors": "a.md",
    "deep/er/x": "nowhere",
}
"""Name in the run folder to what it points to."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_link_is_refused_and_nothing_is_touched(
    folder: Path, outside: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(outside / PLANTED[name])
    before = sorted(p for p in folder.rglob("*"))
    for words in (["report", str(folder)], ["compare", str(folder), str(folder.parent / "x")]):
        if words[0] == "compare":
            strange.write(folder.parents[1] / "other")
            words[2] = str(next((folder.parents[1] / "other").glob("*/*")))
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("igbench: ")
        assert said.count("\n") == 1
        assert "is a link" in said
    assert sorted(p for p in folder.rglob("*")) == before
    assert {p.read_text() for p in outside.iterdir()} == {"mine"}


def test_single_readers_refuse_links_too(folder: Path, outside: Path) -> None:
    for name, reads in (
        ("summary.csv", lambda: store.read_summary(folder)),
        ("scores.parquet", lambda: store.scores(folder)),
        ("run.json", lambda: store.read_run(folder)),
    ):
        (folder / name).unlink()
        (folder / name).symlink_to(outside / "run.json")
        with pytest.raises(InputError, match=f"{name} is a link"):
            reads()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "curves.parquet").unlink()
    os.mkfifo(folder / "curves.parquet")
    with pytest.raises(InputError, match=r"curves\.parquet is not a file"):
        store.read(folder)


def test_a_run_folder_that_the_user_names_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.symlink_to(folder)
    (tmp_path / "all").symlink_to(folder.parents[1])
    found = store.read(named)
    assert found.run == store.read(folder).run
    assert store.resolve("synthetic", tmp_path / "all").samefile(folder)
    assert compare.compare(found, found, resamples=100).exit_code == 0


def test_a_link_to_a_run_that_others_mention_is_not_read(
    tmp_path: Path, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = strange.run()
    place = store.place(tmp_path / "results", run)
    folder = store.write(place, run, strange.rows(run), strange.points(run))
    assert store.find(folder.parent, "ab" * 32) == folder
    (folder / "tables").symlink_to(outside)
    assert store.find(folder.parent, "ab" * 32) is None
    assert "tables is a link" in caplog.text


def test_hard_links_are_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    table = Table("t", "c", ("method", "m"), ("r",), ((Cell("1"),),))
    for name in ("t.md", "t.tex", "t.html", "f.png", "f.svg"):
        os.link(mine, tmp_path / name)
    render.write(table, tmp_path)
    styles.save(styles.canvas(1, 1), tmp_path / "f")
    assert mine.read_text() == "mine"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "t.md").read_text().startswith("c")


def test_the_page_replaces_a_hard_link(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from igbench.report import html, plots

    monkeypatch.setattr(plots, "makers", lambda *_: {})
    monkeypatch.setattr(html, "page", lambda *_: "a page")
    mine = tmp_path / "mine"
    mine.write_text("mine")
    os.link(mine, folder / "report.html")
    (folder / "report.html.0123.tmp").write_text("left by a process that was killed")
    page = report.write_report(store.read(folder))
    assert (page.read_text(), mine.read_text()) == ("a page", "mine")
    assert not list(folder.rglob("*.tmp"))


def test_a_report_that_cannot_be_drawn_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OverflowError("too\nlarge \x1b[31m")

    monkeypatch.setattr(report, "write_report", fails)
    assert main(["report", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be drawn (OverflowError: too large \\x1b[31m); the records" in said
