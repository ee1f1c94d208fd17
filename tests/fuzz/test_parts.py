"""Methods and metrics that return anything: failed cells, or what they returned."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import igbench
from igbench.core.batch import Measurement
from igbench.errors import InputError
from igbench.metrics.axiomatic.completeness import Completeness
from tests.helpers import fuzz
from tests.strangers.models import plain, rows

N = 3
RIGHT = igbench.evaluate(
    plain(), rows(N), methods=["input_x_gradient"], metrics=["completeness"]
).frame.set_index(["method", "metric", "sample_id"])["value"]

numbers = st.sampled_from([0.0, 1.0, -2.5, math.nan, math.inf, 1e300])
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple) | st.just((N, 6)) | st.just((N,))
dtypes = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.bool])
tensors = st.builds(
    lambda shape, value, dtype: torch.full(shape, value, dtype=torch.float64).to(dtype),
    shapes,
    numbers,
    dtypes,
)
anything = st.one_of(
    tensors,
    tensors,
    tensors.map(lambda t: t.numpy()),
    fuzz.values,
    st.lists(tensors, max_size=2),
    tensors.map(lambda t: t.to("meta")),
    st.sampled_from([KeyError("x"), SystemExit(0), InputError("no"), StopIteration()]),
)


def gives(found):
    if isinstance(found, BaseException):
        raise found
    return found


def evaluated(**parts):
    return fuzz.found(lambda: igbench.evaluate(plain(), rows(N), **parts).frame)


def others_are_right(frame) -> None:
    mine = frame.set_index(["method", "metric", "sample_id"])["value"]
    for key, value in RIGHT.items():
        if key[1] == "completeness":
            assert mine[key] == value, key


@pytest.mark.filterwarnings("ignore")
@fuzz.few(12)
@given(found=anything)
def test_any_map(found):
    frame = evaluated(
        methods={"input_x_gradient": "input_x_gradient", "own": lambda x, t: gives(found)},
        metrics=["completeness"],
    )
    if frame is None:
        return
    others_are_right(frame)
    own = frame[(frame["method"] == "own") & (frame["metric"] == "completeness")]
    assert len(own) == N
    usable = (
        isinstance(found, torch.Tensor)
        and found.shape == (N, 6)
        and found.device.type == "cpu"
        and bool(torch.isfinite(found).all())
    )
    if not usable and isinstance(found, torch.Tensor):
        assert not (own["status"] == "ok").any(), found
    assert own["value"][own["status"] == "ok"].notna().all()
    assert own["reason"][own["status"] != "ok"].str.len().gt(0).all()


class Wrong(Completeness):
    """A metric that measures anything."""

    answer = None

    @property
    def sharing_key(self):
        return (Wrong, id(self.answer))

    def measure(self, batch, attributions, observation):
        return gives(self.answer)


measurements = st.builds(Measurement, tensors) | anything
answers = measurements | st.dictionaries(
    st.sampled_from(["input_x_gradient", "other"]), measurements, max_size=2
)


@pytest.mark.filterwarnings("ignore")
@fuzz.few(12)
@given(answer=answers)
def test_any_measurement(answer):
    metric = Wrong()
    object.__setattr__(metric, "answer", answer)
    frame = evaluated(
        methods=["input_x_gradient"], metrics={"completeness": "completeness", "own": metric}
    )
    if frame is None:
        return
    others_are_right(frame)
    own = frame[frame["metric"] == "own"]
    assert len(own) == N
    fine = own[own["status"] == "ok"]
    if len(fine):
        value = answer["input_x_gradient"].value
        assert value.shape == (N,)
        assert fine["value"].tolist() == value.double().tolist()
    assert own["reason"][own["status"] != "ok"].str.len().gt(0).all()
