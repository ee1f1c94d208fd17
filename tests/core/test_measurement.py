"""A measurement works as the tensor of its values."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest
import torch

from igbench.core.batch import Measurement

VALUES = torch.tensor([1.0, 2.5, -4.0, math.nan], dtype=torch.float64)
ERRORS = torch.tensor([0.1, 0.2, 0.3, math.nan], dtype=torch.float64)
OTHER = torch.tensor([2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
FOUND = Measurement(VALUES, ERRORS, "flat", {"curve": ([0.0, 1.0], torch.rand(4, 2))})


def assert_equal(a, b) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_arithmetic_from_both_sides(name):
    function = getattr(operator, name)
    for other in (OTHER, 3, 0.5):
        assert_equal(function(FOUND, other), function(VALUES, other))
        assert_equal(function(other, FOUND), function(other, VALUES))
    assert_equal(function(FOUND, FOUND), function(VALUES, VALUES))


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons_are_element_by_element(name):
    function = getattr(operator, name)
    for other in (OTHER, 1.0):
        assert torch.equal(function(FOUND, other), function(VALUES, other))
        assert torch.equal(function(other, FOUND), function(other, VALUES))


def test_signs():
    assert_equal(-FOUND, -VALUES)
    assert_equal(+FOUND, VALUES)
    assert_equal(abs(FOUND), VALUES.abs())


def test_indexing_and_iteration():
    assert float(FOUND[1]) == 2.5
    assert_equal(FOUND[:2], VALUES[:2])
    assert_equal(FOUND[FOUND.isfinite()], VALUES[:3])
    assert_equal(FOUND[torch.tensor([2, 0])], VALUES[[2, 0]])
    assert len(FOUND) == 4
    assert [float(v) for v in FOUND][:3] == [1.0, 2.5, -4.0]


def test_functions_and_methods_of_torch():
    assert_equal(torch.nanmean(FOUND), VALUES.nanmean())
    assert_equal(torch.stack([FOUND, FOUND]), torch.stack([VALUES, VALUES]))
    assert_equal(torch.cat([FOUND, OTHER]), torch.cat([VALUES, OTHER]))
    assert_equal(torch.where(FOUND > 1, FOUND, OTHER), torch.where(VALUES > 1, VALUES, OTHER))
    assert_equal(FOUND.clamp(min=0), VALUES.clamp(min=0))
    assert_equal(torch.as_tensor(FOUND), VALUES)
    assert FOUND.shape == (4,)
    assert FOUND.dtype == torch.float64
    with pytest.raises(AttributeError, match="nothing"):
        _ = FOUND.nothing


def test_numpy():
    np.testing.assert_array_equal(np.asarray(FOUND), VALUES.numpy())
    np.testing.assert_array_equal(FOUND.numpy(), VALUES.numpy())
    assert np.asarray(Measurement(VALUES.float())).dtype == np.float32
    assert np.asarray(FOUND, dtype="float32").dtype == np.float32
    assert np.nanmax(np.asarray(FOUND)) == 2.5


def test_a_single_value_is_a_number():
    one = Measurement(torch.tensor([2.0]))
    assert float(one) == one.item() == int(one) == 2
    assert bool(one)
    assert not bool(Measurement(torch.tensor([0.0])))
    with pytest.raises(RuntimeError, match="more than one value"):
        bool(FOUND)


def test_the_representation_has_no_curves():
    assert repr(FOUND) == (
        "Measurement(value=tensor([ 1.0000,  2.5000, -4.0000,     nan], dtype=torch.float64), "
        "std_error=tensor([0.1000, 0.2000, 0.3000,    nan], dtype=torch.float64), reason='flat')"
    )
    assert repr(Measurement(torch.tensor([1.0]))) == "Measurement(value=tensor([1.]))"


def test_copies_keep_everything():
    for again in (copy.deepcopy(FOUND), pickle.loads(pickle.dumps(FOUND))):
        assert_equal(again.value, VALUES)
        assert_equal(again.std_error, ERRORS)
        assert again.reasons == ["", "", "", "flat"]
        assert_equal(again.curves["curve"][1], FOUND.curves["curve"][1])


def test_it_is_no_tensor():
    assert not isinstance(FOUND, torch.Tensor)
    assert_equal(FOUND.value, VALUES)
    assert len({FOUND, FOUND}) == 1
