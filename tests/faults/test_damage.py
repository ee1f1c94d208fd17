"""Files that are damaged are noticed, and what was in them is done again."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from igbench.__main__ import main
from igbench.config import compose
from igbench.evaluation import batch_size
from igbench.records import store
from igbench.run import checkpoint, runner
from tests.helpers.broken_runs import (
    RUN,
    goes_on,
    line,
    stopped,
)
from tests.helpers.runs import assert_same

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("how", "suffix"),
    [(how, checkpoint.ROWS) for how in ("cut", "flip", "empty", "lost", "unreadable")]
    + [("flip", checkpoint.MAPS), ("flip", checkpoint.MANIFEST), ("lost", checkpoint.MANIFEST)],
)
def test_damaged_shard(out, whole, monkeypatch, caplog, how, suffix):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    key = runner.job(compose.compose(words)).shards[0].key
    (path,) = [p for p in out.rglob(f"{key}*{suffix}") if p.name.count(".") == 1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how in ("cut", "flip", "empty"):
        path.write_bytes({"cut": content[:-9], "flip": content, "empty": b""}[how])
    elif how == "lost":
        path.unlink()
    else:
        os.utime(path, (1, 1))
    read = Path.read_bytes

    def fails(self):
        if self == path and self.stat().st_mtime == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return read(self)

    if how == "unreadable":
        monkeypatch.setattr(Path, "read_bytes", fails)
    with caplog.at_level(logging.WARNING):
        goes_on(words, out, whole, found=1)
    # Without its manifest a shard was never finished: nothing to warn of.
    told = (how, suffix) != ("lost", checkpoint.MANIFEST)
    assert ("samples 0 to 1 are evaluated again" in caplog.text) == told


@pytest.mark.parametrize("whose", ["another", "own"])
def test_damaged_record_of_a_run(out, whole, monkeypatch, caplog, whose):
    words = [*RUN, f"results_dir={out}"]
    assert main([*words, "seed=1"] if whose == "another" else words) == 0
    (other,) = store.runs(out / "digits_resnet")
    path = other / store.RUN_FILE
    path.write_bytes(path.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert ("damaged" in caplog.text) == (whose == "own")
    folders = store.runs(out / "digits_resnet")
    assert len(folders) == 2, "the damaged one is left alone"
    assert_same(store.read(folders[-1]), whole)
    assert main(words) == 0
    assert store.runs(out / "digits_resnet") == folders, "found"


def test_damaged_rows_of_a_finished_run(out, whole, capsys):
    words = [*RUN, f"results_dir={out}"]
    assert main(words) == 0
    (folder,) = store.runs(out / "digits_resnet")
    path = folder / store.SCORES_FILE
    path.write_bytes(path.read_bytes()[:-50])
    assert main(words) == 2
    assert "repeat it with overwrite=true" in line(capsys)
    assert main([*words, "overwrite=true"]) == 0
    assert_same(store.read(store.latest(out, "digits_resnet")), whole)


@pytest.mark.parametrize("content", [b"\xff{", b'{"a": "b"}', None], ids=repr)
def test_damaged_memory_of_batch_sizes(tmp_path, out, whole, monkeypatch, caplog, content):
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    memory = folder / "rows.json"
    memory.unlink(missing_ok=True)
    if content is None:
        memory.mkdir()
    else:
        memory.write_bytes(content)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    monkeypatch.setattr(batch_size, "_search", lambda *args: {16: ((1.0, 1.0),)})
    words = [*RUN, "batch_size=auto", f"results_dir={out}"]
    stopped(words, monkeypatch)
    goes_on(words, out, whole, found=2)
    if content is not None:
        assert [kept["rows"] for kept in json.loads(memory.read_text()).values()] == [16]
