"""Names stay in their folder, links are refused, and files are replaced whole."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import igbench
from igbench import files
from igbench.errors import InputError, printable
from igbench.evaluation import rows_memory
from igbench.records import store
from igbench.run import checkpoint
from tests.helpers import strange

SAFE = ("digits_resnet", "ig (50 steps)", "a-b_c.1", "größe", "x" * 200, "console", "v=1")
UNSAFE = (
    "", ".", "..", "../up", "up/..", "/etc/x", "a\\b", "C:x", "a\0b", "a\nb", "\x1b[31m",
    "\u202eno", ".hidden", "-rf", " x", "x ", "x.", "CON", "nul.txt", "com1", "x" * 201, "ü" * 101,
    "a*", "a|b", "<b>", "\udce9",
)  # fmt: skip


@pytest.mark.parametrize("name", SAFE)
def test_names_that_are_folders(name):
    assert files.check_name("name", name) == name


@pytest.mark.parametrize("name", [*UNSAFE, None, 7, ["a"]], ids=repr)
def test_names_that_are_refused(name, tmp_path):
    with pytest.raises(InputError) as error:
        files.check_name("method", name)
    assert str(error.value).startswith("method=")
    assert str(error.value).isprintable()


def net():
    return torch.nn.Linear(3, 2).eval()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a\0b", "..", "-x"])
def test_names_are_refused_before_any_work(name):
    called = []

    class Counts(torch.nn.Linear):
        def forward(self, x):
            called.append(1)
            return super().forward(x)

    model, data = Counts(3, 2).eval(), torch.ones(2, 3)
    for more in (
        {"name": name},
        {"methods": {name: "ig"}},
        {"metrics": {name: igbench.metrics.Completeness()}},
    ):
        words = {"methods": ["ig"], "metrics": ["completeness"]} | more
        with pytest.raises(InputError, match="cannot be a folder in results_dir"):
            igbench.evaluate(model, data, **words)
        assert not called, "not even a look at the model"


def test_a_method_does_not_take_the_place_of_the_pictures():
    with pytest.raises(InputError, match="method=inputs has the name of the pictures"):
        igbench.evaluate(
            net(), torch.ones(2, 3), methods={"inputs": "ig"}, metrics=["completeness"]
        )


@pytest.mark.parametrize("changes", [{"experiment": "../x"}, {"id": "../x"}, {"id": "/x"}])
def test_saving_never_leaves_results_dir(tmp_path, changes):
    made = igbench.evaluate(net(), torch.ones(2, 3), methods=["ig"], metrics=["completeness"])
    evil = replace(made, run=replace(made.run, **changes))
    with pytest.raises(InputError, match="path separator"):
        evil.save(tmp_path / "results")
    with pytest.raises(InputError, match="path separator"):
        store.write(tmp_path / "e" / "r", evil.run, [])
    assert list(tmp_path.iterdir()) == []


def test_samples_are_data_and_no_paths(tmp_path):
    run = strange.run()
    ids = ["../../etc/x", "\x1b[31m/abs"]
    samples = [{**s, "sample_id": i} for s, i in zip(run.samples, ids, strict=True)]
    run = replace(run, samples=samples)
    maps = {"ig": {i: np.ones(1) for i in ids}}
    folder = store.write(tmp_path / "out" / "e" / "r", run, strange.rows(run), [], maps)
    assert sorted(store.read(folder).maps["ig"]) == sorted(ids)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert [p.name for p in (folder / "attributions").iterdir()] == ["ig.safetensors"]


# -- whole files -----------------------------------------------------------------------------


def test_a_file_is_replaced_and_neither_links_nor_other_names_are_written_to(tmp_path):
    outside, hard, path = (tmp_path / n for n in ("outside", "hard", "path"))
    for other in (outside, hard):
        other.write_text("mine")
    path.symlink_to(outside)
    files.write_whole(path, b"new")
    assert (path.is_symlink(), path.read_bytes(), outside.read_text()) == (False, b"new", "mine")
    path.unlink()
    os.link(hard, path)
    files.write_whole(path, b"new")
    assert (path.read_bytes(), hard.read_text()) == (b"new", "mine")
    assert {p.name for p in tmp_path.iterdir()} == {"outside", "hard", "path"}


@pytest.mark.parametrize("write", [files.write_whole, checkpoint.write_whole])
def test_temporary_names_cannot_be_foreseen(tmp_path, monkeypatch, write):
    seen = []
    real = os.open

    def spy(path, flags, mode=0o777):
        seen.append((Path(path).name, flags))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", spy)
    for _ in range(2):
        write(tmp_path / "a.json", b"{}")
    (first, flags), (second, _) = seen
    assert first != second
    assert str(os.getpid()) not in first.split(".")
    assert flags & os.O_EXCL
    assert flags & os.O_NOFOLLOW


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o640)

    def fails(self, target):
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="no"):
        files.write_whole(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_memory_of_batch_sizes_is_replaced_whole(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    memory = tmp_path / "cache" / "rows.json"
    memory.parent.mkdir()
    for name in (f"rows.{os.getpid()}.tmp", f"rows.json.{os.getpid()}.tmp"):
        (memory.parent / name).symlink_to(outside)  # what could be foreseen before
    rows_memory.remember(memory, "a", rows_memory.Answer(4))
    assert rows_memory.recall(memory)["a"].rows == 4
    assert outside.read_text() == "mine"


# -- links -----------------------------------------------------------------------------------


def test_links_below_a_folder_are_refused_and_itself_may_be_one(tmp_path):
    real = tmp_path / "real"
    (real / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "named").symlink_to(real)
    files.refuse_links(tmp_path / "named")
    files.refuse_links(tmp_path / "missing")
    (real / "deep" / "deeper" / "x").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="x is a link"):
        files.refuse_links(tmp_path / "named")


@pytest.mark.parametrize("where", ["partial", "shards", "inside"])
def test_links_among_shards_are_refused(tmp_path, where):
    outside = tmp_path / "outside"
    (outside / "shards").mkdir(parents=True)
    partial = tmp_path / "e" / ".ab.partial"
    shards = partial / "shards"
    if where == "partial":
        partial.parent.mkdir()
        partial.symlink_to(outside)
    elif where == "shards":
        partial.mkdir(parents=True)
        shards.symlink_to(outside)
    else:
        shards.mkdir(parents=True)
        (shards / "a-b.json").symlink_to(outside / "x")
    with pytest.raises(InputError, match="is a link"):
        checkpoint.index(shards)
    assert list(outside.rglob("*")) == [outside / "shards"]


def test_texts_for_people_are_plain():
    assert printable("a\x1b]0;t\x07b\r\n") == r"a\x1b]0;t\x07b\r\n"
    assert printable("\u202eevil\u2066") == r"\u202eevil\u2066"
    assert printable("caf\udce9 — größe ≥ 1") == r"caf\udce9 — größe ≥ 1"
    assert printable("two\nlines", keep="\n") == "two\nlines"
