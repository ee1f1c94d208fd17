"""A batch in the form of Quantus gets the numbers of the call with tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from igbench import metrics
from igbench.errors import InputError
from igbench.metrics import score_arrays
from tests.helpers import closed_form as cf

NAMES = ["completeness", "sparseness", "srg", "infidelity"]


def batch(channels: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = cf.images(3).numpy()
    return x, np.array([0, 2, 1]), np.random.default_rng(0).normal(size=(3, channels, 8, 8))


def by_tensors(name: str, a: np.ndarray, **named: object) -> np.ndarray:
    x, y, _ = batch()
    found = getattr(metrics, name)(
        cf.small_net(),
        torch.from_numpy(x),
        torch.from_numpy(a),
        target=torch.from_numpy(y),
        **named,
    )
    return found.value.numpy()


@pytest.mark.parametrize("softmax", [False, True])
def test_the_numbers_are_those_of_tensors(softmax):
    x, y, a = batch()
    found = score_arrays(cf.small_net(), x, y, a, NAMES, softmax=softmax, device="cpu", seed=3)
    assert list(found.columns) == NAMES
    assert found.index.tolist() == [0, 1, 2]
    output = "probability" if softmax else "logit"
    for name in NAMES:
        np.testing.assert_array_equal(
            found[name].to_numpy(), by_tensors(name, a, output=output, seed=3)
        )


def test_maps_by_name_and_metrics_by_name():
    x, y, a = batch()
    own = {"area": metrics.Sparseness(), "gap": metrics.completeness}
    found = score_arrays(cf.small_net(), x, y, {"mine": a, "half": a / 2}, own, baselines=0.5)
    assert found.index.names == ["map", "sample"]
    for name, values in (("mine", a), ("half", a / 2)):
        gap = by_tensors("completeness", values, baselines=0.5)
        np.testing.assert_array_equal(found.loc[name]["gap"].to_numpy(), gap)
    pd.testing.assert_series_equal(found.loc["mine"]["area"], found.loc["half"]["area"])


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 8, 8)])
def test_maps_without_channels_keep_their_sum(shape):
    x, y, a = batch(channels=1)
    found = score_arrays(cf.small_net(), x, y, a.reshape(shape), ["completeness"])
    expected = by_tensors("completeness", np.repeat(a / 3, 3, axis=1))
    np.testing.assert_allclose(found["completeness"], expected, rtol=1e-12)


def test_the_model_and_the_arrays_are_left_as_they_were():
    model, (x, y, a) = cf.small_net(), batch()
    kept = x.copy(), y.copy(), a.copy()
    flags = [p.requires_grad for p in model.parameters()]
    score_arrays(model, x, y, a, ["srg"])
    for before, after in zip(kept, (x, y, a), strict=True):
        np.testing.assert_array_equal(before, after)
    assert [p.requires_grad for p in model.parameters()] == flags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": [metrics.Sparseness()]}, "holds a Sparseness; give names, or a dictionary"),
        ({"metrics": ["sparsness"]}, "unknown metric 'sparsness'.* mean 'sparseness'"),
        ({"metrics": []}, "no metric is chosen"),
        ({"y_batch": np.array([0.0, 2.0, 1.0])}, "y_batch holds float64, expected the whole"),
        ({"y_batch": np.array([0, 9, 1])}, "9"),
        ({"a_batch": np.zeros((3, 2, 8, 8))}, r"shape \(3, 2, 8, 8\), the inputs \(3, 3, 8, 8\)"),
        ({"device": "cuda:77"}, "device=cuda:77 cannot be used"),
        ({"output": "logit"}, "softmax=True stands for output='probability'"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    x, y, a = batch()
    given = {"x_batch": x, "y_batch": y, "a_batch": a, "metrics": ["completeness"]} | change
    with pytest.raises(InputError, match=message) as error:
        score_arrays(cf.small_net(), **given)
    assert "\n" not in str(error.value)
