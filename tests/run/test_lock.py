"""One process at a time, whatever it finds in its way and whoever comes between."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from igbench.errors import InputError
from igbench.run import lock
from tests.helpers.turns import Turns

ROOT = Path(__file__).parents[2]
GONE = 2**22 + 1
"""No process of Linux has this number."""
SYSTEMS = ("as it is", "no flock", "no links", "neither")


@pytest.fixture
def system(request, monkeypatch):
    """A file system that lacks something."""

    def refuse(*args):
        raise OSError(1, "Operation not permitted")

    if request.param in ("no flock", "neither"):
        monkeypatch.setattr(lock, "_flock", lambda descriptor: None)
    if request.param in ("no links", "neither"):
        monkeypatch.setattr(os, "link", refuse)
    return request.param


def left(folder: Path, **changes: object) -> Path:
    """A lock that a process of this machine left, which is gone."""
    folder.mkdir(exist_ok=True)
    owner = replace(lock._me(flock=True), pid=GONE, **changes)
    (folder / lock.NAME).write_text(json.dumps(asdict(owner)))
    return folder / lock.NAME


def taken(folder: Path) -> bool:
    """Whether the lock can be held; if so, nothing is left of it."""
    said = ""
    try:
        with lock.held(folder):
            assert json.loads((folder / lock.NAME).read_text())["pid"] == os.getpid()
    except lock.LockedError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        assert f"delete {folder / lock.NAME} if it is gone" in said
    else:
        assert not list(folder.iterdir())
    return not said


# -- others come between ---------------------------------------------------------------------

STEPS = ("_create", "_look", "_owner", "_flock", "_ended", "_guarded", "_is_at", "_me", "_close")


def contend(folder: Path, order: list[int], n: int, patch: pytest.MonkeyPatch) -> int:
    """Processes that want the same lock, in an order of steps; returns how many held it."""
    inside, held = [], []

    def body() -> None:
        try:
            with lock.held(folder):
                inside.append(1)
                turns.step()
                assert len(inside) == 1, f"two at once: {order}"
                assert json.loads((folder / lock.NAME).read_text())["pid"] == os.getpid()
                inside.pop()
                held.append(1)
        except lock.LockedError:
            pass

    turns = Turns([body] * n, order)

    def stepping(function):
        def stepped(*args, **named):
            turns.step()
            return function(*args, **named)

        return stepped

    with patch.context() as patches:
        for name in STEPS:
            patches.setattr(lock, name, stepping(getattr(lock, name)))
        for name in ("link", "open"):
            patches.setattr(lock.os, name, stepping(getattr(os, name)))
        for name in ("replace", "unlink", "touch", "mkdir"):
            patches.setattr(Path, name, stepping(getattr(Path, name)))
        turns.run()
    return len(held)


@pytest.mark.parametrize("system", SYSTEMS, indirect=True)
@pytest.mark.parametrize("stale", [True, False])
def test_two_come_between_each_other_at_any_step(tmp_path, monkeypatch, system, stale):
    """Orders in which the one is interrupted once, and the other once: all, or a part of them."""
    folder = tmp_path / "run"
    whole = stale and system == "as it is"
    for first in range(0, 26, 1 if whole else 2):
        for second in range(1, 26, 1 if whole else 3):
            if stale:
                left(folder)
            order = [0] * first + [1] * second
            assert contend(folder, order, 2, monkeypatch) >= 1, f"nobody: {order}"
            assert not list(folder.iterdir()), order


@pytest.mark.parametrize("system", SYSTEMS, indirect=True)
def test_three_come_between_each_other(tmp_path, monkeypatch, system):
    chance = random.Random(5)
    for number in range(60):
        if number % 3:
            left(tmp_path)
        order = chance.choices(range(3), k=70)
        assert contend(tmp_path, order, 3, monkeypatch) >= 1
        assert not list(tmp_path.iterdir())


CONTENDER = """
import os, sys
from pathlib import Path
from igbench.run import lock
folder, held = Path(sys.argv[1]), 0
print("ready", flush=True)
sys.stdin.readline()
for _ in range(150):
    if not (child := os.fork()):  # leaves a lock behind, if it gets it
        try:
            lock.held(folder).__enter__()
        finally:
            os._exit(9)
    os.waitpid(child, 0)
    try:
        with lock.held(folder):
            os.close(os.open(folder.with_name("inside"), os.O_CREAT | os.O_EXCL))
            folder.with_name("inside").unlink()
            held += 1
    except lock.LockedError:
        pass
print(held)
"""


def test_two_processes_among_locks_that_are_left(tmp_path):
    folder = tmp_path / "run"
    words = [sys.executable, "-W", "ignore", "-c", CONTENDER, str(folder)]
    both = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    held = [process.communicate("\n", timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "one was inside with the other"
    assert sum(map(int, held)) >= 20
    assert {p.name for p in folder.iterdir()} <= {lock.NAME}


def test_a_child_that_outlives_its_process_holds_nothing(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from igbench.run import lock\n"
        "holder = lock.held(Path(sys.argv[1])); holder.__enter__()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    holder.__exit__(None, None, None)\n"
        "    os.close(1); time.sleep(60)\n"
        "print(child, flush=True); time.sleep(0.1); os._exit(9)"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    child = int(done.stdout)
    try:
        assert done.returncode == 9
        assert (tmp_path / lock.NAME).is_file(), "the child left it to its process"
        assert taken(tmp_path)
        os.kill(child, 0)
    finally:
        os.kill(child, 9)


def test_what_killed_processes_left_beside_it_goes(tmp_path):
    (tmp_path / f"{lock.NAME}.0123456789abcdef.tmp").write_text("{")
    assert taken(tmp_path)


def test_a_guard_that_was_left_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_flock", lambda descriptor: None)
    path = left(tmp_path, flock=False)
    (tmp_path / lock.GUARD).touch()
    with pytest.raises(lock.LockedError, match=rf"delete {path} and .*{lock.GUARD}"):
        lock.held(tmp_path).__enter__()
    assert {p.name for p in tmp_path.iterdir()} == {lock.NAME, lock.GUARD}


# -- who is gone for certain -----------------------------------------------------------------

ME = lock.Owner(7, "worker", "100", "4026531836", "boot-a", "machine-a", True)
INSIDE = {"pids": "4026532001"}
OTHERS = {
    "the same kernel": ({}, True),
    "the same kernel, another container of that name and number": (INSIDE, True),
    "another kernel, the same name and number": ({"boot": "boot-b", "machine": "machine-b"}, False),
    "another machine": ({"host": "other", "boot": "boot-b", "machine": "machine-b"}, False),
    "this machine before it was started again": ({"boot": "boot-b"}, True),
    "an image that was started twice": ({"boot": "boot-b", **INSIDE}, False),
    "a copy of this machine with another name": ({"boot": "boot-b", "host": "copy"}, False),
    "a system that tells nothing": ({"boot": "", "pids": "", "machine": "", "born": ""}, False),
    "a process that could not lock": ({"pid": GONE, "flock": False}, True),
    "a process of a container that could not lock": ({"flock": False, **INSIDE}, False),
    "a live process that could not lock": ({"pid": os.getppid(), "flock": False}, False),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_who_is_gone_for_certain(tmp_path, monkeypatch, kind):
    changes, gone = OTHERS[kind]
    monkeypatch.setattr(lock, "_me", lambda flock=False: replace(ME, flock=flock))
    monkeypatch.setattr(lock, "_is_local", lambda folder: True)
    monkeypatch.setattr(lock, "_born", lambda pid: "100")
    (tmp_path / lock.NAME).write_text(json.dumps(asdict(replace(ME, **changes))))
    monkeypatch.setattr(os, "getpid", lambda: ME.pid)
    assert taken(tmp_path) == gone


def test_a_network_disk_may_be_that_of_a_copy_of_this_machine(tmp_path, monkeypatch):
    left(tmp_path, boot="before")
    monkeypatch.setattr(lock, "_pids", lambda: lock._OUTERMOST)
    left(tmp_path, boot="before")
    line = "30 1 8:1 / {} rw - {} /dev/sda1 rw\n"
    mounts = line.format("/", "ext4") + line.format(str(tmp_path.parent), "nfs4")
    real = lock._text
    monkeypatch.setattr(lock, "_text", lambda p: mounts if "mountinfo" in p else real(p))
    assert not taken(tmp_path)
    mounts = mounts.replace("nfs4", "xfs")
    assert taken(tmp_path)


def test_a_system_without_proc(tmp_path, monkeypatch):
    real = lock._text
    monkeypatch.setattr(lock, "_text", lambda p: "" if p.startswith("/proc") else real(p))
    monkeypatch.setattr(lock, "_pids", lambda: "")
    left(tmp_path)
    assert taken(tmp_path)
    left(tmp_path)
    monkeypatch.setattr(lock, "_flock", lambda descriptor: None)
    assert not taken(tmp_path)


@pytest.mark.parametrize(("node", "known"), [(0x2FC_0000_0001, False), (0x0242_AC11_0002, False),
                                             (0xF018_9800_0001, True)])  # fmt: skip
def test_addresses_that_are_not_of_hardware_name_no_machine(monkeypatch, node, known):
    monkeypatch.setattr(lock, "_text", lambda path: "")
    monkeypatch.setattr(lock.uuid, "getnode", lambda: node)
    assert bool(lock._machine()) == known


# -- what strangers leave --------------------------------------------------------------------

FULL = asdict(ME)
NO_LOCKS = {
    "empty": "",
    "cut": json.dumps(FULL)[:40],
    "bytes": "\0\1\2",
    "a list": "[]",
    "deep": "[" * 4000,
    "huge": json.dumps({**FULL, "host": "x" * 10_000}),
    "long number": '{"pid": ' + "9" * 4000 + ', "host": "x"}',
    "unknown key": json.dumps({**FULL, "more": 1}),
    **{
        f"pid {pid!r}": json.dumps({**FULL, "boot": "other", "pid": pid})
        for pid in (-1, 0, True, "7", 7.0, None, [7])
    },
    "host": json.dumps({**FULL, "boot": "other", "host": ["x"]}),
    "flock": json.dumps({**FULL, "boot": "other", "flock": "no"}),
}


@pytest.mark.parametrize("kind", NO_LOCKS)
def test_what_is_no_lock_locks_nothing(tmp_path, monkeypatch, kind):
    def never(*args):
        raise AssertionError("no process is asked")

    monkeypatch.setattr(os, "kill", never)
    (tmp_path / lock.NAME).write_text(NO_LOCKS[kind])
    assert taken(tmp_path)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    folder, other = tmp_path / "run", tmp_path / "other"
    folder.mkdir()
    path = folder / lock.NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other)
    if kind == "link":
        other.write_text("mine")
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"{path} is not a file .*; delete it"):
        lock.held(folder).__enter__()
    assert time.monotonic() - start < 5
    assert other.exists() == (kind == "link")
    assert [p.name for p in folder.iterdir()] == [lock.NAME]


def test_names_of_machines_are_printed_as_text(tmp_path):
    left(tmp_path, host="\x1b[31m\nigbench: all is well" + "x" * 999, boot="other", machine="m")
    with pytest.raises(lock.LockedError) as caught:
        lock.held(tmp_path).__enter__()
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_links_are_deleted_and_not_followed(tmp_path):
    folder, other = tmp_path / "run", tmp_path / "other"
    for place in (folder, other):
        (place / "inside").mkdir(parents=True)
        (place / "file").touch()
    (folder / "link").symlink_to(other)
    (folder / lock.NAME).touch()
    (tmp_path / "alias").symlink_to(other)
    lock.empty(folder)
    lock.empty(tmp_path / "alias")
    assert [p.name for p in folder.iterdir()] == [lock.NAME]
    assert sorted(p.name for p in other.iterdir()) == ["file", "inside"]
