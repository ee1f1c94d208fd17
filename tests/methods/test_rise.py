"""RISE: known answers under all masks, errors of drawn ones, and the masks themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from igbench.core.batch import Batch
from igbench.core.perturb import all_subsets
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import Rise, explain
from igbench.surrogates.random_masks import draw_masks, enlarging, shown
from tests.helpers import closed_form as cf
from tests.methods.test_lime import exclusive, majority, parity
from tests.methods.test_occlusion import scalar, weights

F64 = torch.float64
QUADRATIC = cf.quadratic(torch.tensor([[2.0, 1], [1, 3]], dtype=F64))

CASES = {  # function, point, what is shown as published, mean of f
    "linear": (cf.linear(1, -2, 3), (1, 1, 1), (1.5, 0, 2.5), 1),
    "quadratic": (QUADRATIC, (1, 2), (5, 7.5), 4),
    "exclusive or": (exclusive, (1, 1), (0.5, 0.5), 0.5),
    "parity": (parity, (1, 1, 1), (0.5,) * 3, 0.5),
    "product": (cf.product, (1, 1, 1), (0.25,) * 3, 0.125),
    "majority": (majority, (1, 1, 1), (0.75,) * 3, 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_all_masks_of_cells_that_are_elements(name):
    f, x, expected, mean = CASES[name]
    table = all_subsets(len(x)).double()
    values = f(table * cf.row(*x))
    found = shown(values, lambda numbers: table[numbers], p=0.5)
    assert found.mean.tolist() == pytest.approx(expected, abs=1e-12)
    centred = [2 * (s - mean) for s in expected]  # (S - E f) / (1 - p)
    assert (found.covariance / 0.25).tolist() == pytest.approx(centred, abs=1e-12)


def test_parity_where_few_are_shown():
    """p = 0.1: each mask as often as its probability says, of a thousand."""
    table = all_subsets(3)
    often = 0.1 ** table.sum(dim=1) * 0.9 ** (3 - table.sum(dim=1)) * 1000
    masks = table.repeat_interleave(often.round().long(), dim=0).double()
    assert len(masks) == 1000
    values = parity(masks)
    assert float(values.mean()) == pytest.approx(0.244)
    found = shown(values, lambda numbers: masks[numbers], p=0.1)
    assert found.mean.tolist() == pytest.approx([0.82] * 3, abs=1e-12)


def test_the_standard_error_is_that_of_a_mean_of_products():
    """Of 150 masks, in three blocks."""
    table, f = weights(150, 5).sigmoid(), weights(150)
    found = shown(f, lambda numbers: table[numbers], p=0.4)
    products = (f - f.mean())[:, None] * (table - 0.4)
    torch.testing.assert_close(found.covariance, products.mean(dim=0), rtol=1e-10, atol=1e-14)
    error = products.std(dim=0, correction=0) / 150**0.5
    torch.testing.assert_close(found.std_error, error, rtol=1e-10, atol=0)
    mean = (f[:, None] * table).sum(dim=0) / table.sum(dim=0)
    torch.testing.assert_close(found.mean, mean, rtol=1e-10, atol=0)


def pixels(f):
    """A function of vectors as one of images of one row, of which pixels alone are cells."""
    return lambda z: f(z[:, 0, 0])


@pytest.mark.parametrize("name", CASES)
def test_drawn_cells_of_one_pixel_agree_within_four_standard_errors(name):
    f, x, expected, mean = CASES[name]
    point = cf.row(*x)[:, None, None]
    method = Rise(cells=len(x), samples=800)
    batch = Batch(Score(pixels(f)), point, 0 * point, None, ("a",))
    masks, found = method.estimate(batch, 0)
    assert masks.area == pytest.approx(1)
    centred = torch.tensor([s - mean for s in expected], dtype=F64) / 2
    gap = (found.covariance[0] - centred).abs()
    assert bool((gap <= 4 * found.std_error[0] + 1e-12).all())
    assert float(found.std_error.max()) < 0.1 * max(1, float(f(cf.row(*x)).abs()))
    torch.testing.assert_close(method(batch)[0, 0], found.covariance * 4, rtol=1e-12, atol=0)
    published = Rise(cells=len(x), samples=800, centred=False)(batch)
    torch.testing.assert_close(published[0, 0], found.mean, rtol=1e-12, atol=0)
    assert batch.score.cost.forward == 3 * 800


def test_masks_are_the_interpolated_grids():
    masks = draw_masks((10, 13), samples=40, cells=3, p=0.5, seed=1, sample_id="a")
    found = masks(torch.arange(40))
    assert found.shape == (40, 10, 13)
    for k in (0, 17, 39):
        large = nn.functional.interpolate(
            masks.cells[k].double()[None, None], size=(16, 20), mode="bilinear"
        )[0, 0]
        top, left = masks.shifts[k].tolist()
        torch.testing.assert_close(
            found[k], large[top : top + 10, left : left + 13], rtol=1e-12, atol=1e-14
        )
    assert int(masks.shifts[:, 0].max()) == 3
    assert int(masks.shifts[:, 1].max()) == 4
    fewer = draw_masks((10, 13), samples=7, cells=3, p=0.5, seed=1, sample_id="a")
    assert torch.equal(fewer.cells, masks.cells[:7])
    assert torch.equal(fewer.shifts, masks.shifts[:7])


def test_every_pixel_is_shown_as_often():
    masks = draw_masks((12, 12), samples=4000, cells=3, p=0.3, seed=0, sample_id="a")
    means = masks(torch.arange(4000)).mean(dim=0)
    # The standard deviation of a mask is at most sqrt(.3 .7), so 4 errors are .029.
    assert float((means - 0.3).abs().max()) < 0.029


def test_equal_contributions_sum_to_the_change_of_f():
    """The expected covariance of the masks themselves, from all cells and shifts."""
    h, w, cells, p = 8, 12, 4, 0.5
    tall, wide = enlarging(h, cells), enlarging(w, cells)
    along = [torch.einsum("kac,kbc->ab", u, u) / len(u) for u in (tall, wide)]
    covariance = p * (1 - p) * along[0].sum(dim=1)[:, None] * along[1].sum(dim=1)
    masks = draw_masks((h, w), samples=2, cells=cells, p=p, seed=0, sample_id="a")
    phi = covariance / (p * (1 - p) * masks.area)  # of f = the sum of the pixels
    assert float(phi.sum()) == pytest.approx(h * w, abs=1e-9)
    assert float(phi[h // 2, w // 2]) > 1 > float(phi[0, 0]) > 0.3


def test_channels_share_and_sum():
    x = torch.ones(1, 3, 9, 9, dtype=F64)
    found = explain(Rise(cells=3, samples=600), lambda z: z.flatten(1).sum(dim=1), x)
    assert torch.equal(found[0, 0], found[0, 2])
    # The sum of the map is 243 times the variance of f over the masks, over what is expected: its
    # relative error is sqrt(2 / 600) = 6 % for a normal f; 4 of them.
    assert float(found.sum()) == pytest.approx(243, rel=0.24)


def test_maps_depend_on_the_sample_alone():
    net, x = cf.small_net(), cf.images(3)
    target = torch.tensor([0, 1, 2])
    method = Rise(cells=4, samples=90)

    def batch(index, rows):
        ids = tuple("abc"[k] for k in index)
        return Batch(Score(net, batch_size=rows), x[index], 0 * x[index], target[index], ids)

    whole = method(batch([0, 1, 2], 64))
    turned = method(batch([2, 0], 7))
    torch.testing.assert_close(turned, whole[[2, 0]], rtol=1e-10, atol=1e-14)


def test_what_is_refused():
    for wrong in ({"cells": 0}, {"p": 0.0}, {"p": 1.0}, {"p": float("nan")}, {"samples": 1}):
        with pytest.raises(InputError):
            Rise(**wrong)
    with pytest.raises(NotDefinedError, match="rise needs images, not inputs of shape"):
        explain(Rise(), cf.product, cf.row(1, 2))
    x = weights(1, 1, 8, 8)
    rare = Rise(cells=8, p=0.01, samples=3, centred=False)
    with pytest.raises(NotDefinedError, match="3 masks never show some pixels"):
        explain(rare, scalar(weights(1, 8, 8)), x)


def test_centred_is_global_and_published_is_local():
    assert (Rise().spec.kind, Rise(centred=False).spec.kind) == ("global", "local")
    assert Rise().spec.title == "RISE, centred (1000 masks, 7 cells, p 0.5)"
