"""A metric that changes or comes along is worked out alone; rows that are there are used."""

from __future__ import annotations

import shutil

import pytest

from igbench.__main__ import main
from igbench.evaluation import cost, loop
from igbench.records import store
from tests.helpers.runs import SMALL, assert_same

WORDS = [w for w in SMALL if not w.startswith("metric=")]
TWO, THREE = "metric=[completeness,deletion]", "metric=[completeness,deletion,sensitivity_n]"
CHANGED = "metric.deletion.step=0.25"


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run with two metrics."""
    where = tmp_path_factory.mktemp("first")
    assert main([*WORDS, TWO, f"results_dir={where}"]) == 0
    return where / "digits_resnet"


@pytest.fixture
def home(first, tmp_path):
    shutil.copytree(first, tmp_path / "digits_resnet")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """Names of the metrics of each batch that is run."""
    seen: list[list[str]] = []
    run = loop.run

    def plain(experiment, *rest, **more):
        if len(experiment.data) > 1:  # not the dry run of an estimate
            seen.append(list(experiment.metrics))
        return run(experiment, *rest, **more)

    monkeypatch.setattr(loop, "run", plain)
    return seen


def newest(home):
    return store.read(store.latest(home, "digits_resnet"))


def fresh(tmp_path, *words):
    where = tmp_path / "fresh"
    assert main([*WORDS, *words, f"results_dir={where}"]) == 0
    return newest(where)


def test_a_new_metric_is_run_alone(home, asked, tmp_path):
    assert main([*WORDS, THREE, f"results_dir={home}"]) == 0
    assert asked == [["sensitivity_n"]] * 4
    found = newest(home)
    assert len(list((home / "digits_resnet").iterdir())) == 2, "nothing partial is left"
    asked.clear()
    assert_same(found, fresh(tmp_path, THREE))
    assert asked == [["completeness", "deletion", "sensitivity_n"]] * 4


def test_a_changed_metric_is_run_alone(home, asked, tmp_path):
    assert main([*WORDS, TWO, CHANGED, f"results_dir={home}"]) == 0
    assert asked == [["deletion"]] * 4
    assert_same(newest(home), fresh(tmp_path, TWO, CHANGED))


def test_fewer_metrics_need_no_work(home, asked, tmp_path):
    assert main([*WORDS, "metric=[deletion]", f"results_dir={home}"]) == 0
    assert asked == []
    found = newest(home)
    assert set(found.curves["curve"]) == {"deletion", "convergence_gap"}
    assert_same(found, fresh(tmp_path, "metric=[deletion]"))


def test_a_second_entry_of_a_metric_is_run_alone_and_has_curves_of_its_own(home, asked):
    before = newest(home).curves
    other = ["+metric.other._target_=igbench.metrics.Deletion", "+metric.other.step=0.25"]
    assert main([*WORDS, TWO, *other, f"results_dir={home}"]) == 0
    assert asked == [["other"]] * 4
    found = newest(home).curves
    assert set(found["curve"]) == {"deletion", "other:deletion", "convergence_gap"}
    key = ["method", "curve", "sample_id", "x"]
    assert not found.duplicated(key).any()
    kept, known = (f[f["curve"] == "deletion"][[*key, "y"]] for f in (found, before))
    assert kept.to_numpy().tolist() == known.to_numpy().tolist()


@pytest.mark.parametrize("word", ["seed=1", "method.ig.n_steps=9", "baseline=black", "limit=6"])
def test_another_foundation_is_run_whole(home, asked, word):
    assert main([*WORDS, TWO, word, f"results_dir={home}"]) == 0
    assert asked
    assert all(names == ["completeness", "deletion"] for names in asked)


def test_overwrite_uses_nothing(home, asked):
    assert main([*WORDS, THREE, "overwrite=true", f"results_dir={home}"]) == 0
    assert asked == [["completeness", "deletion", "sensitivity_n"]] * 4


def test_a_stopped_run_gives_its_shards_to_another(tmp_path, asked, monkeypatch):
    run, done = loop.run, []

    def stop(experiment, *rest, **more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return run(experiment, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(cost, "estimate", lambda *given: cost.Estimate(0, 0, 0.0))
        patch.setattr(loop, "run", stop)
        assert main([*WORDS, TWO, f"results_dir={tmp_path}"]) == 130
    asked.clear()
    assert main([*WORDS, TWO, CHANGED, f"results_dir={tmp_path}"]) == 0
    whole = ["completeness", "deletion"]
    assert asked == [["deletion"], ["deletion"], whole, whole]
    assert_same(newest(tmp_path), fresh(tmp_path, TWO, CHANGED))


@pytest.mark.parametrize("file", [store.RUN_FILE, store.SCORES_FILE])
def test_a_damaged_run_is_not_used(home, asked, caplog, file):
    (folder,) = (home / "digits_resnet").iterdir()
    path = folder / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    assert main([*WORDS, THREE, f"results_dir={home}"]) == 0
    assert all(len(names) == 3 for names in asked)
    assert "damaged" in caplog.text


def test_plan_says_what_is_at_hand(home, capsys):
    assert main(["plan", *WORDS, THREE, f"results_dir={home}"]) == 0
    assert "completeness, deletion are found in finished runs" in capsys.readouterr().out


def test_a_finished_run_is_the_one_that_is_found(home, asked, capsys):
    assert main([*WORDS, TWO, f"results_dir={home}"]) == 0
    assert asked == []
    assert "Finished before" in capsys.readouterr().out
