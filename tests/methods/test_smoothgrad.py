"""SmoothGrad, its square and its variance: closed forms of quadratics and of relu, and Captum."""

from __future__ import annotations

import math
from dataclasses import replace

import captum.attr
import pytest
import torch
import yaml
from torch import nn

from igbench.config import build, compose
from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.expected import noisy_copy
from igbench.methods import SmoothGrad, SmoothGradSquared, VarGrad
from tests.helpers import closed_form as cf

ALL = (SmoothGrad, SmoothGradSquared, VarGrad)
NAMES = ("smoothgrad", "smoothgrad_squared", "vargrad")
A = torch.tensor([[2.0, 1], [1, 3]], dtype=torch.float64)


def batch_of(f, x, target=None, ids=None) -> Batch:
    ids = tuple(f"s{i}" for i in range(len(x))) if ids is None else tuple(ids)
    return Batch(Score(f, batch_size=7), x, torch.zeros_like(x), target, ids)


def copies(x, draws, noise, sample_id="s0"):
    return torch.stack([noisy_copy(x, noise, 0, sample_id, d) for d in range(draws)])


@pytest.mark.parametrize("name", NAMES)
def test_configurations_name_every_argument_with_its_default(name):
    node = yaml.safe_load((compose.FOLDER / "method" / f"{name}.yaml").read_text())[name]
    made = build.construct(node, name)
    assert made == type(made)()
    assert set(node) - {"_target_"} == set(vars(made))
    assert (made.draws, made.noise, made.spec.kind) == (50, 0.15, "local")
    assert made.spec.signed == (name == "smoothgrad")


@pytest.mark.parametrize("draws", [2, 5, 20])
def test_a_quadratic_at_the_noise_that_was_drawn(draws):
    """The gradients are A (x + e), so the maps are moments of numbers that are known."""
    x = cf.row(1, 2)
    g = copies(x[0], draws, 0.5) @ A
    batch = batch_of(cf.quadratic(A), x)
    expected = (g.mean(0), g.square().mean(0), g.var(0, correction=1))
    for method, value in zip(ALL, expected, strict=True):
        found = method(draws=draws, noise=0.5)(batch)[0]
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-12)


def test_a_quadratic_within_the_standard_error():
    """M16: Ax = (4, 7), (Ax)^2 + s^2 (AA')_ii = (17.25, 51.5), s^2 (AA')_ii = (1.25, 2.5)."""
    n, s = 3000, 0.5
    batch = batch_of(cf.quadratic(A), cf.row(1, 2))
    mean, square = cf.row(4, 7)[0], cf.row(17.25, 51.5)[0]
    v = cf.row(1.25, 2.5)[0]
    errors = (v.sqrt(), (2 * v.square() + 4 * mean.square() * v).sqrt(), v * math.sqrt(2))
    for method, value, error in zip(ALL, (mean, square, v), errors, strict=True):
        found = method(draws=n, noise=s)(batch)[0]
        assert bool(((found - value).abs() <= 4 * error / math.sqrt(n)).all()), method


def test_relu_smoothed_is_a_normal_probability():
    """C20: the gradient of relu at x = s is 1 with probability Phi(1) = .8413."""
    n, p = 3000, 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    x = cf.row(1, 0)  # of range 1, so that noise=1 is s=1
    found = SmoothGrad(n, 1.0)(batch_of(lambda z: torch.relu(z[:, 0]), x))[0, 0]
    assert abs(float(found) - p) < 4 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(
    ("method", "nt_type", "factor"),
    [
        (SmoothGrad, "smoothgrad", 1.0),
        (SmoothGradSquared, "smoothgrad_sq", 1.0),
        (VarGrad, "vargrad", 6 / 5),  # Captum's variance is the biased one
    ],
)
def test_captum_at_equal_noise(monkeypatch, method, nt_type, factor):
    net, x, target = cf.small_net(), cf.images(1), torch.tensor([2])
    noise = copies(x[0], 6, 0.2) - x
    monkeypatch.setattr(torch, "normal", lambda _mean, _std: noise)
    score = Score(net)
    theirs = captum.attr.NoiseTunnel(captum.attr.Saliency(score)).attribute(
        x, nt_type=nt_type, nt_samples=6, abs=False, additional_forward_args=(target,)
    )
    found = method(6, 0.2)(batch_of(net, x, target))
    torch.testing.assert_close(found, factor * theirs, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("method", ALL)
def test_noise_is_a_share_of_the_range_of_each_sample(method):
    """Moving a sample, or scaling it and f's argument, does not change what noise does to it."""
    x = cf.row(1, 2)
    plain = method(4, 0.3)(batch_of(cf.quadratic(A), x))
    moved = method(4, 0.3)(batch_of(lambda z: cf.quadratic(A)(z - 9), x + 9))
    torch.testing.assert_close(plain, moved)
    scaled = method(4, 0.3)(batch_of(lambda z: cf.quadratic(A)(z / 4), 4 * x))
    power = 1 if method is SmoothGrad else 2
    torch.testing.assert_close(plain, scaled * 4**power)


@pytest.mark.parametrize("method", ALL)
def test_maps_do_not_depend_on_their_neighbours(method):
    net, x, target = cf.small_net(), cf.images(3), torch.tensor([0, 1, 3])
    whole = method(9, 0.1)(batch_of(net, x, target, "abc"))
    for i in range(3):
        alone = method(9, 0.1)(batch_of(net, x[i : i + 1], target[i : i + 1], "abc"[i]))
        assert torch.equal(alone[0], whole[i])
    again = replace(batch_of(net, x, target, "abc"), seed=1)
    assert not torch.equal(method(9, 0.1)(again), whole)


def test_cost_is_one_gradient_a_draw():
    batch = batch_of(cf.quadratic(A), cf.row(1, 2))
    VarGrad(draws=9)(batch)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (9, 9)


def test_where_f_is_linear_the_variance_is_exactly_zero():
    found = VarGrad()(batch_of(lambda z: 0.1 * z[:, 0] + 1e8 * z[:, 1], cf.row(1, 2)))
    assert found.tolist() == [[0.0, 0.0]]


def test_arguments_out_of_range():
    for method, wrong in (
        (SmoothGrad, {"draws": 0}),
        (SmoothGradSquared, {"noise": 0}),
        (VarGrad, {"draws": 1}),
        (VarGrad, {"draws": 2.5}),
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            method(**wrong)


def test_smoothgrad_as_configured_keeps_the_sign():
    node = compose.compose(["experiment=digits_resnet", "method=[smoothgrad]"])["method"]
    method = build.construct(node["smoothgrad"], "smoothgrad")
    net = nn.Sequential(nn.Flatten(), Negative()).eval()
    assert bool((method(batch_of(net, torch.rand(2, 1, 8, 8))) == -1).all())


class Negative(nn.Module):
    def forward(self, x):
        return -x.sum(dim=1)
