"""Full disks, read-only folders and lost power leave what was done before."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from pathlib import Path

import pytest

from igbench.__main__ import main
from igbench.evaluation import batch_size
from igbench.models import digits_resnet
from igbench.records import store
from igbench.report import html
from igbench.run import checkpoint, lock
from tests.helpers.broken_runs import (
    RUN,
    SHARDS,
    goes_on,
    line,
    page,
)
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


def test_full_disk_while_a_shard_is_written(out, whole, capsys, at_shard, disk):
    words = [*RUN, f"results_dir={out}"]
    at_shard(2, disk.fill)
    assert main(words) == 2
    disk.free()
    assert re.search(r"cannot save samples 4 to 5 .*Earlier shards are saved", line(capsys))
    goes_on(words, out, whole, found=2)


@pytest.mark.parametrize(
    "writes",
    ["store._fill", "store.pq.write_table", "store.pd.DataFrame.to_csv", "store.Path.write_bytes"],
    ids=["record", "rows", "summary", "maps"],
)
def test_full_disk_while_the_run_folder_is_written(out, whole, capsys, monkeypatch, disk, writes):
    words = [*RUN, f"results_dir={out}"]
    *parents, name = writes.split(".")
    place = store
    for parent in parents[1:]:
        place = getattr(place, parent)
    real, fill = getattr(place, name), store._fill

    def no_room(*args, **named):
        disk.fill()
        return real(*args, **named)

    def filling(*args):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, no_room)
            fill(*args)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_fill", no_room if name == "_fill" else filling)
        assert main(words) == 2
    disk.free()
    assert re.search(r"cannot write .*File too large.*Finished shards are saved", line(capsys))
    assert not store.runs(out / "digits_resnet")
    goes_on(words, out, whole, found=SHARDS)


def test_power_cut(out, whole, capsys, monkeypatch):
    """What a run is made of goes when all of it is on the disk, and not before."""
    words = [*RUN, f"results_dir={out}"]
    synced = []

    def fails(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(descriptor):
        shards = len(list(out.rglob("shards/*.json")))
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), shards))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        assert main(words) == 2
    assert "Input/output error. Finished shards are saved" in line(capsys)
    monkeypatch.setattr(os, "fsync", sync)
    goes_on(words, out, whole, found=SHARDS)
    made = {"report.html", "tables", "scores.md"}
    files = {p.name for p in Path(only_run(out).folder).rglob("*")} - made
    home = (out / "digits_resnet").resolve()
    assert files <= {path.name for path, _ in synced}
    assert synced[-1] == (home, SHARDS), "the name in its folder last, and the shards still there"


def test_full_disk_while_the_report_is_drawn(out, whole, capsys, monkeypatch, disk, drawn):
    words = [*RUN, f"results_dir={out}"]
    draw = html.page

    def no_room(*args):
        disk.fill()
        return draw(*args)

    with monkeypatch.context() as patch:
        patch.setattr(html, "page", no_room)
        assert main(words) == 2
    disk.free()
    said = line(capsys)
    assert "File too large" in said
    assert_same(only_run(out), whole)
    (folder,) = store.runs(out / "digits_resnet")
    assert f"igbench report {folder}" in said
    assert not list(folder.glob("report*")), "half a page would be taken for a whole one"
    assert main(words) == 0
    assert "</html>" in page(out)


def test_read_only_results(capsys):
    # procfs takes no files, not even from root, whom permission bits do not stop.
    assert main([*RUN, "results_dir=/proc/igbench"]) == 2
    assert "cannot write to /proc/igbench" in line(capsys)


def test_results_that_become_read_only(out, whole, capsys, monkeypatch, at_shard):
    words = [*RUN, f"results_dir={out}"]

    def refuse(path, content):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as patch:
        at_shard(3, lambda: patch.setattr(checkpoint, "write_whole", refuse))
        assert main(words) == 2
    assert "Read-only file system" in line(capsys)
    goes_on(words, out, whole, found=3)


def test_read_only_cache(out, whole, monkeypatch, caplog):
    trained = digits_resnet.digits_resnet().module
    monkeypatch.setattr(digits_resnet, "train", lambda data, recipe: trained)
    monkeypatch.setattr(batch_size, "_search", lambda *args: {16: ((1.0, 1.0),)})
    monkeypatch.setenv("IGBENCH_CACHE", "/proc/igbench")
    words = [*RUN, "batch_size=auto", f"results_dir={out}"]
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert_same(only_run(out), whole)
    assert "digits_resnet is not cached" in caplog.text
    assert "cannot remember the batch size" in caplog.text
    assert "set batch_size=16" in caplog.text


def test_results_are_deleted_while_it_runs(out, whole, capsys, at_shard):
    words = [*RUN, f"results_dir={out}"]
    at_shard(2, lambda: shutil.rmtree(out))
    assert main(words) == 2
    assert "lacks shard 0; run the same command again" in line(capsys)
    goes_on(words, out, whole, found=2)


def test_no_hard_links(out, whole, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with lock.held(out), pytest.raises(Exception, match="is locked by"), lock.held(out):
        pass
    goes_on([*RUN, f"results_dir={out}"], out, whole)
