"""Tables in an evaluation: one feature for each column, whatever it is encoded as."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn

from igbench import evaluate, methods, metrics
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data import adult, breast_cancer
from igbench.data.tables import TableEncoder, split_by_content, table_data
from igbench.errors import InputError

FRAME = pd.DataFrame({"z": [0.0, 1.0], "category": ["a", "b"]}, index=["before", "after"])
ENCODER = TableEncoder.fit(FRAME, scale="none")


class Product(nn.Module):
    """f = z (4 A B + B) of the elements z, A, B: the product of both categories counts."""

    def forward(self, x):
        z, a, b = x.unbind(dim=1)
        return z * (4 * a * b + b)


def after() -> Data:
    return table_data(ENCODER, FRAME.loc[["after"]], background=FRAME)


def maps(**chosen: object) -> dict:
    found = evaluate(
        Product().eval(), after(), methods=chosen, metrics=["completeness"],
        baseline=ENCODER.encode(FRAME.loc[["before"]])[0],
    )  # fmt: skip
    assert not (found.frame.status == "failed").any()
    return {name: found.results.maps[name]["after"].tolist() for name in chosen}


def test_the_sum_of_one_hot_values_is_not_the_value_of_the_column():
    """Case D1: from category a, z = 0 to category b, z = 1; f goes from 0 to 1."""
    found = maps(
        columns=methods.ExactShapley(),
        elements=methods.ExactShapley(features="element"),
        ig=methods.IntegratedGradients(n_steps=10),
        kernel_shap=methods.KernelShap(),
    )
    # z, category: as two players .5 each; as three players A -4/3, B 7/6, z 7/6.
    assert found["columns"] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found["kernel_shap"] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found["elements"] == pytest.approx([7 / 6, -1 / 6], abs=1e-6)
    assert found["ig"] == pytest.approx([7 / 6, -1 / 6], abs=1e-6)


def test_samples_have_the_names_and_values_that_people_read():
    data = after()
    assert data.sample_ids == ("after",)
    assert data.feature_names(0) == ("z", "category")
    assert data.feature_values(0) == (1, "b")
    assert data.groups.tolist() == [0, 1, 1]
    assert data.load(0).tolist() == [1, 0, 1]


def test_a_row_with_a_missing_number_is_a_failed_sample_and_the_others_go_on():
    frame = pd.DataFrame(
        {"z": [1.0, math.nan, 2.0, 3.0], "category": ["a", "b", "c", "b"]}, index=list("wxyz")
    )
    found = evaluate(
        Product().eval(), table_data(ENCODER, frame), methods=["ig"], metrics=["completeness"]
    )
    reasons = {s["sample_id"]: s["reason"] for s in found.results.samples}
    assert reasons["x"].startswith("column 'z' is missing in row 'x'; fill it in")
    assert "the value 'c' in row 'y', which is no category" in reasons["y"]
    assert (reasons["w"], reasons["z"]) == ("", "")


def test_what_is_given_is_checked_before_any_work():
    with pytest.raises(InputError, match="no column 'z'"):
        table_data(ENCODER, FRAME.drop(columns="z"))
    with pytest.raises(InputError, match="the sample id 'before' is there twice"):
        table_data(ENCODER, FRAME.loc[["before", "before"]])
    with pytest.raises(InputError, match="labels have shape"):
        table_data(ENCODER, FRAME, [1])
    with pytest.raises(InputError, match="column 'z' is missing in row 'before'"):
        table_data(ENCODER, FRAME, background=FRAME.assign(z=[math.nan, 1]))


def test_a_frame_with_text_says_where_to_encode_it():
    with pytest.raises(InputError, match=r"not numbers: category; .*tables\.table_data"):
        evaluate(nn.Linear(2, 1).eval(), FRAME, methods=["ig"], metrics=["completeness"])


def test_a_constant_column_is_a_feature_that_gets_nothing():
    frame = pd.DataFrame({"z": [1.0, 3.0], "same": [5.0, 5.0], "one": ["a", "a"]})
    encoder = TableEncoder.fit(frame)
    found = evaluate(
        nn.Linear(3, 1).eval(), table_data(encoder, frame, background=frame),
        methods={"ig": methods.IntegratedGradients(n_steps=3)}, metrics=["completeness"],
        baseline="feature_median",
    )  # fmt: skip
    shown = found.results.maps["ig"]["sample-0"].tolist()
    assert shown[0] != 0
    assert shown[1:] == [0, 0]


def test_equal_rows_are_on_the_same_side():
    frame = adult.load_split().frame
    train, held_out = adult.load_split().train, adult.load_split().held_out
    assert sorted(train + held_out) == list(range(32_561))
    known = set(frame.iloc[list(train)].itertuples(index=False, name=None))
    others = set(frame.iloc[list(held_out)].itertuples(index=False, name=None))
    assert not known & others
    assert len(held_out) == 6585
    alone = split_by_content(frame.iloc[:100], 0.2, 0, "adult")[1]
    assert set(alone) == {i for i in held_out if i < 100}


def test_adult_has_twelve_features_of_65_elements():
    split = adult.load_split()
    assert split.encoder.width == 65
    assert split.encoder.names[:2] == ("age", "workclass")
    assert "?" in split.encoder.columns[1].categories
    data = adult.adult(tabular(2), limit=3)
    assert data.kind == "table"
    assert [len(set(data.groups.tolist())), len(data.feature_names(2))] == [12, 12]
    for i, sample_id in enumerate(data.sample_ids):
        row = split.frame.iloc[int(sample_id.removeprefix("adult-"))]
        assert data.feature_values(i) == tuple(row)
        assert torch.equal(data.load(i), split.encoder.encode(row.to_frame().T.astype(
            split.frame.dtypes))[0])  # fmt: skip
    pool = data.reference()
    assert pool.shape == (256, 65)
    # Shares of ages and categories near those of all training rows: 4 standard errors of 1/16.
    whole = split.encoder.encode(split.frame.iloc[list(split.train)])
    assert float((pool.mean(dim=0) - whole.mean(dim=0)).abs().max()) < 0.25


def test_breast_cancer_has_thirty_features():
    data = breast_cancer.breast_cancer(tabular(2), limit=None)
    assert (len(data), data.shape, data.groups.tolist()) == (153, (30,), list(range(30)))
    assert data.feature_names(0)[0] == "mean radius"


def test_models_that_take_no_tables_are_refused():
    with pytest.raises(InputError, match="does not take this table; choose model=tabular_adult"):
        adult.adult(tabular(10), limit=None)


def tabular(classes: int) -> Model:
    names = tuple(map(str, range(classes)))
    return Model("own", nn.Linear(65, classes).eval(), names, "", "0" * 64, "given")


def test_how_a_method_shares_a_column_out_over_its_elements_does_not_count():
    def shared(share: float, factor: float = 1.0) -> methods.CallableMethod:
        """3 z, and 2 z for the category, of which a share is on the element that is absent."""

        def explain(x, target):
            part = torch.tensor([0.0, 2 * share, 2 * (1 - share)])
            return factor * x[:, :1] * (part + torch.tensor([3.0, 0.0, 0.0]))

        return methods.CallableMethod(explain, "global")

    found = evaluate(
        Product().eval(), after(), methods={"ig": shared(0.5), "a": shared(0.0), "b": shared(2, 2)},
        metrics={
            "difference": metrics.Difference(),
            "max_sensitivity": metrics.MaxSensitivity(draws=5, noise="extremes"),
            "sparseness": metrics.Sparseness(),
        },
        baseline="feature_mode",
    ).table()  # fmt: skip
    assert found.loc["a", "difference"] == pytest.approx(0, abs=1e-6)
    assert found.loc["b", "difference"] == pytest.approx(1, abs=1e-6)
    # (3 z, 2 z) moves by 0.02 of its norm, whatever the shares.
    assert found["max_sensitivity"].tolist() == pytest.approx([0.02] * 3, rel=1e-4)
    # Gini index of (2, 3): (-2 + 3) / (2 * 5).
    assert found["sparseness"].tolist() == pytest.approx([0.1] * 3, abs=1e-6)


def test_values_are_interventional():
    """Case D2: f = x1 at (1, 1), correlation .9: (1, 0); conditional values are (.55, .45)."""
    rows = [[1.0, 0.9], [-1.0, -0.9], [0.44, 1.0], [-0.44, -1.0]]
    background = pd.DataFrame(rows, columns=["a", "b"])
    encoder = TableEncoder.fit(background, scale="none")
    data = table_data(encoder, pd.DataFrame({"a": [1.0], "b": [1.0]}), background=background)
    found = evaluate(
        lambda x: x[:, 0], data, methods={"shapley": methods.ExactShapley()},
        metrics=["completeness"], baseline="feature_mean",
    )  # fmt: skip
    assert found.results.maps["shapley"]["sample-0"].tolist() == pytest.approx([1, 0], abs=1e-7)
