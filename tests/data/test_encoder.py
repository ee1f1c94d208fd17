"""Frames become tensors in the columns, categories and order of one frame, and come back."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from igbench.data.encoder import Column, TableEncoder
from igbench.errors import InputError

FRAME = pd.DataFrame(
    {
        "age": [20, 30, 40],
        "work": ["State", "?", "Private"],
        "member": [True, False, True],
        "grade": pd.Categorical(["low", "high", "low"], categories=["low", "middle", "high"]),
        "same": [7.0, 7.0, 7.0],
    }
)
ENCODER = TableEncoder.fit(FRAME)
S = math.sqrt(1.5)  # (20 - 30) / std of (20, 30, 40), whose square is 200 / 3
ROWS = [
    [-S, 0, 0, 1, 0, 1, 1, 0, 0, 0],
    [0, 1, 0, 0, 1, 0, 0, 0, 1, 0],
    [S, 0, 1, 0, 0, 1, 1, 0, 0, 0],
]


def test_numbers_are_standardised_and_categories_one_hot():
    assert torch.equal(ENCODER.encode(FRAME), torch.tensor(ROWS, dtype=torch.float32))
    assert ENCODER.groups.tolist() == [0, 1, 1, 1, 2, 2, 3, 3, 3, 4]
    assert ENCODER.elements[1:6] == (
        "work=?", "work=Private", "work=State", "member=False", "member=True",
    )  # fmt: skip


def test_columns_are_found_by_name_and_rows_alone_are_the_same():
    mixed = FRAME[["same", "work", "grade", "age", "member"]]
    assert torch.equal(ENCODER.encode(mixed), ENCODER.encode(FRAME))
    for i in range(3):
        assert ENCODER.encode(FRAME.iloc[[i]])[0].tolist() == pytest.approx(ROWS[i])
    assert ENCODER.encode(FRAME.iloc[:0]).shape == (0, 10)


def test_nothing_that_is_given_changes():
    before = FRAME.copy(deep=True)
    ENCODER.encode(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)


def test_the_dtypes_of_a_category_do_not_matter():
    codes = TableEncoder.fit(pd.DataFrame({"zip": [1, 2]}), categorical=["zip"])
    for values in ([2], [2.0], ["2"], pd.Categorical([2]), np.array([2], dtype=np.int8)):
        assert codes.encode(pd.DataFrame({"zip": values})).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("scale", "expected"), [("min_max", [0, 0.5, 1]), ("none", [20, 30, 40]), ("standard", None)]
)
def test_scales(scale, expected):
    found = TableEncoder.fit(FRAME[["age"]], scale=scale).encode(FRAME[["age"]])[:, 0]
    assert found.tolist() == pytest.approx(expected or [-S, 0, S])


@pytest.mark.parametrize("scale", ["standard", "min_max"])
def test_a_constant_column_is_shifted_alone(scale):
    same = TableEncoder.fit(FRAME[["same"]], scale=scale)
    assert same.encode(pd.DataFrame({"same": [7.0, 9.0]})).tolist() == [[0], [2]]


def test_a_missing_category_is_one_of_its_own_where_it_was_learned():
    frame = pd.DataFrame({"work": ["b", None, "a"]})
    encoder = TableEncoder.fit(frame)
    assert encoder.elements == ("work=a", "work=b", "work=(missing)")
    assert encoder.encode(frame).argmax(dim=1).tolist() == [1, 2, 0]
    other = TableEncoder.fit(pd.DataFrame({"work": ["a", "b"]}))
    with pytest.raises(InputError, match=r"'work' has the value '\(missing\)' in row 1"):
        other.encode(frame)


REFUSED = {
    "column 'age' is missing in row 1": {"age": [20, None, 40]},
    "column 'age' is infinite in row 2": {"age": [20, 30, math.inf]},
    "column 'age' has the type": {"age": ["20", "30", "40"]},
    "'work' has the value 'Stat' in row 0.*did you mean 'State'": {"work": ["Stat", "?", "?"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_values_that_do_not_fit_are_named_with_row_and_column(message):
    with pytest.raises(InputError, match=f"(?i){message}") as caught:
        ENCODER.encode(FRAME.assign(**REFUSED[message]))
    assert "\n" not in str(caught.value)


def test_other_columns_are_refused():
    with pytest.raises(InputError, match="no column 'age'"):
        ENCODER.encode(FRAME.drop(columns="age"))
    with pytest.raises(InputError, match="a column 'new' that the encoder did not learn"):
        ENCODER.encode(FRAME.assign(new=1))
    with pytest.raises(InputError, match="two columns named 'age'"):
        ENCODER.encode(pd.concat([FRAME, FRAME[["age"]]], axis=1))


LEARNED = {
    "mixes int and str": pd.DataFrame({"a": [1, "x"]}),
    "holds values of type Timestamp": pd.DataFrame({"a": [pd.Timestamp("2026-01-01")] * 2}),
    "complex": pd.DataFrame({"a": [1j]}),
    "1,001 categories": pd.DataFrame({"a": [str(i) for i in range(1001)]}),
    "read alike": pd.DataFrame({"a": pd.Categorical([1, "1"])}),
    "has 0 categories": pd.DataFrame({"a": pd.Categorical([None], categories=[])}).iloc[:0],
    "is missing in row 1": pd.DataFrame({"a": [1.0, math.nan]}),
    "not named by a text": pd.DataFrame({0: [1.0]}),
    "rows and columns to learn": pd.DataFrame(),
    "not a list": [[1.0]],
}


@pytest.mark.parametrize("message", LEARNED)
def test_frames_that_nothing_can_be_learned_from(message):
    frame = LEARNED[message]
    message = message.replace("has 0 categories", "rows and columns to learn")
    with pytest.raises(InputError, match=message) as caught:
        TableEncoder.fit(frame)
    assert "\n" not in str(caught.value)


def test_an_unknown_categorical_column_is_refused():
    with pytest.raises(InputError, match="'zip', which is no column"):
        TableEncoder.fit(FRAME, categorical=["zip"])


def test_rows_come_back_as_a_frame():
    found = ENCODER.decode(ENCODER.encode(FRAME))
    assert found["age"].tolist() == pytest.approx([20, 30, 40], abs=1e-5)
    assert found["work"].tolist() == ["State", "?", "Private"]
    assert found["member"].tolist() == ["True", "False", "True"]
    half = ENCODER.encode(FRAME).mean(dim=0, keepdim=True)
    with pytest.raises(InputError, match="row 0 is no category of 'work'"):
        ENCODER.decode(half)
    with pytest.raises(InputError, match="rows of 10 elements"):
        ENCODER.decode(half[:, 1:])


def test_maps_come_back_by_column():
    maps = torch.arange(20.0).view(2, 10)
    found = ENCODER.by_column(maps, index=["a", "b"])
    assert list(found.columns) == ["age", "work", "member", "grade", "same"]
    assert found.loc["a"].tolist() == [0, 6, 9, 21, 9]
    assert found.loc["b"].tolist() == [10, 36, 29, 51, 19]


def test_the_encoder_survives_json():
    again = TableEncoder.from_dict(json.loads(json.dumps(ENCODER.as_dict())))
    assert again == ENCODER
    assert again.columns[1] == Column("work", ("?", "Private", "State"))
    with pytest.raises(InputError, match="describe no encoder"):
        TableEncoder.from_dict({"columns": [{"title": "age"}]})
