"""Sparseness, complexity and effective complexity: closed forms and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from igbench.core.batch import Measurement, Metric
from igbench.errors import InputError
from igbench.metrics.sparsity import Complexity, EffectiveComplexity, Sparseness
from tests.helpers import closed_form as cf

EXACT = {"rel": 1e-12, "abs": 1e-14}
ALL = [Sparseness(), Complexity(), EffectiveComplexity()]


def of(metric: Metric, phi: Tensor, **common) -> list[float]:
    """The model is never asked."""
    found = metric(lambda x: x.flatten(1).sum(dim=1), phi, phi, **common)
    assert isinstance(found, Measurement)
    return found.tolist()


@pytest.mark.parametrize(
    ("phi", "gini"),
    [((0, 0, 0, 1), 0.75), ((1, 2, 3, 4), 0.25), ((2, 2, 2, 2), 0), ((-4, 1, -2, 3), 0.25)],
)
def test_gini_by_hand(phi, gini):
    assert of(Sparseness(), cf.row(*phi)) == pytest.approx([gini], **EXACT)


@pytest.mark.parametrize(
    ("phi", "entropy"),
    [
        ((1, 2, 3, 4), 1.2798542258336676),
        ((0, 0, 0, 1), 0),
        ((3, 3, 3, 3), math.log(4)),
        ((-4, 1, -2, 3), 1.2798542258336676),
    ],
)
def test_entropy_by_hand(phi, entropy):
    assert of(Complexity(), cf.row(*phi)) == pytest.approx([entropy], **EXACT)


def test_gini_and_entropy_against_other_formulas():
    phi = cf.images(4).flatten(1) ** 3
    a = np.abs(phi.numpy())
    # Gini: mean absolute difference over twice the mean.
    gini = [np.abs(r[:, None] - r[None, :]).mean() / (2 * r.mean()) for r in a]
    assert of(Sparseness(), phi) == pytest.approx(gini, **EXACT)
    assert of(Complexity(), phi) == pytest.approx([stats.entropy(r) for r in a], **EXACT)


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (0.2, 3), (0.25, 2), (0.6, 1), (0.9, 1)])
def test_effective_complexity_counts(threshold, count):
    # |phi| / max = 1, .25, .5, 0: the threshold itself is not above the threshold.
    phi = cf.row(-4, 1, 2, 0)
    assert of(EffectiveComplexity(threshold=threshold), phi) == [count]


@pytest.mark.parametrize("metric", ALL)
def test_scale_sign_and_order_do_not_matter(metric):
    phi = cf.images(3).flatten(1) - 0.4
    g = torch.Generator().manual_seed(0)
    shuffled = phi[:, torch.randperm(phi.shape[1], generator=g)]
    expected = of(metric, phi)
    for other in (shuffled, -7.5 * phi, 1e-9 * phi):
        assert of(metric, other) == pytest.approx(expected, rel=1e-10)


def test_entropy_is_highest_and_gini_lowest_for_flat_maps():
    flat, phi = torch.ones(3, 192, dtype=torch.float64), cf.images(3).flatten(1)
    assert of(Complexity(), flat) == pytest.approx([math.log(192)] * 3, **EXACT)
    assert all(a < b for a, b in zip(of(Complexity(), phi), of(Complexity(), flat), strict=True))
    assert of(EffectiveComplexity(), flat) == [192] * 3
    assert of(Sparseness(), flat) == pytest.approx([0] * 3, **EXACT)


@pytest.mark.parametrize("metric", ALL)
def test_a_map_of_zeros_has_no_value(metric):
    phi = cf.images(2)
    phi[1] = 0
    first, second = of(metric, phi)
    assert math.isfinite(first)
    assert math.isnan(second)


@pytest.mark.parametrize("metric", ALL)
def test_channels_of_a_pixel_are_summed(metric):
    phi = cf.images(2) - 0.5
    merged = phi.sum(dim=1, keepdim=True)
    assert of(metric, phi, features="pixel") == pytest.approx(of(metric, merged), **EXACT)
    # Channels that cancel leave nothing.
    cancel = torch.cat([phi[:, :1], -phi[:, :1]], dim=1)
    assert all(math.isnan(v) for v in of(metric, cancel, features="pixel"))


def test_threshold_is_checked():
    with pytest.raises(InputError, match="threshold is 1"):
        EffectiveComplexity(threshold=1)
