"""Baselines are small, whole, verifiable, and compare like the runs that they were made of."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from igbench.__main__ import main
from igbench.errors import InputError
from igbench.records import baselines, compare, integrity, owned, store
from igbench.records.shorten import shorten
from igbench.schema import RANDOM_WEIGHTS, MethodSpec, MetricSpec, Row, Run
from tests.helpers import synthetic

POOL = "Data(texts=('a sentence', " + "'word' " * 100_000 + "))"


def long_run() -> Run:
    """A run with a text of 700,000 characters, as of a method that holds its data."""
    run = synthetic.make_run(samples=4)
    samples = [{**s, "features": {"names": ["a", "b"]}} for s in run.samples]
    return replace(
        run,
        state="finished",
        samples=samples,
        identity={**run.identity, "methods": {"rare": POOL, "ig": "IG()"}},
        environment={
            **run.environment, "identity": "0f" * 32,
            "parameters": {"methods": {"rare": {"data": POOL}}, "metrics": {}},
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = long_run()
    place = tmp_path_factory.mktemp("results") / run.experiment / run.id
    maps = {"ig": {"photo-000": np.ones(2)}}
    rows, points = synthetic.make_rows(samples=4), synthetic.make_points(samples=4)
    return store.write(place, run, rows, points, maps)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def test_a_baseline_has_the_scores_to_the_last_bit_and_compares_as_the_run(
    folder: Path, root: Path
) -> None:
    place = baselines.set_baseline(folder, "v1.2", root)
    assert place == root / "v1.2" == baselines.find("v1.2", root)
    assert baselines.names(root) == ["v1.2"]
    whole, kept = store.read(folder), store.read(place)
    same = whole.scores.columns.drop("seconds")
    pd.testing.assert_frame_equal(whole.scores[same], kept.scores[same], check_exact=True)
    assert kept.scores["seconds"].isna().all()
    assert (len(kept.curves), kept.maps) == (0, {})
    assert (place / "summary.csv").read_bytes() == (folder / "summary.csv").read_bytes()
    assert store.read_summary(place).equals(store.read_summary(folder))
    found = compare.compare(kept, whole, resamples=50)
    assert {c.verdict for c in found.changes} == {"identical"}
    assert (found.incomparable, found.differences, found.exit_code) == ([], [], 0)


def test_another_text_behind_the_cut_is_a_difference(folder: Path, root: Path) -> None:
    kept = store.read(baselines.set_baseline(folder, "v1", root))
    other = replace(kept.run, identity={**kept.run.identity, "methods": {"rare": POOL + "!"}})
    found = compare.compare(kept, replace(kept, run=other), resamples=50)
    assert len(found.differences) == 2  # the text, and the method that is not there
    assert f"{len(POOL) + 1:,} characters" in found.differences[0]


def test_what_was_left_out_is_in_the_file_and_the_rest_is_not(folder: Path, root: Path) -> None:
    place = baselines.set_baseline(folder, "v1.2", root)
    assert {p.name for p in place.iterdir()} == {
        "run.json", "scores.parquet", "curves.parquet", "summary.csv"
    }  # fmt: skip
    note = baselines.note(store.read_run(place))
    assert note["name"] == "v1.2"
    assert note["run_json"] == integrity.digest((folder / "run.json").read_bytes())
    assert note["left_out"] == [
        "files of maps: 1",
        f"points of curves: {len(synthetic.make_points(samples=4)):,}",
        "features of samples: 4",
        "the wall time of each row (column seconds)",
        "environment.identity",
        "texts after 1,000 characters: identity.methods.rare, "
        "environment.parameters.methods.rare.data",
    ]
    assert b"igbench.run" not in (place / "scores.parquet").read_bytes()
    assert (folder / "run.json").stat().st_size > 1_000_000 > 40_000
    assert (place / "run.json").stat().st_size < 40_000
    # A finished run is found by its identity and is not run again: a baseline is no such run.
    assert store.find(root, "0f" * 32) is None
    assert list(store.runs_mentioning(folder.parent, "0f" * 32))


def test_a_run_of_128_samples_10_methods_and_10_metrics_takes_less_than_1_mib(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    methods = {f"method_{i}": MethodSpec("M", "P", "global", True) for i in range(10)}
    metrics = {f"metric_{i}": MetricSpec("T", "lower", 0, 1, 1, "P") for i in range(10)}
    run = replace(long_run(), methods=methods, metrics=metrics)
    rows = [
        Row(run.id, run.experiment, "m", a, b, f"photo-{i:03d}", rng.random(), "ok", "",
            rng.random(), 22, 1, rng.random())
        for a in methods for b in metrics for i in range(128)
    ]  # fmt: skip
    monkeypatch.setattr("igbench.records.stats.summarise", lambda *_, **__: _no_summary())
    place = store.write(tmp_path / run.experiment / run.id, run, rows)
    made = baselines.set_baseline(place, "large", root)
    size = sum(p.stat().st_size for p in made.iterdir())
    assert 128 * 100 * 2 * 8 < size < 300_000 < baselines.LARGE  # two random numbers a row
    assert not caplog.records
    monkeypatch.setattr(baselines, "LARGE", size - 1)
    baselines.set_baseline(place, "larger", root)
    assert "baseline larger has 0." in caplog.text


def _no_summary() -> pd.DataFrame:
    from igbench.records import stats

    return pd.DataFrame(columns=list(stats.SUMMARY_COLUMNS))


def test_an_existing_name_needs_force_and_only_a_baseline_is_replaced(
    folder: Path, root: Path, tmp_path: Path
) -> None:
    place = baselines.set_baseline(folder, "v1", root)
    before = (place / "run.json").read_bytes()
    with pytest.raises(InputError, match=r"v1 exists; choose another --name, or give --force\."):
        baselines.set_baseline(folder, "v1", root)
    (place / "run.json").write_bytes(before[:100])  # damaged: may be replaced
    assert baselines.set_baseline(folder, "v1", root, replace=True) == place
    assert (place / "run.json").read_bytes() == before  # the same run makes the same bytes
    assert [p.name for p in root.iterdir()] == ["v1"]

    (place / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is no baseline \(it holds notes\.txt\)"):
        baselines.set_baseline(folder, "v1", root, replace=True)
    for act in (
        lambda: baselines.set_baseline(folder, folder.name, folder.parent, replace=True),
        lambda: baselines.remove(folder.name, folder.parent),
    ):
        with pytest.raises(InputError, match="its record says that it is none"):
            act()
    assert store.read(folder).maps
    assert (place / "notes.txt").exists()


def test_a_replacement_that_fails_leaves_the_old_one(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = baselines.set_baseline(folder, "v1", root)
    real = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise PermissionError(1, "Operation not permitted")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=r"cannot replace .*v1: Operation not permitted"):
        baselines.set_baseline(folder, "v1", root, replace=True)
    assert [p.name for p in root.iterdir()] == ["v1"]
    integrity.open_run(place).check()


@pytest.mark.parametrize("name", ["../v1", "", ".v1", "a/b", "nul", "-x"])
def test_names_that_are_no_folders_are_refused(folder: Path, root: Path, name: str) -> None:
    with pytest.raises(InputError, match="baseline="):
        baselines.set_baseline(folder, name, root)
    with pytest.raises(InputError, match="baseline="):
        baselines.find(name, root)
    assert not root.exists()


def test_links_are_refused(folder: Path, root: Path, tmp_path: Path) -> None:
    made = baselines.set_baseline(folder, "v1", root)
    (root / "v2").symlink_to(made, target_is_directory=True)
    assert baselines.names(root) == ["v1"]
    for act in (
        lambda: baselines.find("v2", root),
        lambda: baselines.set_baseline(folder, "v2", root, replace=True),
        lambda: baselines.remove("v2", root),
    ):
        with pytest.raises(InputError, match="is a link"):
            act()
    (made / "plots").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InputError, match="is a link"):
        baselines.remove("v1", root)
    with pytest.raises(InputError, match="is a link"):
        owned.delete(made)
    assert (made / "run.json").exists()


def test_an_unknown_name_says_which_there_are(folder: Path, root: Path) -> None:
    with pytest.raises(InputError, match="there are no baselines"):
        baselines.find("v1", root)
    baselines.set_baseline(folder, "v1.2", root)
    with pytest.raises(InputError, match=r"baselines there: v1\.2.*Did you mean 'v1\.2'"):
        baselines.find("v1.3", root)


def test_failures_and_random_weights_are_warned_of(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = synthetic.make_run(samples=1)
    run = replace(run, environment={**run.environment, "model_source": RANDOM_WEIGHTS})
    row = Row(run.id, run.experiment, "m", "ig", "deletion", "s", 0.25)
    with caplog.at_level(logging.WARNING):
        baselines.set_baseline(store.write(tmp_path / "r" / run.id, run, [row]), "v1", root)
    assert [r.getMessage() for r in caplog.records] == [
        "baseline v1 keeps a run that finished with failures: 11 cells failed",
        "baseline v1 keeps a run of a model with random weights, whose scores say nothing of a "
        "trained one",
    ]


def test_a_baseline_of_a_baseline_says_all_that_is_missing(folder: Path, root: Path) -> None:
    first = baselines.set_baseline(folder, "v1", root)
    second = baselines.set_baseline(first, "v2", root)
    notes = [baselines.note(store.read_run(place)) for place in (first, second)]
    assert notes[1]["left_out"] == notes[0]["left_out"]
    assert store.read_run(second).identity == shorten(store.read_run(folder).identity)


def test_it_can_be_verified_and_damage_is_seen(
    folder: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = baselines.set_baseline(folder, "v1", root)
    assert main(["verify", str(place)]) == 0
    assert capsys.readouterr().out == f"{place}: ok, 4 files\n"
    whole = bytearray((place / "scores.parquet").read_bytes())
    whole[len(whole) // 2] ^= 8
    (place / "scores.parquet").write_bytes(whole)
    assert main(["verify", str(place)]) == 2
    with pytest.raises(InputError, match="damaged"):
        store.read(place)
