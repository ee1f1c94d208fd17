"""Runs that are stopped go on; the rows are those of a run that was not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from igbench.__main__ import main
from igbench.config import compose
from igbench.records import store
from igbench.run import lock, runner
from tests.helpers.faults import trouble
from tests.helpers.runs import SMALL, assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("how", "at"),
    [
        ("kill", 5),
        pytest.param("int", 0, marks=SLOW),
        pytest.param("int", 5, marks=SLOW),
        pytest.param("term", 3, marks=SLOW),
    ],
)
def test_a_stopped_run_goes_on(tmp_path, capsys, how, at):
    words = [*SMALL, trouble(how, at, tmp_path / "marker")]
    stopped = [*words, f"results_dir={tmp_path / 'stopped'}"]
    if how == "kill":
        done = subprocess.run(
            [sys.executable, "-m", "igbench", *stopped],
            check=False,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == -9, done.stderr
    else:
        assert main(stopped) == 130
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{at // 2} of 4 shards are saved" in said or at == 0
        assert not list((tmp_path / "stopped").rglob("lock*"))
    assert len(list((tmp_path / "stopped").rglob("shards/*.json"))) == at // 2
    plan = ["plan", *stopped]
    assert main(plan) == 0
    assert (f"{at // 2} of 4 shards" if at else "nothing yet") in capsys.readouterr().out
    assert main(stopped) == 0
    shown = capsys.readouterr().out
    assert ("shards are done already" in shown) == (at > 1)
    assert main([*words, f"results_dir={tmp_path / 'whole'}"]) == 0
    resumed = only_run(tmp_path / "stopped")
    assert_same(resumed, only_run(tmp_path / "whole"))
    assert resumed.run.environment["executor"]["found"] == at // 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    where = tmp_path_factory.mktemp("results")
    words = [*SMALL, f"results_dir={where}"]
    assert main(words) == 0
    return words, where


def test_a_finished_run_is_not_run_again(finished, capsys):
    words, where = finished
    before = only_run(where)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Finished before" in shown
    assert before.folder in shown.replace("\n", "")
    assert "estimated cost" not in shown
    assert only_run(where).run == before.run
    assert main(["plan", *words]) == 0
    assert "finished: " in capsys.readouterr().out


def test_overwrite_runs_it_again_beside_the_other(finished, tmp_path):
    words, where = finished
    before = only_run(where)
    assert main([*words, "overwrite=true"]) == 0
    folders = sorted((where / "digits_resnet").iterdir())
    assert len(folders) == 2
    newer = next(f for f in folders if str(f) != before.folder)
    assert_same(before, store.read(newer))
    newer.rename(tmp_path / newer.name)


def test_two_at_once(finished, tmp_path, capsys):
    words, _ = finished
    config = compose.compose([*words, f"results_dir={tmp_path}"])
    job = runner.job(config)
    with lock.held(job.partial):
        assert main([*words, f"results_dir={tmp_path}"]) == 2
    assert f"locked by process {os.getpid()}" in capsys.readouterr().err


def test_engines_are_told_what_was_measured(tmp_path):
    given = []

    class Recorder:
        def run(self, work, advance):
            given.append(work)

    words = [w for w in SMALL if not w.startswith("batch_size")]
    job = runner.job(compose.compose([*words, f"results_dir={tmp_path}"]))
    assert job.config["batch_size"] == "auto"
    with runner._started(job, Recorder(), job.shards[1:], runner.build.experiment) as evaluate:
        evaluate(lambda stage, samples: None)
    assert given[0].config["batch_size"] == job.experiment.batch_size
    again = runner.job({**given[0].config})
    assert [s.key for s in again.shards] == [s.key for s in job.shards]


def test_a_plan_writes_nothing(tmp_path, capsys):
    assert main(["plan", *SMALL, f"results_dir={tmp_path / 'none'}"]) == 0
    shown = capsys.readouterr().out
    assert "32 = 8 samples x 2 methods x 2 metrics" in shown
    assert "4 of up to 2 samples" in shown
    # Fifty nodes, each evaluated and differentiated once.
    line = next(text for text in shown.splitlines() if text.startswith("method ig "))
    assert line.split()[2:4] == ["50", "50"]
    assert not (tmp_path / "none").exists()


def test_plan_refuses_bad_words(capsys):
    assert main(["plan", "limt=3"]) == 2
    assert "'limit'" in capsys.readouterr().err
