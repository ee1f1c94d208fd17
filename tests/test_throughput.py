"""The batch size is measured once and remembered; running out of memory halves it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from igbench import throughput
from igbench.attr.integrate import integrated_gradients
from igbench.types import Score
from tests import closed_form as cf


class Timed(nn.Module):
    """A model on a clock of its own: a fixed cost per call and a cost per row."""

    def __init__(self, per_call, per_row, limit=10**9):
        super().__init__()
        self.now, self.per_call, self.per_row, self.limit = 0.0, per_call, per_row, limit
        self.calls = []
        self.eval()

    def forward(self, x):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls.append(len(x))
        self.now += self.per_call + self.per_row(len(x))
        return (x**2).flatten(1).sum(dim=1)


def best(model, tmp_path):
    return throughput.best_rows(
        Score(model),
        torch.ones(1, 4),
        None,
        memory=tmp_path / "a" / "rows.json",
        weights="w",
        clock=lambda: model.now,
    )


def test_stops_where_more_rows_bring_nothing(tmp_path):
    # Per row, 8 + 1/rows falls by 4.6 % from 2 to 4 rows and by less than 3 % from 4 to 8.
    model = Timed(1.0, lambda n: 7.0 * n)
    assert best(model, tmp_path) == 4
    assert max(model.calls) == 16


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


def test_running_out_of_memory_halves_the_rows_for_good(caplog):
    model = Timed(1.0, lambda n: n, limit=5)
    score = Score(model, rows=32)
    x = torch.arange(12.0, dtype=torch.float64).view(3, 4) + 1
    found = integrated_gradients(score, x, torch.zeros_like(x), rule="middle", n_steps=10)
    torch.testing.assert_close(found, x**2)
    assert score.rows == 4
    assert "4 model rows" in caplog.text
    model.calls.clear()
    score.evaluate(x, None)
    assert model.calls == [3]
    score.rows = 32
    assert len(score.evaluate(torch.ones(9, 4), None)) == 9
    assert score.rows == 4


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
    throughput.best_rows(
        Score(net), cf.images(1), torch.tensor([0]), memory=tmp_path / "rows.json", weights="w"
    )
    assert all(p.requires_grad for p in net.parameters())
