"""`igbench verify` says of each run whether its files are those that were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.records import integrity, store
from igbench.run import checkpoint
from igbench.run.shards import shards
from tests.helpers import synthetic
from tests.helpers.experiments import experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run and a stopped one."""
    home = tmp_path_factory.mktemp("results") / "synthetic"
    run = synthetic.make_run(samples=1)
    rows = synthetic.make_rows(samples=1, run=run)
    store.write(home / run.id, run, rows, maps={"ig": {"a": np.ones(2)}})
    e = experiment(shard_size=4, keep_maps=1)
    for shard in shards(e)[:2]:
        checkpoint.execute(e, shard, home / ".0123.partial" / "shards")
    return home


@pytest.fixture
def home(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results" / made.name))


def verify(capsys, *words) -> tuple[int, list[str]]:
    status = main(["verify", *map(str, words)])
    return status, capsys.readouterr().out.splitlines()


def test_whole_runs(home, capsys):
    (run,), stopped = store.runs(home), home / ".0123.partial"
    lines = [f"{run}: ok, 5 files", f"{stopped}: ok so far, 2 saved shards"]
    assert verify(capsys, home) == (0, lines)
    assert verify(capsys, "synthetic", "--results-dir", home.parent) == (0, lines)
    assert verify(capsys, run.name, "--results-dir", home.parent) == (0, lines[:1])
    assert verify(capsys, stopped / "shards", run, run) == (0, lines[::-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def test_all_that_is_damaged_is_named(home, capsys):
    (run,) = store.runs(home)
    flip(run / "scores.parquet")
    (run / "curves.parquet").unlink()
    shutil.copy(run / "attributions/ig.safetensors", run / "attributions/x.safetensors")
    status, lines = verify(capsys, home)
    assert status == 2
    assert lines[0] == (
        f"{run}: damaged: scores.parquet (its bytes are not those that were written), "
        "curves.parquet (it is missing), attributions/x.safetensors (it is no file of this run)"
    )
    assert "ok so far" in lines[1]
    flip(run / "run.json")
    status, lines = verify(capsys, run)
    assert status == 2
    assert "damaged" in lines[0]
    assert str(run / "run.json") in lines[0]


@pytest.mark.parametrize("suffix", [".parquet", ".safetensors", ".json"])
def test_a_damaged_shard(home, capsys, suffix):
    folder = home / ".0123.partial"
    path = sorted(folder.glob(f"shards/*{suffix}"))[0]
    flip(path)
    status, (line,) = verify(capsys, folder)
    assert status == 2
    assert line == f"{folder}: damaged: {path.name}; run the same command again."


def test_runs_without_hashes(home, capsys):
    (run,) = store.runs(home)
    path = run / "run.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({k: content[k] for k in content if k not in integrity.FIELDS}))
    status, (line,) = verify(capsys, run)
    assert status == 3
    assert line.startswith(f"{run}: cannot be verified: it was written without hashes")
    (run / "curves.parquet").write_bytes(b"PAR1")
    status, (line,) = verify(capsys, run)
    assert status == 2
    assert "curves.parquet is damaged" in line


def test_the_reference_run_is_whole(capsys):
    (reference,) = (ROOT / "experiments").glob("*/reference")
    assert verify(capsys, reference)[0] == 0


def test_names_that_are_no_run(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nothing")]) == 2
    assert "neither a run nor a folder of runs" in capsys.readouterr().err
    assert main(["verify", "nothing", "--results-dir", str(tmp_path)]) == 2
    assert "no run of 'nothing'" in capsys.readouterr().err


def test_it_is_among_the_commands():
    assert "verify" in COMMANDS
    assert "igbench verify RUN" in USAGE
