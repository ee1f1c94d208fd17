"""GradientSHAP: closed forms with and without noise, Captum as the oracle, keys and costs."""

from __future__ import annotations

import pytest
import torch

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import Captum, GradientShap, IntegratedGradients, explain
from tests.helpers import closed_form as cf

A = torch.tensor([[2.0, 1, 0], [1, 3, -1], [0, -1, 1]], dtype=torch.float64)
X, START = cf.row(1, 2, -1), cf.row(0.5, 0, 1)


def with_noise(noise: float) -> torch.Tensor:
    """D_i (A (x + x') / 2)_i + s^2 A_ii / 2, for .5 x'Ax: E of (D + e) A (x' + a (D + e))."""
    middle = ((X + START) / 2) @ A
    return ((X - START) * middle + noise**2 * A.diagonal() / 2)[0]


def over_seeds(method, seeds: int) -> tuple[torch.Tensor, torch.Tensor]:
    f = cf.quadratic(A)
    maps = torch.cat([explain(method, f, X, baselines=START, seed=s) for s in range(seeds)])
    return maps.mean(dim=0), maps.std(dim=0) / seeds**0.5


def test_without_noise_it_is_integrated_gradients():
    x, target = cf.images(2), torch.tensor([1, 3])
    found = explain(GradientShap(), cf.small_net(), x, target=target)
    line = explain(IntegratedGradients(), cf.small_net(), x, target=target)
    # Jittered strata: unbiased, errors of order n^-1.5 of the variation; 1 % is loose.
    assert float((found - line).abs().sum()) < 0.01 * float(line.abs().sum())


def test_linear_models_are_exact():
    found = explain(GradientShap(draws=1), cf.linear(1, -2, 3), X, baselines=START)
    torch.testing.assert_close(found, (X - START) * cf.row(1, -2, 3), rtol=0, atol=1e-14)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_quadratic_within_four_standard_errors(noise):
    mean, error = over_seeds(GradientShap(draws=20, noise=noise), 60)
    assert bool(((mean - with_noise(noise)).abs() <= 4 * error + 1e-12).all())


def test_captum_has_the_same_expectation_and_a_larger_error():
    arguments = {"n_samples": 20, "stdevs": 0.5}
    captum = Captum("GradientShap", "", "", "global", True, arguments=arguments)
    mean, error = over_seeds(captum, 60)
    assert bool(((mean - with_noise(0.5)).abs() <= 4 * error + 1e-6).all())
    ours = over_seeds(GradientShap(draws=20, noise=0.5), 60)[1]
    assert float(ours.norm()) < float(error.norm())


def batch_of(n: int, ids: str = "abcd", seed: int = 0) -> Batch:
    x = cf.images(n)
    score = Score(cf.small_net(), batch_size=7)
    return Batch(score, x, 0 * x, torch.tensor([0, 2, 1, 3][:n]), tuple(ids[:n]), seed=seed)


@pytest.mark.parametrize("noise", [0.0, 0.09])
def test_draws_hang_on_seed_and_sample(noise):
    method, batch = GradientShap(draws=9, noise=noise), batch_of(3)
    found = method(batch)
    again = method(batch.select(torch.tensor([2, 0])))
    torch.testing.assert_close(again, found[[2, 0]], rtol=1e-12, atol=1e-15)
    assert not torch.equal(method(batch_of(3, seed=1)), found)
    assert not torch.equal(method(batch_of(3, ids="abz"))[2], found[2])


def test_cost_and_title():
    batch = batch_of(2)
    GradientShap(draws=11)(batch)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (22, 22)
    assert GradientShap().spec.title == "GradientSHAP (200 draws, noise 0)"


def test_refusals():
    with pytest.raises(InputError, match="draws=0 must be a whole number"):
        GradientShap(draws=0)
    with pytest.raises(InputError, match="noise is -1"):
        GradientShap(noise=-1)
