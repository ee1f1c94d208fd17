"""XRAI: regions, their growth, and the sum that stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igbench.baselines import Constant, Zero
from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError, NotDefinedError
from igbench.methods import AveragedIG, Xrai, explain
from igbench.surrogates.regions import grow, regions
from tests.helpers import closed_form as cf
from tests.helpers.toy import toy_model

RNG = np.random.default_rng(4)


def test_disjoint_segments_get_their_means():
    numbers = np.repeat(np.repeat(np.arange(6).reshape(2, 3), 4, axis=0), 5, axis=1)
    values = RNG.normal(size=numbers.shape)
    found = grow(values, np.stack([numbers == k for k in range(6)]))
    means = np.array([values[numbers == k].mean() for k in range(6)])
    assert found == pytest.approx(means[numbers], abs=1e-12)


def test_overlapping_segments_keep_the_sum():
    values = RNG.normal(size=(20, 20))
    masks = RNG.random((40, 20, 20)) < RNG.random((40, 1, 1))
    for least in (1, 10, 60, 500):
        found = grow(values, masks, least)
        assert float(found.sum()) == pytest.approx(float(values.sum()), abs=1e-10)
    assert found == pytest.approx(np.full((20, 20), values.mean()))  # no segment is large enough


def test_the_order_of_growth_by_hand():
    """Of 8 2 | 6 4 and 0 0: the pair (8, 2, 6) has mean 16/3 and (8) has 8; then (2, 6) gets 4."""
    values = np.array([[8.0, 2, 6, 4, 0, 0]])
    masks = np.zeros((3, 1, 6), dtype=bool)
    masks[0, 0, :3] = masks[1, 0, 0] = masks[2, 0, 2:4] = True
    # 8 first; then (2, 6) has 4 and (6, 4) has 5; then 2 alone; the zeros are not covered.
    assert grow(values, masks).tolist() == [[8, 2, 5, 5, 0, 0]]
    # With two new pixels at least, (8) is left out: 16/3 first, then (4) is too small.
    assert grow(values, masks, least=2)[0].tolist() == pytest.approx([16 / 3] * 3 + [4 / 3] * 3)


def test_segments_are_those_of_the_image_whatever_its_units():
    image = np.zeros((3, 64, 64))
    image[:, 16:48, 24:40] = RNG.random((3, 1, 1)) + 1
    found = regions(image)
    assert found.shape[1:] == (64, 64)
    assert found.any(axis=0).all()
    assert np.array_equal(found, regions(40 * image - 7))
    inside = found[found[:, 32, 32]]
    assert inside.sum(axis=(1, 2)).min() < 0.4 * 64 * 64
    assert np.array_equal(regions(np.ones((1, 8, 8)), [50]), np.ones((1, 8, 8), dtype=bool))


DATA = digits(toy_model(tuple("0123456789"), None), limit=2)


def test_the_map_sums_to_what_integrated_gradients_do():
    net = cf.SmallNet(channels=1).double()
    x = torch.stack([DATA.load(i) for i in range(2)]).double()
    batch = Batch(Score(net), x, 0 * x, torch.tensor([1, 2]), ("a", "b"))
    found = Xrai(n_steps=6, data=DATA)(batch)
    base = AveragedIG(("black", "white"), n_steps=6, data=DATA)(batch)
    torch.testing.assert_close(
        found.flatten(1).sum(dim=1), base.flatten(1).sum(dim=1), rtol=1e-10, atol=1e-12
    )
    assert len(found[0].unique()) < len(base[0].unique())
    other = Xrai(n_steps=6, data=DATA)(batch.select(slice(1, 2)))
    torch.testing.assert_close(other, found[1:], rtol=1e-10, atol=1e-14)


def test_channels_are_summed_and_share():
    """Of contributions (1, -3) at every pixel, the sum -2 stays, and not the largest, 1."""
    x = torch.ones(1, 2, 8, 8, dtype=torch.float64)
    x[..., 4:] = 2
    w = torch.tensor([1.0, -3.0], dtype=torch.float64)
    batch = Batch(Score(lambda z: (z.mean(dim=(2, 3)) * w).sum(dim=1)), x, 0 * x, None, ("a",))
    found = Xrai((Zero(), Constant(0.5)), n_steps=2, data=DATA)(batch)
    assert float(found.sum()) == pytest.approx(-2 * 1.5 + 2 * 0.25, abs=1e-12)
    assert torch.equal(found[0, 0], found[0, 1])


def test_what_is_refused():
    with pytest.raises(NotDefinedError, match="xrai needs images"):
        explain(Xrai(), cf.product, cf.row(1, 2))
    with pytest.raises(InputError, match="xrai needs the data"):
        explain(Xrai(), lambda z: z.flatten(1).sum(dim=1), torch.ones(1, 1, 8, 8))
    for wrong in ({"scales": ()}, {"scales": (50, 0)}, {"baselines": ("blak",)}):
        with pytest.raises(InputError):
            Xrai(**wrong)
