"""Shards survive on disk as they were, or not at all."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from igbench.errors import InputError
from igbench.evaluation import loop
from igbench.records import store
from igbench.run import checkpoint, lock, provenance, reuse
from igbench.run.shards import shards
from igbench.schema import Point, Row
from tests.helpers import closed_form as cf
from tests.helpers.experiments import N, data, experiment

TIMED = ("seconds", "peak_memory")


def plain(table):
    """Everything but times, as text, so that NaN equals NaN and each bit counts."""
    rows = table.to_pylist()
    return [
        repr({k: v for k, v in row.items() if k not in ("run", "seconds")})
        for row in rows
        if row.get("metric") not in TIMED
    ]


@pytest.fixture
def kept(tmp_path):
    x = cf.images(N, dtype=torch.float32)
    x[1, 0, 0, 0] = torch.nan  # rows of all kinds
    e = experiment(data=data(x), shard_size=2, keep_maps=3, convergence=1)
    plan = shards(e)
    for shard in reversed(plan):
        checkpoint.execute(e, shard, tmp_path)
    return e, plan, tmp_path


def test_joined_shards_are_the_whole_run(kept):
    e, plan, folder = kept
    whole, found = loop.run(e), checkpoint.join(folder, plan, "name", list(e.methods))
    assert sorted(plain(found.rows)) == sorted(plain(store.table(Row, whole.rows)))
    assert sorted(plain(found.points)) == sorted(plain(store.table(Point, whole.points)))
    assert found.curves == {name: sorted(owners) for name, owners in whole.curves.items()}
    assert found.rows.schema == store.table(Row, whole.rows).schema
    assert set(found.rows["run"].to_pylist()) == {"name"}
    assert found.samples == whole.samples
    assert {n: list(m) for n, m in found.maps.items()} == {
        n: list(m) for n, m in whole.maps.items()
    }
    assert all((found.maps[n][s] == a).all() for n, m in whole.maps.items() for s, a in m.items())
    statuses = [found.rows["status"].to_pylist(), [row.status for row in whole.rows]]
    assert [s.count("failed") for s in statuses] == [2 * 4, 2 * 4]
    record = provenance.make_run(
        e, {}, found.rows, found.samples, found.stages,
        run_id="name", created=datetime.now(UTC), seconds=found.seconds,
    )  # fmt: skip
    assert record.totals["status"]["failed"] == 2 * 4
    assert record.totals["peak_memory"] > 0
    for name, cost in whole.stages.items():
        for kind in ("forward", "backward"):
            assert found.stages[name][kind] == cost[kind]


@pytest.mark.parametrize(
    "suffix", [checkpoint.ROWS, checkpoint.CURVES, checkpoint.MAPS, checkpoint.MANIFEST]
)
@pytest.mark.parametrize("how", ["flip", "cut", "lose"])
def test_a_damaged_shard_is_found_and_deleted(kept, suffix, how, caplog):
    _, plan, folder = kept
    path = folder / f"{plan[0].stem}{suffix}"
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if how == "flip" else content[:20])
    if how == "lose":
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoint.missing(folder, plan) == plan[:1]
    assert not list(folder.glob(f"{plan[0].key}*")) or suffix == checkpoint.MANIFEST
    # Without its manifest a shard was never finished: nothing to warn of.
    assert ("damaged" in caplog.text) == (not (suffix == checkpoint.MANIFEST and how == "lose"))
    with pytest.raises(InputError, match="run the same command again"):
        checkpoint.join(folder, plan, "name")


@pytest.mark.parametrize(
    "suffix", [checkpoint.ROWS, checkpoint.CURVES, checkpoint.MAPS, checkpoint.MANIFEST]
)
def test_a_folder_in_the_place_of_a_file_is_left_alone(kept, suffix):
    _, plan, folder = kept
    path = folder / f"{plan[0].stem}{suffix}"
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("kept", encoding="utf-8")
    with pytest.raises(InputError, match=r"is a folder in the place of a file; move it away"):
        checkpoint.missing(folder, plan)
    assert (path / "mine").read_text(encoding="utf-8") == "kept"


def test_no_flipped_bit_of_a_shard_is_accepted(kept):
    """In white space of the manifest too; neither when shards are counted nor when joined."""
    e, plan, folder = kept
    bits = random.Random(0)
    for path in sorted(folder.glob(f"{plan[0].key}*")):
        content = path.read_bytes()
        for _ in range(8):
            changed = bytearray(content)
            changed[bits.randrange(len(content))] ^= 1 << bits.randrange(8)
            path.write_bytes(changed)
            assert not checkpoint.find(plan[0], checkpoint.index(folder))[0]
            with pytest.raises(InputError, match="run the same command again"):
                checkpoint.join(folder, plan, "name", list(e.methods))
        path.write_bytes(content)
    assert checkpoint.verify(folder) == (len(plan), [])


@pytest.mark.parametrize("how", ["lost", "flipped"])
def test_a_shard_that_goes_away_while_it_is_copied(kept, tmp_path, monkeypatch, caplog, how):
    """The other run may finish just then, which deletes its shards."""
    _, plan, folder = kept
    home, mine = tmp_path / "home", tmp_path / "home" / ".mine.partial" / "shards"
    theirs = home / ".theirs.partial" / "shards"
    theirs.parent.mkdir(parents=True)
    shutil.copytree(folder, theirs, ignore=lambda *_: ["home"])
    gone = theirs / f"{plan[0].stem}{checkpoint.ROWS}"
    find = checkpoint.find

    def found(*args, **named):
        answer = find(*args, **named)
        if how == "lost":
            gone.unlink(missing_ok=True)
        else:
            gone.write_bytes(b"other")
        return answer

    monkeypatch.setattr(checkpoint, "find", found)
    with caplog.at_level(logging.WARNING):
        reuse.import_from(home, mine, "", plan)
    monkeypatch.setattr(checkpoint, "find", find)
    assert f"{gone.name} is damaged" in caplog.text
    assert checkpoint.missing(mine, plan) == plan[:1]


def test_a_manifest_in_another_layout_is_not_what_was_written(kept):
    _, plan, folder = kept
    path = folder / f"{plan[0].stem}{checkpoint.MANIFEST}"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert checkpoint.missing(folder, plan) == plan[:1]


def test_a_manifest_that_says_something_else(kept, caplog):
    _, plan, folder = kept
    path = folder / f"{plan[0].stem}{checkpoint.MANIFEST}"
    manifest = json.loads(path.read_text())
    manifest["samples"][0]["target"] += 1
    path.write_text(json.dumps(manifest))
    assert checkpoint.missing(folder, plan) == plan[:1]
    assert "damaged" in caplog.text


def test_a_shard_under_another_name_does_not_count(kept):
    _, plan, folder = kept
    for path in list(folder.glob(f"{plan[1].key}*")):
        path.replace(folder / path.name.replace(plan[1].key, plan[0].key))
    assert checkpoint.missing(folder, plan) == plan[:2]


def test_a_full_disk_is_one_line(tmp_path):
    e = experiment(shard_size=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as if 100 bytes were left
    try:
        with pytest.raises(
            InputError, match=r"cannot save samples 0 to 1 in .*run the same command again"
        ) as caught:
            checkpoint.execute(e, shards(e)[0], tmp_path / "shards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "shards").iterdir()), "no half-written files"


def test_a_lock_is_held_once(tmp_path):
    folder = tmp_path / "run"
    with lock.held(folder):
        me = rf"process {os.getpid()} on {re.escape(socket.gethostname())}"
        with pytest.raises(InputError, match=me), lock.held(folder):
            pass
        assert (folder / lock.NAME).is_file(), "the loser leaves it alone"
    assert not list(folder.iterdir())


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from igbench.run import lock\n"
        "holder = lock.held(Path(sys.argv[1])); holder.__enter__(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert (tmp_path / lock.NAME).is_file()
    with lock.held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ('{"pid": 1, "host": "elsewhere", "born": "5"}', False),
        (json.dumps({**asdict(lock._me()), "pid": os.getppid(), "born": "-1"}), True),
        ("", True),
        ("[]", True),
    ],
    ids=["another machine", "number used again", "empty", "not a lock"],
)
def test_locks_that_others_left(tmp_path, text, taken):
    (tmp_path / lock.NAME).write_text(text)
    if taken:
        with lock.held(tmp_path):
            pass
        return
    with (
        pytest.raises(InputError, match=r"delete .*lock.json if it is gone"),
        lock.held(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"), lock.held(Path(tmp_path / "file/run")):
        pass
