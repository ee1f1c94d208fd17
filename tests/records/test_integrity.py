"""No file of a run is read that is not, to the last bit, what was written."""

from __future__ import annotations

import io
import json
import logging
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from igbench.cli import run as cli
from igbench.errors import InputError
from igbench.records import integrity, store
from igbench.run import reuse, runner
from tests.helpers import synthetic

MAP = "attributions/ig.safetensors"
FILES = ("run.json", "scores.parquet", "curves.parquet", "summary.csv", MAP)
KEY = "0f" * 32
ROOT = Path(__file__).parents[2]


def written(place: Path, seed: int) -> Path:
    run = synthetic.make_run(samples=2)
    keys = {"foundation": KEY, "metrics": {}, "curves": {}}
    run = replace(
        run,
        environment={**run.environment, "identity": KEY, "reuse": keys},
        totals={**run.totals, "stages": {}, "seconds": 1.0},
    )
    rows = synthetic.make_rows(seed, samples=2, run=run)
    points = synthetic.make_points(seed, samples=2, run=run)
    maps = {"ig": {"photo-000": np.arange(6.0).reshape(2, 3) + seed}}
    return store.write(place / run.experiment / run.id, run, rows, points, maps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return written(tmp_path_factory.mktemp("whole"), 0)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    return written(tmp_path_factory.mktemp("another"), 1)


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / whole.parent.name / whole.name))


def read(folder: Path) -> None:
    """All that reads a run: `report` and `compare`, and for the summary `table`."""
    store.read(folder)
    store.read_summary(folder)


def refused(folder: Path, name: str, *words: str) -> None:
    """Nothing reads the run, reuses its rows or takes it for finished; the file is named."""
    for way in (read, lambda f: integrity.open_run(f).check()):
        with pytest.raises(InputError) as error:
            way(folder)
        message = str(error.value)
        assert "\n" not in message
        assert str(folder / name) in message
        assert all(word in message for word in words)


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused(folder, name):
    path = folder / name
    content, bits = path.read_bytes(), random.Random(0)
    last = 8 * len(content) - 1
    for bit in [0, 1, last, last - 1, *(bits.randrange(last) for _ in range(12))]:
        path.write_bytes(flip(content, bit))
        refused(folder, name, "damaged")
    path.write_bytes(content)
    read(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "longer", "lost", "another run's"])
def test_a_file_that_is_another_is_refused(folder, another, name, how):
    path = folder / name
    content = path.read_bytes()
    if how == "lost":
        path.unlink()
        if name != "run.json":
            refused(folder, name, "missing")
        else:
            with pytest.raises(InputError, match=r"is not a run: it has no run\.json"):
                store.read(folder)
        return
    path.write_bytes(
        {
            "cut": content[:-1],
            "empty": b"",
            "zeros": bytes(len(content)),
            "longer": content + b"\n",
            "another run's": (another / name).read_bytes(),
        }[how]
    )
    if (name, how) == ("run.json", "another run's"):  # right by itself, but not for the others
        refused(folder, "scores.parquet", "damaged")
    else:
        refused(folder, name, "damaged", "copy the run again, or repeat it with overwrite=true")


def test_every_bit_at_the_end_of_the_record_counts(folder):
    path = folder / "run.json"
    content = path.read_bytes()
    start = content.rindex(b'\n "files"')
    for bit in range(8 * start, 8 * len(content)):
        path.write_bytes(flip(content, bit))
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            integrity.open_run(folder)


def test_every_bit_of_what_is_signed_counts():
    content = integrity.sign(b'{"a": [1, 2.5], "b": {}}\n')
    assert integrity.signed(content)
    assert json.loads(content).keys() == {"a", "b", "hash"}
    assert not any(integrity.signed(flip(content, bit)) for bit in range(8 * len(content)))
    assert not integrity.signed(b"")


def rewritten(folder: Path, change) -> None:
    """The record as JSON again, after a change."""
    path = folder / "run.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("hash"),
        lambda c: c.pop("files"),
        lambda c: c["files"].pop("scores.parquet"),
        lambda c: c["files"].pop(MAP),
        lambda c: c["files"].update({"scores.parquet": c["files"]["curves.parquet"]}),
        lambda c: c["totals"].update({"seconds": 1.5}),
        lambda c: c.update({"hash": c.pop("hash"), "config": c.pop("config")}),
    ],
    ids=["no hash", "no files", "a file less", "no maps", "other hash", "edited", "order"],
)
def test_a_record_that_was_edited_is_refused(folder, change):
    rewritten(folder, change)
    refused(folder, "run.json", "damaged")


def test_white_space_counts(folder):
    path = folder / "run.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    refused(folder, "run.json", "damaged")


def test_a_strange_file_of_maps_is_refused_by_name(folder, another):
    shutil.copy(another / MAP, folder / "attributions" / "other.safetensors")
    refused(folder, "attributions/other.safetensors", "no file of this run", "remove it")
    (folder / "attributions" / "other.safetensors").unlink()
    (folder / "attributions" / "notes.txt").write_text("of the user: nothing reads it")
    read(folder)


def without_hashes(folder: Path) -> None:
    rewritten(folder, lambda c: [c.pop(name) for name in integrity.FIELDS])


def test_a_run_without_hashes_is_read_with_a_warning_but_not_reused(folder, whole, caplog):
    without_hashes(folder)
    with caplog.at_level(logging.WARNING):
        assert store.read(folder).scores.equals(store.read(whole).scores)
    (record,) = caplog.records
    assert f"{folder} was written without hashes" in record.getMessage()
    for take in (
        lambda: store.find(folder.parent, KEY),
        reuse.FinishedRun(folder, store.read_run(folder)).read,
    ):
        with pytest.raises(InputError, match="hashes"):
            take()


def test_the_committed_reference_is_readable():
    (place,) = (ROOT / "experiments").glob("*/reference")
    assert len(store.read(place).scores) == len(store.scores(place)) > 0


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_run_is_neither_finished_nor_reused(folder, name, caplog):
    assert store.find(folder.parent, KEY) == folder
    run = reuse.FinishedRun(folder, store.read_run(folder))
    assert len(run.read().rows) == len(store.scores(folder))
    path = folder / name
    path.write_bytes(flip(path.read_bytes(), 8 * (len(path.read_bytes()) // 2)))
    if name == "run.json":
        with caplog.at_level(logging.WARNING):
            assert store.find(folder.parent, KEY) is None
        assert "a damaged run is ignored" in caplog.text
    else:
        with pytest.raises(InputError, match=f"{Path(name).name} is damaged"):
            store.find(folder.parent, KEY)
    if name != "summary.csv":  # whose lines are derived, and not reused
        with pytest.raises(InputError, match="is damaged"):
            run.read()


def test_each_file_is_read_once(folder, monkeypatch):
    seen = Counter[str]()
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (seen.update([self.name]), real(self))[1])
    store.read(folder)
    names = {Path(name).name for name in FILES} - {"summary.csv"}
    assert seen == dict.fromkeys(names, 1)


def test_pages_have_checksums_for_readers_without_the_record():
    column = pa.array(np.random.default_rng(0).random(2000))
    content = store.parquet(pa.table({"value": column}))
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    middle = 8 * (chunk.dictionary_page_offset + chunk.total_compressed_size // 2)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(io.BytesIO(flip(content, middle)), page_checksum_verification=True)


def test_what_is_printed_comes_from_the_records(folder):
    (folder / "tables").mkdir()
    (folder / "tables" / "scores.md").write_text("| ig | 99.9 |\n")
    console = Console(file=io.StringIO())
    outcome = runner.Outcome(folder, folder / "report.html", existing=True)
    cli.show_scores(console, outcome, markdown=True)
    printed = console.file.getvalue()
    assert "| IG" in printed
    assert "99.9" not in printed
