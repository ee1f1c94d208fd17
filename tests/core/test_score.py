"""Chunks of few sizes: rows that fill a chunk up are neither counted nor returned."""

from __future__ import annotations

import pytest
import torch

from igbench.core import score as module
from igbench.core.inference import Compiled, InferenceOptions
from igbench.core.score import Score

X = torch.arange(26.0).view(13, 2)
TARGET = torch.tensor([0, 1] * 6 + [1])


@pytest.fixture
def sizes(monkeypatch):
    """Numbers of rows of all calls of `squares`, on a device that prepares for each."""
    monkeypatch.setattr(module, "PREPARED", frozenset({"cpu"}))
    SEEN.clear()
    return SEEN


SEEN: list[int] = []


def squares(x):
    SEEN.append(len(x))
    return x.square()


def test_rows_are_filled_up_to_few_sizes(sizes):
    score = Score(squares, batch_size=8)
    found = score.evaluate(X, TARGET)
    assert sizes == [8, 8]
    assert torch.equal(found, X.square().gather(1, TARGET[:, None])[:, 0])
    assert score.cost.forward == 13
    assert torch.equal(score.evaluate(X[:3], TARGET[:3]), found[:3])
    assert sizes[2:] == [4]


def test_draws_are_filled_up_without_a_target_too(sizes):
    score = Score(lambda x: squares(x).sum(dim=1), batch_size=6)
    found = score.evaluate_draws(9, None, lambda d: X[d])
    assert sizes == [6, 4]
    assert torch.equal(found, X[:9].square().sum(dim=1))
    assert score.cost.forward == 9


def test_a_compiled_model_sees_few_sizes_on_any_device():
    SEEN.clear()
    quick = InferenceOptions(compiled=Compiled(torch.nn.Identity(), "eager"))
    quick.compiled._call = squares
    score = Score(squares, batch_size=8, quick=quick)
    assert score.evaluate_draws(5, torch.tensor([1]), lambda d: X[d]).tolist() == [1, 9, 25, 49, 81]
    assert SEEN == [8]


def test_elsewhere_no_row_is_added():
    SEEN.clear()
    Score(squares, batch_size=8).evaluate(X, TARGET)
    assert SEEN == [8, 5]


def test_a_failed_call_counts_nothing(sizes):
    def fails(x):
        raise ValueError("broken")

    score = Score(fails, batch_size=8)
    with pytest.raises(ValueError, match="broken"):
        score.evaluate(X, TARGET)
    assert score.cost.forward == 0
