"""The batch size is measured once and remembered; running out of memory halves it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from igbench.core.score import Score
from igbench.evaluation import batch_size
from igbench.integration.integrate import integrated_gradients
from tests.helpers import closed_form as cf

MILLI = 0.001


class Timed(nn.Module):
    """A model on a clock of its own: milliseconds for a call and for its rows."""

    def __init__(self, per_call, per_row, limit=10**9):
        super().__init__()
        self.now, self.per_call, self.per_row, self.limit = 0.0, per_call, per_row, limit
        self.calls, self.largest = [], 0
        self.eval()

    def forward(self, x):
        self.largest = max(self.largest, len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls.append(len(x))
        self.now += (self.per_call + self.per_row(len(x))) * MILLI
        return (x**2).flatten(1).sum(dim=1)


def best(model, tmp_path):
    return batch_size.best_rows(
        Score(model),
        torch.ones(1, 4),
        None,
        memory=tmp_path / "a" / "rows.json",
        weights="w",
        clock=lambda: model.now,
    )


def test_stops_where_more_rows_bring_nothing(tmp_path):
    # Per row, 7 + 1/rows: 4 rows are within 2.7 % of 16, and 2 rows are not within 3 %.
    model = Timed(1.0, lambda n: 7.0 * n)
    assert best(model, tmp_path) == 4
    assert max(model.calls) == 16


class Stalling(Timed):
    """A machine that stands still during some calls."""

    def __init__(self, stalls):
        super().__init__(1.0, lambda n: n**1.5)
        self.stalls = stalls

    def forward(self, x):
        out = super().forward(x)
        if len(self.calls) in self.stalls:
            self.now += 1000.0
        return out


@pytest.mark.parametrize("call", range(1, 46))
def test_a_slow_moment_of_the_machine_changes_nothing(tmp_path, monkeypatch, call):
    """Each timing is one forward and one gradient here, and the median is of five."""
    monkeypatch.setattr(batch_size, "MIN_SECONDS", 0.0)
    assert best(Stalling({call}), tmp_path) == 2


def test_only_numbers_of_one_round_are_compared():
    """Four rows are faster in all rounds but the one that happens to be the median of both."""
    one, four = [1.0, 2.0, 3.0, 4.0, 5.0], [0.9, 1.8, 3.3, 3.6, 4.5]
    assert batch_size._smallest_fast({1: one, 4: four}) == 4
    assert batch_size._smallest_fast({1: one, 4: [0.98 * s for s in one]}) == 1
    assert batch_size._smallest_fast({1: one, 4: [0.5, 0.5, float("inf"), 0.5, 0.5]}) == 1


def test_what_lasts_counts_and_not_a_burst(tmp_path):
    """4 ms for a call: a timing goes on until 50 ms are over."""
    model = Timed(4.0, lambda n: 0.0)
    best(model, tmp_path)
    assert model.calls.count(1) == 2 * 7 * (2 + batch_size.ROUNDS)


def test_the_first_call_of_a_size_is_not_counted(tmp_path):
    class Warming(Timed):
        def forward(self, x):
            self.now += 0.0 if len(x) in self.calls else 1000.0 * len(x) ** 2
            return super().forward(x)

    assert best(Warming(1.0, lambda n: 7.0 * n), tmp_path) == 4


def test_an_answer_for_one_allocator_is_not_one_for_another(tmp_path, monkeypatch):
    """Freed memory that is given back makes large calls slow, and that is a setting of programs."""
    for kept, model, rows in (
        (False, Timed(1.0, lambda n: 7.0 * n), 4),
        (True, Timed(1.0, lambda n: n**1.5), 2),
    ):
        monkeypatch.setattr(batch_size, "keeps_freed", lambda kept=kept: kept)
        assert best(model, tmp_path) == rows


def test_calls_that_take_long_are_enough(tmp_path):
    """Twice 200 ms, then twice 380 ms: memory is not taken for what cannot matter."""
    model = Timed(20.0, lambda n: 180.0 * n)
    assert best(model, tmp_path) == 2
    assert model.largest == 2


def test_large_calls_that_are_slower(tmp_path):
    assert best(Timed(1.0, lambda n: n**1.5), tmp_path) == 2


def test_is_remembered(tmp_path):
    model = Timed(1.0, lambda n: 7.0 * n)
    first = best(model, tmp_path)
    model.calls.clear()
    assert best(model, tmp_path) == first
    assert model.calls == []
    assert list(json.loads((tmp_path / "a" / "rows.json").read_text()).values()) == [first]


def test_a_damaged_memory_is_measured_again(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows.json").write_text("{not json")
    assert best(Timed(1.0, lambda n: 7.0 * n), tmp_path) == 4


def test_memory_bounds_the_search(tmp_path):
    model = Timed(100.0, lambda n: n, limit=6)
    assert best(model, tmp_path) == 4
    assert model.largest == 8


def test_memory_that_runs_out_later_counts_against_a_size(tmp_path):
    """Others may have taken it since."""

    class Shrinking(Timed):
        def forward(self, x):
            if len(self.calls) >= 20:  # after the first round
                self.limit = 2
            return super().forward(x)

    assert best(Shrinking(100.0, lambda n: 0.0 if n < 16 else 10**4), tmp_path) == 2


def test_running_out_of_memory_halves_the_rows_for_good(caplog):
    model = Timed(1.0, lambda n: n, limit=5)
    score = Score(model, batch_size=32)
    x = torch.arange(12.0, dtype=torch.float64).view(3, 4) + 1
    found = integrated_gradients(score, x, torch.zeros_like(x), rule="middle", n_steps=10)
    torch.testing.assert_close(found, x**2)
    assert score.batch_size == 4
    assert "4 model rows" in caplog.text
    model.calls.clear()
    score.evaluate(x, None)
    assert model.calls == [3]
    score.batch_size = 32
    assert len(score.evaluate(torch.ones(9, 4), None)) == 9
    assert score.batch_size == 4


def test_running_out_of_memory_holds_for_all_readings_of_a_model():
    score = Score(Timed(1.0, lambda n: n, limit=5), batch_size=32)
    other = score.as_output("probability")
    other.evaluate(torch.ones(9, 4), None)
    assert score.batch_size == other.batch_size == 4
    assert score.as_output("log_probability").batch_size == 4


def test_other_errors_are_not_swallowed():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        Score(Broken().eval()).evaluate(torch.ones(2, 3), None)
    one = Timed(1.0, lambda n: n, limit=0)
    with pytest.raises(torch.OutOfMemoryError):
        Score(one).evaluate(torch.ones(2, 3), None)


def test_frozen_model_is_restored(tmp_path):
    net = cf.small_net()
    batch_size.best_rows(
        Score(net), cf.images(1), torch.tensor([0]), memory=tmp_path / "rows.json", weights="w"
    )
    assert all(p.requires_grad for p in net.parameters())
