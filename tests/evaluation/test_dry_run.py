"""A dry run counts every perturbed row, evaluates a few, and stands for the time of the others."""

from __future__ import annotations

import time

import pytest
import torch

from igbench.evaluation.dry_run import Excerpt, StandIn

NUMBERS = torch.arange(10.0)


def excerpt(batch_size: int = 2) -> tuple[Excerpt, list[float], list[int]]:
    """A scalar that sums its inputs, the seconds that it spares, and the draws that it asks for."""
    asked: list[int] = []
    spared: list[float] = []
    return Excerpt(lambda x: x, "logit", batch_size, spared=spared), spared, asked


@pytest.mark.parametrize("draws", [0, 1, 3, 4])
def test_two_calls_are_evaluated_as_they_are(draws):
    score, spared, _ = excerpt()
    out = score.evaluate_draws(draws, None, lambda draw: NUMBERS[draw][:, None])
    assert out.tolist() == NUMBERS[:draws].tolist()
    assert score.cost.forward == draws
    assert not spared


def test_further_draws_are_counted_and_repeat_the_first():
    score, spared, asked = excerpt()

    def build(draw: torch.Tensor) -> torch.Tensor:
        asked.extend(draw.tolist())
        time.sleep(0.01)
        return NUMBERS[draw][:, None]

    out = score.evaluate_draws(9, None, build)
    assert asked == [0, 1, 2, 3]
    assert out.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert score.cost.forward == 9
    assert sum(spared) >= 0.01 * (9 - 4) / 2, "the second call took 0.01 s for 2 draws"


def test_siblings_share_what_is_spared():
    score, spared, _ = excerpt()
    other = score.as_output("probability")
    other.evaluate_draws(9, torch.zeros(1, dtype=torch.int64), lambda draw: NUMBERS[draw][:, None])
    assert len(spared) == 1
    assert score.cost.forward == 9


def test_the_stand_in_returns_multiples_of_the_mean():
    x = torch.tensor([[1.0, 3.0], [0.0, -2.0]])
    assert StandIn(3, "", 2)(x).tolist() == [[2, 4, 6], [-1, -2, -3]]
