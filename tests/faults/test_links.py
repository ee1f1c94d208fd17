"""Links that a stranger leaves among shards are neither followed nor written through."""

from __future__ import annotations

import shutil

import pytest

from igbench.__main__ import main
from tests.helpers.broken_runs import RUN, goes_on, line, stopped
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")


def test_links_in_the_folder_of_an_unfinished_run(out, whole, capsys, monkeypatch, tmp_path):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    capsys.readouterr()
    (partial,) = (out / "digits_resnet").glob(".*.partial")
    outside = tmp_path / "outside"
    for name in ("restarted", "lock.json", "shards/x.json"):
        (partial / name).symlink_to(outside)
        assert main([*words, "overwrite=true"]) == 2
        assert f"{name} is a link" in line(capsys)
        assert not outside.exists(), "nothing is made where it points to"
        (partial / name).unlink()
    kept = partial.rename(tmp_path / "elsewhere")
    before = sorted(kept.rglob("*"))
    partial.symlink_to(kept)
    assert main(words) == 2
    assert ".partial is a link" in line(capsys)
    assert sorted(kept.rglob("*")) == before
    partial.unlink()
    kept.rename(partial)
    goes_on(words, out, whole, found=2)


def test_links_among_the_shards_of_another_run_are_not_used(out, whole, tmp_path, caplog):
    other = out / "digits_resnet" / ".0123456789abcdef.partial"
    (other / "shards").mkdir(parents=True)
    (other / "shards" / "a-b.json").symlink_to(tmp_path / "outside")
    assert main([*RUN, f"results_dir={out}"]) == 0
    assert "shards of another run are not used" in caplog.text
    assert "is a link" in caplog.text
    shutil.rmtree(other)
    assert_same(only_run(out), whole)
