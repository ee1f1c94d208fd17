"""Runs that are killed or stopped go on.

Runs that are killed while they work, for hours, are in `experiments/soak`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from igbench import report
from igbench.__main__ import main
from igbench.records import store
from tests.helpers import faults
from tests.helpers.broken_runs import (
    RUN,
    SHARDS,
    goes_on,
    line,
    stopped,
)
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def battlefield(tmp_path_factory, whole):
    """Runs that were killed at each place and, four times, at random moments."""
    where = tmp_path_factory.mktemp("killed")
    code = (
        "from tests.helpers import faults; from pathlib import Path; "
        f"faults.massacre({RUN!r}, Path({str(where)!r}), 5)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return where


@pytest.mark.parametrize("place", [*faults.PLACES, "random moments"])
def test_kill_9(battlefield, whole, place):
    out = battlefield / place
    goes_on([*RUN, f"results_dir={out}"], out, whole)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("number", [0, 2])
def test_asked_to_stop(out, whole, capsys, at_shard, how, number):
    words = [*RUN, f"results_dir={out}"]
    at_shard(number, lambda: os.kill(os.getpid(), how))
    assert main(words) == 130
    kept = f"{number} of {SHARDS} shards are saved" if number else "No shard was finished"
    assert kept in line(capsys)
    goes_on(words, out, whole, found=number)


def test_ctrl_c_while_the_report_is_drawn(out, whole, capsys, monkeypatch):
    words = [*RUN, f"results_dir={out}"]

    def stop(records):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", stop)
        assert main(words) == 130
    said = line(capsys)
    assert "The run is saved in" in said
    assert_same(only_run(out), whole)
    goes_on(words, out, whole)


def test_a_run_beside_a_finished_one_is_stopped(out, whole, capsys, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    assert main(words) == 0
    first = only_run(out)
    stopped([*words, "overwrite=true"], monkeypatch)
    assert "Run the same command again without overwrite=true to resume" in line(capsys)
    assert main(["plan", *words]) == 0
    assert "2 of 4 shards" in capsys.readouterr().out
    assert main(words) == 0
    newest = store.read(store.latest(out, "digits_resnet"))
    assert newest.folder != first.folder
    assert newest.run.environment["executor"]["found"] == 2, "its own shards, not the other run"
    assert_same(newest, whole)
    assert len(list((out / "digits_resnet").iterdir())) == 2
