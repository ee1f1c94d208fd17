"""IDGI on models with known answers: what it keeps, and what it gives up."""

from __future__ import annotations

import pytest
import torch

from igbench.core.score import Score
from igbench.integration.idgi import important_direction
from tests.helpers import closed_form as cf

TIGHT = {"rtol": 0, "atol": 1e-13}


def idgi(f, x, b=None, target=None, steps=50, rows=7):
    b = torch.zeros_like(x) if b is None else b
    return important_direction(Score(f, batch_size=rows), x, b, target, steps=steps)


@pytest.mark.parametrize("steps", [1, 6, 50])
def test_linear_models_share_by_squared_weights(steps):
    """f = w . x: w_i^2 / |w|^2 of f(x) - f(x'), 2 for w = (1, -2, 3)."""
    f, x = cf.linear(1, -2, 3), cf.row(1, 1, 1)
    torch.testing.assert_close(idgi(f, x, steps=steps), cf.row(1, 4, 9) * 2 / 14, **TIGHT)
    # A feature that stays where it is gets its share all the same: f - f' = -2 + 3.
    unmoved = idgi(f, x, cf.row(1, 0, 0), steps=steps)
    torch.testing.assert_close(unmoved, cf.row(1, 4, 9) / 14, **TIGHT)
    # One that f does not depend on gets none.
    assert float(idgi(cf.linear(1, 0), cf.row(1, 5), steps=steps)[0, 1]) == 0


def test_it_is_not_linear_in_f():
    x = cf.row(1, 1)
    apart = idgi(cf.linear(1, 1), x) + idgi(cf.linear(1, -1), x)
    torch.testing.assert_close(apart, cf.row(1, 1), **TIGHT)
    torch.testing.assert_close(idgi(cf.linear(2, 0), x), cf.row(2, 0), **TIGHT)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_completeness_is_exact_for_any_number_of_steps(steps):
    x, b, target = cf.images(4), cf.images(4, seed=5), torch.tensor([0, 1, 2, 3])
    score = Score(cf.small_net())
    change = score.evaluate(x, target) - score.evaluate(b, target)
    found = idgi(cf.small_net(), x, b, target, steps=steps)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), change, rtol=1e-10, atol=1e-12)


def test_shares_by_hand():
    # f = a^2 b at (2, 3), two steps: f = 0, 3, 12 and g = (0, 0), (3, 1).
    # The first change finds no gradient and waits for the second: 12 shared out as 9 to 1.
    torch.testing.assert_close(
        idgi(cf.square_times, cf.row(2, 3), steps=2), cf.row(10.8, 1.2), **TIGHT
    )


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_changes_without_gradient_are_not_lost(rows):
    # f = relu(1 - z) + relu(z - 1.9) from 0 to 2 in four steps: f = 1, .5, 0, 0, .1 and
    # g = -1, -1, 0, 0 (relu'(0) = 0): the last change goes back to the last gradient.
    found = idgi(
        lambda z: torch.relu(1 - z[:, 0]) + torch.relu(z[:, 0] - 1.9),
        cf.row(2),
        None,
        None,
        4,
        rows,
    )
    torch.testing.assert_close(found, cf.row(-0.9), **TIGHT)
    flat = idgi(lambda z: torch.relu(z[:, 0] - 1.9), cf.row(2), steps=4)
    assert float(flat.abs().max()) == 0


def test_cost_is_as_documented():
    score, x = Score(cf.small_net()), cf.images(2)
    important_direction(score, x, torch.zeros_like(x), torch.tensor([0, 1]), steps=9)
    assert (score.cost.forward, score.cost.backward) == (2 * 19, 2 * 9)
