"""The batch size is measured once and remembered; running out of memory halves it."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from igbench.core.score import Score
from igbench.evaluation import batch_size, rows_memory
from igbench.evaluation.batch_size import Question
from igbench.evaluation.rows_memory import Answer
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
    return batch_size.best_rows(question(model, tmp_path), clock=lambda: model.now)


def question(model, tmp_path):
    memory = tmp_path / "a" / "rows.json"
    return Question(Score(model), torch.ones(1, 4), None, memory, "w")


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


def test_what_lasts_counts_and_not_a_burst(tmp_path):
    """4 ms for a call: a timing goes on for 30 ms, twice alone and twice beside two rows."""
    model = Timed(4.0, lambda n: 0.0)
    best(model, tmp_path)
    assert model.calls.count(1) == 2 * (1 + 8 * (2 + 2))


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
    (kept,) = json.loads((tmp_path / "a" / "rows.json").read_text()).values()
    assert kept["rows"] == first


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
    memory = tmp_path / "rows.json"
    batch_size.best_rows(Question(Score(net), cf.images(1), torch.tensor([0]), memory, "w"))
    assert all(p.requires_grad for p in net.parameters())


class Bursts:
    """A clock beside a neighbour that works in bursts, and slows everything meanwhile."""

    def __init__(self, seed, share, length, factor=1.6, jitter=0.01):
        self.draw = random.Random(seed)
        self.share, self.length, self.factor, self.jitter = share, length, factor, jitter
        self.now, self.slow = 0.0, self.draw.random() < share
        self.left = self._lasting()

    def _lasting(self):
        mean = self.length if self.slow else self.length * (1 - self.share) / self.share
        return self.draw.expovariate(1 / mean)

    def work(self, seconds):
        seconds *= math.exp(self.draw.gauss(0, self.jitter))
        while seconds * (pace := self.factor if self.slow else 1.0) > self.left:
            seconds -= self.left / pace
            self.now += self.left
            self.slow = not self.slow
            self.left = self._lasting()
        self.now += seconds * pace
        self.left -= seconds * pace


LARGER_IS_FASTER = {1: 1.3, 2: 1.15, 4: 1.085, 8: 1.0}
FOUR_IS_FASTEST = {1: 1.25, 2: 1.08, 4: 1.0, 8: 1.08, 16: 1.2, 32: 1.3}


def chosen(clock, relative, seconds):
    """The choice for a model of so many seconds a row, and their sizes, without the model."""

    def per_row(rows):
        return seconds * relative.get(rows, relative[max(relative)])

    def timer(rows, kind, least):
        start, passes = clock.now, 0
        while passes == 0 or clock.now - start < batch_size.ENOUGH * least:
            clock.work(rows * per_row(rows) * (0.27, 0.73)[kind])
            passes += 1
        return (clock.now - start) / (passes * rows)

    rows = batch_size.choice(batch_size.Search(timer, (0, 1)).run(512))
    return per_row(rows) / seconds


@pytest.mark.parametrize("length", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("relative", [LARGER_IS_FASTER, FOUR_IS_FASTEST], ids=["larger", "four"])
def test_a_busy_neighbour_does_not_spoil_the_choice(relative, length):
    """Bursts that are 30 % of the time: five rounds of medians were right in 76 to 97 of 100."""
    found = [chosen(Bursts(seed, 0.3, length), relative, 0.022) for seed in range(100)]
    assert sum(slower <= batch_size.MIN_SPEEDUP for slower in found) >= 95


def test_a_quiet_machine_is_measured_for_five_seconds():
    """22 ms a row, as EfficientNet-Lite0 on two cores."""
    clock = Bursts(0, 1e-9, 1.0)
    assert chosen(clock, LARGER_IS_FASTER, 0.022) == 1.0
    assert clock.now < 5.5


def measured(**kept):
    """One that was measured, and is sure."""
    answer = Answer(4, (0.1, 0.3), 0.01, 1, "2026", readings={4: ((0.1, 0.101), (0.3, 0.303))})
    return replace(answer, **kept)


def test_answers_keep_their_spread_and_evidence(tmp_path):
    memory = tmp_path / "rows.json"
    for answer in (measured(earlier=(2, 8)), Answer(8)):
        rows_memory.remember(memory, "a", answer)
        assert rows_memory.recall(memory)["a"] == replace(answer, readings=answer.readings or {})


def test_a_number_alone_is_an_answer_of_unknown_spread(tmp_path):
    memory = tmp_path / "rows.json"
    memory.write_text('{"a": 8}')
    assert rows_memory.recall(memory) == {"a": Answer(8)}
    assert Answer(8).due


def test_what_is_measured_again():
    assert not measured().due
    assert measured(spread=0.04).due
    assert measured(again=True).due
    assert not measured(spread=0.04, again=True, measured=rows_memory.MAX_MEASURED).due


def test_another_measurement_adds_evidence(tmp_path):
    """8 rows were read as slower in a noisy minute, and are faster by its lowest reading."""
    model = Timed(1.0, lambda n: 7.0 * n)
    asked = question(model, tmp_path)
    slow = {4: ((0.1, 0.2), (0.1, 0.2)), 1: ((0.001, 0.3), (0.001, 0.3))}
    rows_memory.remember(asked.memory, asked.name, Answer(2, readings=slow, measured=1, again=True))
    found = batch_size.measured(asked, lambda: model.now)
    assert found.rows == 1
    assert found.earlier == (2,)
    assert (found.measured, found.again) == (2, False)
    assert found.readings[1] == ((0.001, pytest.approx(0.008)),) * 2
    assert asked.known() == found


def test_a_known_number_stays_while_it_is_as_fast():
    readings = {4: ((1.0, 1.0),), 8: ((0.98, 0.98),), 16: ((0.9, 0.9),)}
    assert batch_size.choice({4: readings[4], 8: readings[8]}) == 4
    assert batch_size.choice({4: readings[4], 8: readings[8]}, known=8) == 8
    assert batch_size.choice(readings, known=8) == 16


def test_a_run_of_another_speed():
    """1,000 rows, half of them with a gradient, take 200 s by what is remembered."""
    for seconds, doubtful in ((200, False), (140, False), (130, True), (290, False), (310, True)):
        assert batch_size.another_speed(measured(), 1000, 500, seconds) is doubtful
    assert not batch_size.another_speed(measured(), 10, 5, 0.5)
    assert not batch_size.another_speed(Answer(4), 1000, 500, 1000)


def test_what_is_timed_is_the_folded_copy(tmp_path):
    """The copy is as fast with 2 rows in a call as its time says, whatever the model's own is."""
    model, copied = Timed(1.0, lambda n: 7.0 * n), Timed(1.0, lambda n: n**1.5)
    plain = question(model, tmp_path)
    asked = replace(plain, score=Score(model, folded=copied))
    assert asked.name != plain.name, "the answer for one is none for the other"
    assert batch_size.best_rows(asked, clock=lambda: copied.now) == 2
    assert model.calls == []
    assert batch_size.best_rows(plain, clock=lambda: model.now) == 4
    assert asked.known().rows == 2
