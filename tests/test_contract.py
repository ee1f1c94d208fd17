"""Every method and metric in conf/ keeps the contract; a new file there cannot escape."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from igbench.certify.ordering import UNORDERED_FAMILIES
from igbench.config import compose
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, mismatch
from igbench.core.score import Score
from igbench.evaluation.isolation import attributions_of
from tests.helpers.contract import (
    GLOBAL,
    METHODS,
    METRICS,
    batch,
    batch_for,
    maps_for,
    measured,
    method,
    metric,
    take,
)

SPLITS = {
    "one by one": [[0], [1], [2], [3], [4]],
    "three and two": [[0, 1, 2], [3, 4]],
    "backwards": [[4, 3, 2, 1, 0]],
    "shuffled shards": [[3, 0], [4, 1, 2]],
}


@pytest.mark.parametrize("name", METHODS)
def test_method_returns_a_finite_map_and_leaves_no_trace(config, name):
    b, m = batch_for(name), method(config, name)
    if name == "ig_exact":  # thousands of pieces
        b = take(b, [1])
    x, state, legacy = b.x.clone(), torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    values = m(b)
    assert values.shape == b.x.shape
    assert values.dtype == b.x.dtype
    assert bool(torch.isfinite(values).all())
    assert not values.requires_grad
    assert torch.equal(b.x, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    assert torch.equal(m(b), values), "same seed, same map"
    if not m.spec.signed:
        assert float(values.min()) >= 0


TELLING = ("one by one", "shuffled shards")
"""Splits that differ from the whole batch in both size and order, or in size most."""


def splits(names: list[str]) -> list[object]:
    """Every name with every split; `TELLING` ones are quick, but for the exact integral."""
    return [
        pytest.param(
            name,
            split,
            marks=[] if split in TELLING and name != "ig_exact" else [pytest.mark.slow],
        )
        for name in names
        for split in SPLITS
    ]


@pytest.mark.parametrize(("name", "split"), splits(METHODS))
def test_method_does_not_depend_on_batching(config, name, split):
    b, m = batch_for(name), method(config, name)
    whole = m(b)
    for index in SPLITS[split]:
        torch.testing.assert_close(m(take(b, index)), whole[index], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_metric_values_are_in_range_and_leave_no_trace(config, name):
    b, m = batch(), metric(config, name)
    x, state = b.x.clone(), torch.random.get_rng_state()
    found = measured(m, b, maps_for(b))
    assert found
    for measurement in found.values():
        assert measurement.value.shape == (5,)
        assert bool(torch.isfinite(measurement.value).all()), measurement.reason
        assert float(measurement.value.min()) >= m.spec.low
        assert float(measurement.value.max()) <= m.spec.high
        if measurement.std_error is not None:
            assert measurement.std_error.shape == (5,)
            assert float(measurement.std_error.min()) >= 0
        for xs, ys in measurement.curves.values():
            assert ys.shape == (5, len(xs))
    assert torch.equal(b.x, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    again = measured(m, b, maps_for(b))
    for key, measurement in found.items():
        assert torch.equal(again[key].value, measurement.value), "same seed, same score"


def tied(values: Tensor) -> Tensor:
    """Maps with many equal values, none of them zero."""
    return values.sign() + values.abs().amax() * (values > values.mean())


@pytest.mark.parametrize("name", METRICS)
def test_what_a_metric_draws_is_in_its_standard_error(config, name, monkeypatch):
    b, m = batch(), metric(config, name)
    maps = {k: replace(a, values=tied(a.values)) for k, a in maps_for(b).items()}
    asked = []
    for place in ("generator", "global_state"):
        plain = getattr(rng, place)
        monkeypatch.setattr(
            rng, place, lambda *args, plain=plain: asked.append(args) or plain(*args)
        )
    found = measured(m, b, maps)
    other = replace(b, seed=6)
    again = measured(m, other, maps)
    for key, measurement in found.items():
        known = measurement.value.isfinite()
        assert bool(known.any())
        if measurement.std_error is None:
            assert not asked, "it draws, so it must say how much that matters"
            assert torch.equal(again[key].value[known], measurement.value[known])
            continue
        assert bool(measurement.std_error[known].isfinite().all())
        moved = (again[key].value - measurement.value).abs() > 1e-9
        either = (measurement.std_error > 0) | (again[key].std_error > 0)
        assert bool(either[moved & known].all()), "another seed gives another number"


@pytest.mark.parametrize(("name", "split"), splits(METRICS))
def test_metric_does_not_depend_on_batching(config, name, split):
    b, m = batch(), metric(config, name)
    maps = maps_for(b)
    whole = measured(m, b, maps)
    for index in SPLITS[split]:
        own = {k: replace(a, values=a.values[index]) for k, a in maps.items()}
        for key, found in measured(m, take(b, index), own).items():
            torch.testing.assert_close(found.value, whole[key].value[index], rtol=1e-9, atol=1e-12)
            error = whole[key].std_error
            assert (found.std_error is None) == (error is None)
            if error is not None:
                # A difference of two values at worst, each with the rounding above.
                torch.testing.assert_close(found.std_error, error[index], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_metric_does_not_depend_on_other_methods(config, name):
    b, m = batch(), metric(config, name)
    maps = maps_for(b)
    alone = measured(m, b, {"ig": maps["ig"]})
    together = measured(m, b, maps)
    for key, found in alone.items():
        torch.testing.assert_close(
            found.value, together[key].value, rtol=1e-9, atol=1e-12, equal_nan=True
        )


@pytest.mark.parametrize("name", METRICS)
def test_exact_map_of_a_linear_model_never_loses_to_random(config, name):
    m, b = metric(config, name), batch()
    if m.needs_method or m.family in UNORDERED_FAMILIES or name in ("aic", "sic"):
        pytest.skip("the metric does not ask whether a map is right")
    g = torch.Generator().manual_seed(2)
    w = torch.randn(64, generator=g, dtype=torch.float64)
    linear: Batch = replace(b, score=Score(lambda z: z.flatten(1) @ w), target=None)
    exact: Tensor = b.x * w.view(1, 1, 8, 8)
    maps = {
        "exact": Attribution(exact, GLOBAL),
        "random": Attribution(torch.randn(exact.shape, generator=g, dtype=exact.dtype), GLOBAL),
    }
    found = measured(m, linear, maps)
    best, random = found["exact"].value, found["random"].value
    sign = 1 if m.spec.direction == "higher" else -1
    assert bool((sign * best >= sign * random - 1e-12).all())
    assert float((sign * best).mean()) > float((sign * random).mean())


@pytest.mark.parametrize("name", METRICS)
def test_metric_has_a_full_definition(config, name):
    spec = metric(config, name).spec
    assert spec.title
    assert spec.reference
    assert spec.version >= 1
    assert spec.low < spec.high
    assert spec.undefined
    assert not math.isnan(spec.min_effect)
    assert mismatch(spec.needs, GLOBAL) == ""


@pytest.mark.parametrize("group", ["method", "metric"])
def test_file_name_is_the_name_in_tables(group):
    for name in compose.choices(group):
        text = (compose.FOLDER / group / f"{name}.yaml").read_text(encoding="utf-8")
        keys = [line.rstrip(":") for line in text.splitlines() if line[:1].isalpha()]
        assert keys == [name]
        assert text.startswith("# ")


def test_single_maps_can_be_cut_out():
    b = batch()
    one = attributions_of(maps_for(b), 3)
    assert torch.equal(one["other"].values[0], maps_for(b)["other"].values[3])
