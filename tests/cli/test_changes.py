"""Does `igbench compare --html` write a page, and refuse what it cannot write?"""

from __future__ import annotations

from pathlib import Path

import pytest

from igbench.__main__ import main
from igbench.records import store
from igbench.schema import Point, Row
from tests.helpers.synthetic import make_points, make_rows, make_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two runs with equal scores."""
    results, found = tmp_path_factory.mktemp("results"), []
    for name in ("20260102-030405-0a1b2c3d", "20260202-030405-0a1b2c3d"):
        run = make_run(run_id=name, samples=3)
        rows: list[Row] = [r._replace(run=name) for r in make_rows(samples=3, run=run)]
        points: list[Point] = make_points(samples=3, run=run)
        found.append(str(store.write(store.place(results, run), run, rows, points)))
    return found[0], found[1]


def test_a_page_is_written_beside_the_verdict(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.html"
    assert main(["compare", *folders, "--html", str(path), "--top", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"page: {path}\n"
    assert str(path) not in printed.out  # which may be a table for a pull request
    assert "Neither run has maps" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("options", "said"), [
    (["--top", "3"], "give --html FILE too"),
    (["--html", "run.json"], "end it in .html"),
    (["--html", "nowhere/page.html"], "is not a folder that exists"),
    (["--html", "page.html", "--top", "-1"], "give 0 or more"),
])  # fmt: skip
def test_unfit_options_are_refused(
    folders: tuple[str, str],
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *folders, *options]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""  # nothing is compared before
    assert not list(tmp_path.iterdir())
