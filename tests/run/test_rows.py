"""Results on disk keep the batch size they were made with; new runs get a better measured one."""

from __future__ import annotations

import pytest

from igbench.config import compose
from igbench.evaluation import batch_size, rows_memory
from igbench.run import runner
from tests.helpers.runs import SMALL


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Answers of measurements to come, remembered in a file of this test alone."""
    answers = []
    monkeypatch.setattr(batch_size, "_search", lambda *args: answers.pop(0))
    memory = tmp_path / "rows.json"
    recall, remember = rows_memory.recall, rows_memory.remember
    for module in (batch_size, rows_memory):
        monkeypatch.setattr(module, "recall", lambda path: recall(memory))
        monkeypatch.setattr(module, "remember", lambda path, *rest: remember(memory, *rest))
    return answers


NOISY, SURE = {4: ((1.0, 1.5), (1.0, 1.0))}, {8: ((0.1, 0.1), (0.1, 0.1))}


def job(folder, *words):
    words = [w for w in SMALL if not w.startswith("batch_size=")] + list(words)
    return runner.job(compose.compose([*words, "batch_size=auto", f"results_dir={folder}"]))


@pytest.mark.usefixtures("cache")
def test_results_keep_their_batch_size(tmp_path, measure):
    measure += [NOISY, SURE]
    first = job(tmp_path / "a")
    assert first.experiment.batch_size == 4
    assert len(measure) == 1, "measured once, although it is not sure"
    folder = runner.finish(first).folder
    assert job(tmp_path / "a").finished() == folder
    assert len(measure) == 1, "a finished run is found by its batch size"

    assert job(tmp_path / "b").experiment.batch_size == 8
    assert measure == [], "a new run measures again"
    assert job(tmp_path / "b").experiment.batch_size == 8
    assert job(tmp_path / "a").finished() == folder, "still found, by an earlier answer"


@pytest.mark.usefixtures("cache")
def test_a_run_of_another_speed_marks_the_answer(tmp_path, measure, monkeypatch):
    """Remembered is a second for a row: the run is far faster."""
    measure.append({4: ((1.0, 1.0), (1.0, 1.0))})
    monkeypatch.setattr(batch_size, "MIN_RUN", 0.0)
    runner.finish(job(tmp_path / "a"))
    (kept,) = rows_memory.recall(tmp_path).values()
    assert (kept.rows, kept.spread, kept.again, kept.due) == (4, 0.0, True, True)
