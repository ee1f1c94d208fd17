"""Engines give the same rows, and survive what happens to their workers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from igbench.__main__ import main
from igbench.config import compose
from igbench.errors import InputError
from igbench.evaluation import batch_size, precision
from igbench.run import checkpoint, runner
from igbench.run.executors import ray as ray_engine
from igbench.run.executors.base import Work
from igbench.run.executors.serial import Serial
from tests.helpers import faults
from tests.helpers.faults import trouble
from tests.helpers.runs import SMALL, assert_same, only_run

ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install ray"
)


pytestmark = pytest.mark.usefixtures("cache")


def test_serial_sets_threads_and_puts_them_back(tmp_path):
    seen = []
    before = torch.get_num_threads()
    job = runner.job(compose.compose([*SMALL, f"results_dir={tmp_path}"]))
    work = Work(job.experiment, runner.build.experiment, job.config, job.shards[:1], job.shard_dir)
    Serial(threads=before + 1).run(work, lambda *step: seen.append(torch.get_num_threads()))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert checkpoint.count(job.shard_dir, job.shards) == 1


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_one_line_says_what_to_install(tmp_path, capsys):
    assert main([*SMALL, "executor=ray", f"results_dir={tmp_path}"]) == 2
    assert "pip install 'igbench[ray]'" in capsys.readouterr().err


def test_numbers_that_make_no_sense():
    for wrong in ({"workers": 0}, {"threads": 0}):
        with pytest.raises(InputError, match=f"executor.{next(iter(wrong))}"):
            ray_engine.Ray(**wrong)
    with pytest.raises(InputError, match=r"executor\.threads"):
        Serial(threads=0)


def test_workers_without_a_shard_are_reported():
    assert ray_engine._idle(2, 2) == ""
    assert "3 shards keep 3 of 8 workers busy" in ray_engine._idle(8, 3)


def test_what_draws_is_imported_ahead():
    script = (
        "import sys; from igbench.run.executors import ray; "
        "before = 'matplotlib.figure' in sys.modules; ray._import_ahead().join(); "
        "print(before, 'matplotlib.figure' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_room():
    assert ray_engine._room({"CPU": 8.0}, 2, 0) == 4
    assert ray_engine._room({"CPU": 8.0, "GPU": 2.0}, 1, 0.5) == 4
    with pytest.raises(InputError, match="no room"):
        ray_engine._room({"CPU": 8.0}, 1, 1)


def test_a_worker_that_sees_something_else(tmp_path):
    job = runner.job(compose.compose(SMALL))
    make = runner.build.experiment
    with pytest.raises(InputError, match="other weights"):
        ray_engine.Worker(make, job.config, str(tmp_path), "0", torch.get_num_threads())
    other = runner.job(compose.compose([*SMALL, "limit=2"]))
    weights = job.experiment.model.weights_hash
    worker = ray_engine.Worker(make, other.config, str(tmp_path), weights, torch.get_num_threads())
    with pytest.raises(InputError, match="other samples"):
        worker.run(job.shards[-1])


def test_a_worker_measures_nothing_again(tmp_path, monkeypatch):
    """Batch size, outputs and the error of folding come from the main process."""
    words = [w for w in SMALL if not w.startswith("batch_size=")]
    job = runner.job(compose.compose([*words, "batch_size=auto"]))
    assert job.experiment.folded
    given = runner.build.handed_on(job.config, job.experiment)

    def again(*args):
        raise AssertionError("measured again")

    monkeypatch.setattr(batch_size, "measured", again)
    monkeypatch.setattr(precision, "errors_of", again)
    monkeypatch.setattr(runner.build, "look", again)
    weights = job.experiment.model.weights_hash
    threads = torch.get_num_threads()
    worker = ray_engine.Worker(runner.build.experiment, given, str(tmp_path), weights, threads)
    mine, its = job.experiment, worker.experiment
    assert (its.batch_size, its.outputs) == (mine.batch_size, mine.outputs)
    assert replace(its.folding, module=None) == replace(mine.folding, module=None)
    assert its.folding.module is not None


def test_what_an_executor_starts_runs_while_the_cost_is_estimated(tmp_path):
    seen = []

    class Early:
        def run(self, work, advance):
            raise AssertionError("it was started already")

        @contextmanager
        def started(self, work):
            seen.append("started")
            yield lambda advance: (seen.append("evaluates"), Serial().run(work, advance))
            seen.append("ended")

    @contextmanager
    def watch(work):
        seen.append("estimated")
        yield lambda *step: None

    class Job(runner.Job):
        def executor(self):
            return Early()

    job = runner.job(compose.compose([*SMALL, "limit=2", f"results_dir={tmp_path}"]))
    runner.finish(Job(job.config, job.experiment, job.shards, job.home), watch=watch)
    assert seen == ["started", "estimated", "evaluates", "ended"]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The same run with one thread, in this process; its words, and its records."""
    where = tmp_path_factory.mktemp("serial")
    marker = where / "marker"
    marker.touch()
    words = [*SMALL, trouble("kill", 3, marker)]
    assert main([*words, "executor.threads=1", f"results_dir={where / 'out'}"]) == 0
    return words, marker, only_run(where / "out")


@pytest.fixture
def cluster():
    """Two processors on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=150 * 2**20,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("killed", [False, True])
def test_ray_gives_the_same_rows(serial, cluster, tmp_path, killed):
    words, marker, expected = serial
    if killed:
        marker.unlink()
    out = [*words, "executor=ray", "executor.workers=2", f"results_dir={tmp_path}"]
    assert main(out) == 0
    assert marker.exists()
    assert_same(only_run(tmp_path), expected)


@ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_shard_that_always_kills_its_worker(cluster, tmp_path, capsys):
    words = [
        *SMALL,
        trouble("kill", 3),
        "executor=ray",
        "executor.workers=2",
        "executor.restarts=1",
    ]
    assert main([*words, f"results_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "samples 2 to 3" in said.splitlines()[-1]
    assert len(list(tmp_path.rglob("shards/*.json"))) == 3, "the others are kept"


@ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_cannot_be_built(cluster, tmp_path):
    job = runner.job(compose.compose([*SMALL, f"results_dir={tmp_path}"]))
    work = Work(job.experiment, faults.broken, job.config, job.shards, job.shard_dir)
    with pytest.raises(InputError, match="no such file here; copy it"):
        ray_engine.Ray(workers=1).run(work, lambda stage, samples: None)
