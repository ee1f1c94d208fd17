"""Other runs, other clocks and other settings between attempts are kept apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from igbench import report
from igbench.__main__ import main
from igbench.config import compose
from igbench.evaluation import loop
from igbench.metrics.faithfulness.areas import Deletion
from igbench.records import store
from igbench.run import fingerprint, lock, runner
from tests.helpers import faults
from tests.helpers.broken_runs import (
    METRICS,
    RUN,
    goes_on,
    line,
    stopped,
    surviving,
)
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


def test_the_same_run_twice_at_once(out, whole, capsys, at_shard):
    words = [*RUN, f"results_dir={out}"]
    seen = []
    at_shard(2, lambda: seen.append(main(words)))
    goes_on(words, out, whole, found=0)
    assert seen == [2]
    assert f"locked by process {os.getpid()}" in line(capsys)


def test_another_run_into_the_same_folder(out, whole, at_shard):
    words = [*RUN, f"results_dir={out}"]
    seen = []
    at_shard(2, lambda: seen.append(main([*words, "seed=1"])))
    assert main(words) == 0
    assert seen == [0]
    runs = [store.read(folder) for folder in (out / "digits_resnet").iterdir()]
    assert len(runs) == 2
    (mine,) = [r for r in runs if r.run.config["seed"] == 0]
    assert_same(mine, whole)


@pytest.mark.parametrize("owner", ["dead", "elsewhere", "empty"])
def test_a_lock_is_left(out, whole, capsys, monkeypatch, owner):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    capsys.readouterr()
    path = runner.job(compose.compose(words)).partial / lock.NAME
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          check=True, capture_output=True, text=True)  # fmt: skip
    said = {
        "dead": {**asdict(lock._me()), "pid": int(gone.stdout), "born": "1"},
        "elsewhere": {"pid": 1, "host": "elsewhere", "born": "1"},
        "empty": {},
    }[owner]
    path.write_text(json.dumps(said))
    if owner == "elsewhere":
        assert main(words) == 2
        assert f"process 1 on elsewhere; wait for it, or delete {path}" in line(capsys)
        path.unlink()
    goes_on(words, out, whole, found=2)


def clock_at(monkeypatch, year: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(runner, "datetime", Clock)


def test_the_clock_goes_back(out, whole, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    clock_at(monkeypatch, 2031)
    assert main(words) == 0
    first = only_run(out)
    future = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    os.utime(Path(first.folder) / store.RUN_FILE, (future, future))
    clock_at(monkeypatch, 2021)
    stopped([*words, "overwrite=true"], monkeypatch)
    clock_at(monkeypatch, 2011)
    assert main(words) == 0
    newest = store.latest(out, "digits_resnet")
    assert newest != Path(first.folder)
    assert newest.name[:15] == "20310101-000001", "sorts after the other"
    second = store.read(newest)
    assert second.run.created == "2011-01-01T00:00:00+00:00", "what the clock said is on record"
    assert second.run.environment["executor"]["found"] == 2
    assert_same(second, whole)
    assert runner.job(compose.compose(words)).finished() == newest


def test_other_weights_between_attempts(tmp_path, out, whole, monkeypatch):
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    (path,) = folder.glob("digits_resnet*.safetensors")
    state = load_file(path)
    state["fc.weight"] *= 1.01
    save_file(state, path)
    assert main(words) == 0
    (mine,) = [store.read(folder) for folder in store.runs(out / "digits_resnet")]
    assert mine.run.environment["executor"]["found"] == 0
    assert mine.run.comparability["weights"] != whole.run.comparability["weights"]
    assert main([*RUN, f"results_dir={tmp_path / 'fresh'}"]) == 0
    assert_same(mine, only_run(tmp_path / "fresh"))
    assert len(list(out.rglob("shards/*.json"))) == 2, "those of the other weights are kept"


def test_another_configuration_between_attempts(tmp_path, out, whole, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    stopped([*words, "method.ig.n_steps=9"], monkeypatch)
    assert main(words) == 0
    (folder,) = store.runs(out / "digits_resnet")
    mine = store.read(folder)
    assert mine.run.environment["executor"]["found"] == 0
    assert_same(mine, whole)


@pytest.mark.parametrize("how", ["version", "code"])
def test_another_metric_between_attempts(out, whole, monkeypatch, how):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    if how == "code":
        real = fingerprint.of_metric
        monkeypatch.setattr(
            fingerprint,
            "of_metric",
            lambda m, *more: "new" if isinstance(m, Deletion) else real(m, *more),
        )
    else:
        spec = Deletion.spec.fget
        newer = property(lambda self: spec(self).__class__(**{**vars(spec(self)), "version": 9}))
        monkeypatch.setattr(Deletion, "spec", newer)
    run, asked = loop.run, []

    def spy(experiment, *rest, **more):
        if more.get("only"):
            asked.append(list(experiment.metrics))
        return run(experiment, *rest, **more)

    monkeypatch.setattr(loop, "run", spy)
    assert main(words) == 0
    assert asked == [["deletion"]] * 2 + [list(METRICS)] * 2
    (folder,) = store.runs(out / "digits_resnet")
    surviving(store.read(folder), whole, set())


def test_one_report_drawn_twice_at_once(out, whole, capsys, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    seen = []

    def drawing(records):
        with monkeypatch.context() as patch:
            patch.setattr(report, "write_report", faults.sketch)
            seen.append([main(words), main(["report", records.folder])])
        return faults.sketch(records)

    monkeypatch.setattr(report, "write_report", drawing)
    assert main(words) == 0
    assert seen == [[2, 2]]
    said = capsys.readouterr().err.splitlines()
    me = f"igbench: the report of this run is locked by process {os.getpid()} on"
    assert [s.startswith(me) for s in said] == [True, True]
    mine = only_run(out)
    assert_same(mine, whole)
    assert (Path(mine.folder) / "report.html").is_file()
    assert not (Path(mine.folder) / lock.NAME).exists()


def test_a_report_that_is_drawn_again_is_not_read_half(out, capsys, monkeypatch):
    """Another process clears the tables when this one is about to print one of them."""
    words = [*RUN, f"results_dir={out}"]
    real = runner.finish

    def finish(*args, **named):
        outcome = real(*args, **named)
        shutil.rmtree(outcome.folder / "tables")
        return outcome

    monkeypatch.setattr(runner, "finish", finish)
    assert main(words) == 0
    assert "| method " in capsys.readouterr().out


@pytest.mark.parametrize("where", ["partial", "shard_dir"])
def test_a_link_in_place_of_a_folder_of_shards(tmp_path, out, whole, capsys, where):
    words = [*RUN, f"results_dir={out}"]
    place, other = getattr(runner.job(compose.compose(words)), where), tmp_path / "other"
    (other / "shards").mkdir(parents=True)
    kept = [other / "mine.tmp", other / "shards" / "mine.tmp", other / "restarted"]
    for path in kept:
        path.touch()
    place.parent.mkdir(parents=True)
    place.symlink_to(other)
    assert main(words) == 2
    assert f"{place} is a link; links inside a folder of results are not followed" in line(capsys)
    assert all(path.is_file() for path in kept)
    assert len(list(other.rglob("*"))) == 4
    place.unlink()
    goes_on(words, out, whole)


def test_shards_of_another_process_outlive_the_end_of_this_one(out, whole, monkeypatch):
    """A second run begins as soon as the lock of the first is gone."""
    words = [*RUN, f"results_dir={out}"]
    release, begun = lock._release, []

    def released(path, mine):
        release(path, mine)
        if path.parent.suffix == ".partial" and not begun:
            begun.append(lock.held(path.parent))
            begun[0].__enter__()
            (path.parent / "shards").mkdir()
            (path.parent / "shards" / "theirs").touch()

    with monkeypatch.context() as patch:
        patch.setattr(lock, "_release", released)
        assert main(words) == 0
    (theirs,) = out.rglob("theirs")
    assert (theirs.parents[1] / lock.NAME).is_file()
    begun[0].__exit__(None, None, None)
    assert main(words) == 0
    assert_same(only_run(out), whole)
