"""Integrals along curves other than the straight line, on models with known answers."""

from __future__ import annotations

import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.blur_path import blur_path
from igbench.integration.integrate import integrated_gradients
from igbench.integration.monotone import Curve, Power, Waypoints, along
from tests.helpers import closed_form as cf

ZERO = cf.row(0, 0)


def path(f, curve: Curve, steps=50, rows=7) -> Tensor:
    return along(Score(f, batch_size=rows), curve, steps=steps)


def pow3(x: Tensor) -> Curve:
    return Power(x, torch.full_like(x, -0.5), torch.tensor([0.5, 1.0, 4.0], dtype=x.dtype))


def corner(x: Tensor) -> Curve:
    via = torch.stack([x * torch.tensor([1.0, 0, 0]), x * torch.tensor([1.0, 1, 0])], dim=1)
    return Waypoints(x, torch.zeros_like(x), via)


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("make", [pow3, corner])
def test_linear_is_exact_on_every_curve(make, steps):
    # The increments add up to the displacement, so only float64 rounding is left.
    curve = make(cf.row(1, 1, 1))
    way = curve.x - curve.exact(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    expected = way * cf.row(1, -2, 3)
    torch.testing.assert_close(
        path(cf.linear(1, -2, 3), curve, steps), expected, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("powers", [(1.0, 3.0), (2.0, 2.0), (4.0, 0.5)])
def test_powers_share_a_product(powers):
    # integral of x2 dx1 = q1 / (q1 + q2) f.  The middle sum is O(1/n^2) for powers of at least 1;
    # a^0.5 has a corner at 0 that leaves O(n^-1.5) there, below 1e-4 for n = 2000.
    q1, q2 = powers
    x = cf.row(2, 3)
    found = path(cf.product, Power(x, ZERO, torch.tensor(powers, dtype=x.dtype)), 2000)
    expected = cf.row(6 * q1 / (q1 + q2), 6 * q2 / (q1 + q2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_one_power_for_all_features_is_the_line():
    # Same image, another pace: the error against Integrated Gradients is that of the middle sum,
    # so it falls four times when the steps double.
    x, b, target = cf.images(2), cf.images(2, seed=5), torch.tensor([1, 3])
    score = Score(cf.small_net())
    line = integrated_gradients(score, x, b, target, n_steps=60)
    errors = [
        float((along(score, Power(x, b, 3.0), target, steps=n) - line).abs().sum())
        for n in (100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[1] < 1e-3 * float(line.abs().sum())


def test_quadratic_differs_off_the_line_and_stays_complete():
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    x, b = cf.row(1, 2), cf.row(0, 1)
    line = path(cf.quadratic(a), Power(x, b, 1.0))
    torch.testing.assert_close(line, cf.row(2.5, 5), rtol=1e-12, atol=0)
    # p = (a, 1 + a^2): integral of (2 a + 1 + a^2) da = 7/3, and 7.5 - 7/3 for the other.
    bent = path(cf.quadratic(a), Power(x, b, torch.tensor([1.0, 2.0], dtype=x.dtype)), 2000)
    torch.testing.assert_close(bent, cf.row(7 / 3, 7.5 - 7 / 3), rtol=0, atol=1e-6)


def test_corners_give_all_to_the_last_and_shapley_on_average():
    # On an axis-parallel piece the other factor is constant: the middle sum is exact.
    x = cf.row(2, 3)
    first = path(cf.product, Waypoints(x, ZERO, torch.tensor([[[2.0, 0.0]]]).double()), 4)
    second = path(cf.product, Waypoints(x, ZERO, torch.tensor([[[0.0, 3.0]]]).double()), 4)
    torch.testing.assert_close(first, cf.row(0, 6), rtol=0, atol=1e-14)
    torch.testing.assert_close(second, cf.row(6, 0), rtol=0, atol=1e-14)
    torch.testing.assert_close((first + second) / 2, cf.row(3, 3), rtol=0, atol=1e-14)


def test_chunks_and_neighbours_do_not_matter():
    x, b, target = cf.images(5), cf.images(5, seed=4), torch.tensor([0, 1, 2, 3, 0])
    net = cf.small_net()
    for make in (lambda i: Power(x[i], b[i], 1.7), lambda i: blur_path(x[i], sigma=3.0)):
        whole = along(Score(net, batch_size=64), make(slice(None)), target, steps=6)
        for i in range(5):
            one = along(Score(net, batch_size=4), make(slice(i, i + 1)), target[i : i + 1], steps=6)
            torch.testing.assert_close(one, whole[i : i + 1], rtol=1e-9, atol=1e-14)


def test_bad_curves_are_refused():
    x = cf.row(1, 2)
    with pytest.raises(InputError, match="above zero"):
        Power(x, ZERO, 0.0)
    with pytest.raises(InputError, match=r"one\s+for each feature: \(2,\)"):
        Power(x, ZERO, torch.ones(3))
    with pytest.raises(InputError, match="in one direction"):
        Waypoints(x, ZERO, torch.tensor([[[0.5, 2.5]]]).double())
    with pytest.raises(InputError, match="in one direction"):
        Waypoints(x, ZERO, torch.tensor([[[0.5, -0.1]]]).double())
    with pytest.raises(InputError, match=r"expected \(N, W, \*F\)"):
        Waypoints(x, ZERO, x)


# -- blur -----------------------------------------------------------------------------------


def laplacian(n: int) -> Tensor:
    """Second differences with mirrored ends, written out."""
    matrix = torch.diag(torch.full((n,), -2.0)).double()
    for i in range(n - 1):
        matrix[i, i + 1] = matrix[i + 1, i] = 1
    matrix[0, 0] = matrix[n - 1, n - 1] = -1
    return matrix


def blurred(x: Tensor, sigma: float) -> Tensor:
    """The heat equation solved by a matrix exponential, rows and columns one after the other."""
    up, across = (
        torch.from_numpy(expm(0.5 * sigma**2 * laplacian(n).numpy())) for n in x.shape[2:]
    )
    return up @ x @ across


@pytest.mark.parametrize("pace", [1.0, 2.0])
def test_points_solve_the_heat_equation(pace):
    x = torch.cat([cf.images(2), cf.images(2, seed=8)], dim=3)[:, :, :5]  # 5 x 16
    curve = blur_path(x, sigma=4.0, pace=pace)
    for a in (0.0, 0.3, 0.9, 1.0):
        found = curve.exact(torch.tensor([1, 0]), torch.full((2,), a, dtype=torch.float64))
        expected = blurred(x, 4.0 * (1 - a) ** pace)[[1, 0]]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_blur_spreads_a_point_by_its_variance_and_keeps_its_mass():
    x = torch.zeros(1, 1, 61, 61, dtype=torch.float64)
    x[0, 0, 30, 30] = 1
    out = blur_path(x, sigma=3.0).exact(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    offset = torch.arange(61, dtype=torch.float64) - 30
    assert float(out.sum()) == pytest.approx(1, abs=1e-12)
    # The edges are 10 sigma away: what they mirror is below e^-50.
    assert float((out[0, 0].sum(dim=1) * offset**2).sum()) == pytest.approx(9, abs=1e-10)
    assert float(out.min()) >= -1e-15


@pytest.mark.parametrize("pace", [1.0, 2.0])
def test_blur_ig_converges_to_the_change_of_the_output(pace):
    x, target = cf.images(3), torch.tensor([0, 1, 3])
    score = Score(cf.small_net())
    curve = blur_path(x, sigma=4.0, pace=pace)
    change = score.evaluate(x, target) - score.evaluate(blurred(x, 4.0), target)
    gaps = [
        along(score, curve, target, steps=n).sum(dim=(1, 2, 3)).sub(change).abs().sum()
        for n in (40, 80, 160)
    ]
    assert float(gaps[0] / gaps[1]) == pytest.approx(4, rel=0.1)
    assert float(gaps[1] / gaps[2]) == pytest.approx(4, rel=0.05)
    assert float(gaps[2]) < 1e-2 * float(change.abs().sum())


def test_blur_ig_of_a_linear_model_is_the_weighted_change_of_the_image():
    x = cf.images(2)
    w = cf.images(1, seed=9)
    found = along(Score(lambda z: (z * w).sum(dim=(1, 2, 3))), blur_path(x, sigma=5.0), steps=1)
    torch.testing.assert_close(found, w * (x - blurred(x, 5.0)), rtol=0, atol=1e-12)


def test_blur_needs_images_and_a_width():
    with pytest.raises(InputError, match="needs images"):
        blur_path(cf.row(1, 2), sigma=1.0)
    with pytest.raises(InputError, match="sigma is 0"):
        blur_path(cf.images(1), sigma=0.0)
