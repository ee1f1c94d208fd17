"""Metrics of Quantus: the same numbers as called directly, and no trace of the call."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from igbench.core import rng
from igbench.errors import InputError
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation
from igbench.metrics.quantus import Quantus, metric_class, quiet
from igbench.metrics.sparsity import Sparseness
from tests.helpers import closed_form as cf

COMMON = {"title": "t", "reference": "r", "direction": "higher"}
CORRELATION = Quantus(
    "FaithfulnessCorrelation",
    **COMMON,
    arguments={"nr_runs": 30, "normalise": False},
    fractions={"subset_size": 0.5},
    fill="baseline",
)
SPARSENESS = Quantus("Sparseness", **COMMON)


def value(metric, phi, f=None, x=None, **common) -> list[float]:
    x = phi if x is None else x
    return metric(f or (lambda z: z.flatten(1).sum(dim=1)), x, phi, **common).tolist()


def explain(x, target):
    return x**2


def test_the_number_is_that_of_quantus():
    net, x, phi = cf.small_net(torch.float32), cf.images(3), cf.images(3, seed=8)
    target = torch.tensor([0, 3, 1])
    metric = Quantus(
        "FaithfulnessCorrelation",
        **COMMON,
        arguments={"nr_runs": 20, "subset_size": 40, "perturb_baseline": "mean"},
        repeats=1,
    )
    common = {"target": target, "sample_ids": ["a", "b", "c"], "seed": 3}
    found = value(metric, phi.float(), net, x.float(), **common)
    with quiet():
        theirs = metric_class("FaithfulnessCorrelation")(
            nr_runs=20,
            subset_size=40,
            perturb_baseline="mean",
            disable_warnings=True,
            return_aggregate=False,
        )
        for i, sample in enumerate("abc"):
            with rng.global_state(3, "quantus.FaithfulnessCorrelation", sample):
                direct = theirs(
                    model=net,
                    x_batch=x[i : i + 1].float().double().numpy(),
                    y_batch=target[i : i + 1].numpy(),
                    a_batch=phi[i : i + 1].float().double().numpy(),
                    channel_first=True,
                )
            # float32 outputs of order 1 with other batch shapes: 1e-6.
            assert found[i] == pytest.approx(direct[0], abs=1e-4)


def test_it_estimates_what_ours_does():
    # Both draw sets of half of the elements; ours enumerates all 70 of them.
    f, x, phi = cf.ridge, cf.row(0.7, -0.4, 1, 2, 0.1, -1, 0.5, 0.3), cf.row(*range(8))
    exact = float(FaithfulnessCorrelation(n=4, subsets="all")(f, x, phi))
    many = replace(CORRELATION, arguments={"nr_runs": 4000, "normalise": False})
    # Standard error of a correlation of 4,000 pairs: at most 1 / sqrt(4000).
    assert value(many, phi, f, x)[0] == pytest.approx(exact, abs=5 / math.sqrt(4000))
    assert abs(exact) < 0.95


def test_baseline_of_the_sample_is_used():
    f, x, b = cf.product, cf.row(2, 3, 5, 7), cf.row(1, 2, 1, 2)
    phi = cf.row(4, -1, 2, 3)
    found = [value(CORRELATION, phi, f, x, baselines=base)[0] for base in (b, 0.0)]
    exact = float(FaithfulnessCorrelation(n=2, subsets="all")(f, x, phi, baselines=b))
    assert found[0] == pytest.approx(exact, abs=5 / math.sqrt(30))
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_sparseness_is_ours():
    phi = cf.images(4) ** 3
    # 1e-7 is added to 192 magnitudes whose largest is 1: relative error below 192e-7 of the sum.
    assert value(SPARSENESS, phi) == pytest.approx(
        value(Sparseness(features="element"), phi), abs=2e-5
    )


def test_methods_are_called_again():
    metric = Quantus("MaxSensitivity", **COMMON, arguments={"nr_samples": 300, "lower_bound": 0.01})
    x = cf.row(1, 1, 1, 2)
    phi = explain(x, None)
    found = value(metric, phi, x=x, explain=explain)
    # d(x^2) = 2 x dx: supremum 2 r sqrt(1 + 1 + 1 + 4) / sqrt(1 + 1 + 1 + 16), to first order.
    supremum = 2 * 0.01 * math.sqrt(7 / 19)
    assert 0.7 * supremum < found[0] < 1.02 * supremum
    with pytest.raises(InputError, match=r"quantus\.MaxSensitivity"):
        value(metric, phi, x=x)


def test_no_trace_is_left():
    x, phi = cf.images(2), cf.images(2, seed=4)
    before = x.clone(), phi.clone(), torch.random.get_rng_state()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    fifth = replace(CORRELATION, fractions={"subset_size": 0.2})
    first = value(fifth, phi, x=x)
    value(SPARSENESS, phi, x=x)
    assert torch.equal(x, before[0])
    assert torch.equal(phi, before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    assert value(fifth, phi, x=x) == first


def test_maps_that_quantus_refuses_have_no_value():
    phi = torch.stack([torch.ones(4), -torch.arange(1.0, 5), torch.arange(4.0)]).double()
    found = value(SPARSENESS, phi)
    assert [math.isnan(v) for v in found] == [True, True, False]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Quantus("Sparsness", **COMMON), "no metric 'Sparsness'.*'Sparseness'"),
        (Quantus("Sparseness", **COMMON, arguments={"k": 1}), "Unexpected keyword.*k"),
        (
            Quantus("FaithfulnessCorrelation", **COMMON, arguments={"subset_size": 99}),
            "subset_size",
        ),
        (Quantus("SensitivityN", **COMMON), "numbers for one sample|SensitivityN"),
    ],
)
def test_bad_configurations_get_one_line(metric, message):
    phi = cf.images(1)[:, :1, :4, :4]
    with pytest.raises(InputError, match=message) as caught:
        value(metric, phi)
    assert "\n" not in str(caught.value)
