"""A run keeps of its first samples what the report shows of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from igbench import evaluate
from igbench.core.dataset import Data
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.records import store
from tests.helpers import words


def table(**other: Any) -> Data:
    """Two rows of three columns, of which the last two elements are one."""
    x = torch.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]])
    values = (("39", "red"), (28.5, "blue"))
    names = ("age", "colour")
    plain = Data(
        name="rows", kind="table", shape=(3,), sample_ids=("a", "b"), labels=(None, None),
        load=lambda i: x[i].clone(), features="column", display=None, black=(0.0,), reference=None,
        source="closed form", groups=torch.tensor([0, 1, 1]), feature_names=lambda i: names,
        feature_values=lambda i: values[i],
    )  # fmt: skip
    return replace(plain, **other)


class Sum(nn.Module):
    """f = sum of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(dim=1)


def run(data: Data, model: Any = None) -> Any:
    ig = {"ig": IntegratedGradients(n_steps=2)}
    return evaluate(model or Sum().eval(), data, methods=ig, metrics=["completeness"]).results


def test_rows_of_a_table_have_columns_with_values():
    found = run(table())
    assert found.samples[1]["features"] == {"names": ["age", "colour"], "values": [28.5, "blue"]}
    assert found.maps["ig"]["b"].tolist() == [3.0, 1.0]


def test_constant_columns_are_left_out():
    active = torch.tensor([False, True, True])
    found = run(table(active=lambda i: active))
    assert found.samples[0]["features"] == {"names": ["colour"], "values": ["red"]}
    assert found.maps["ig"]["a"].tolist() == [2.0]


def test_elements_may_have_names():
    names = ("a", "b", "c")
    found = run(table(groups=None, features="element", feature_names=lambda i: names,
                      feature_values=None))  # fmt: skip
    assert found.samples[0]["features"] == {"names": ["a", "b", "c"]}
    assert found.maps["ig"]["a"].tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"feature_names": lambda i: ("age",)}, "feature_names returned 1 entries, expected"),
        ({"feature_names": lambda i: "ab"}, "feature_names returned no entries, expected a list"),
        ({"feature_names": lambda i: ("age", 3)}, "feature_names returned int '3', not a text"),
        ({"feature_values": lambda i: (1, None)}, "feature_values returned NoneType 'None', not"),
        ({"feature_values": lambda i: (1, True)}, "feature_values returned bool 'True', not a"),
        ({"feature_values": lambda i: (1, 2, 3)}, "feature_values returned 3 entries, expected"),
        ({"feature_gaps": lambda i: ("", "")}, "feature_gaps returned 2 entries, expected a list"),
    ],
)
def test_names_that_do_not_fit_are_a_reason(other, reason):
    found = run(table(**other))
    assert found.samples[0]["status"] == "failed"
    assert reason in found.samples[0]["reason"]


def test_texts_keep_what_stands_between_their_words():
    data = words.data(" not  good\n[CLS]? ", "bad " * 3 + "movie " * 500)
    found = run(data, words.bag())
    own = found.samples[0]["features"]
    assert own == {"names": ["not", "good", "[CLS]?"], "gaps": [" ", "  ", "\n", " "]}
    assert len(found.samples[1]["features"]["names"]) == 503
    assert len(found.maps["ig"]["text-1"]) == 503


def test_very_long_names_are_cut_visibly():
    long = ("x" * 3000, "y")
    found = run(table(feature_names=lambda i: long))
    assert found.samples[0]["features"]["names"][0] == "x" * 1000 + "[… 2000 letters]"


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_series_keep_their_points(shape, tmp_path):
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape) + 1
    bare = {"kind": "series", "shape": shape, "load": lambda i: x.clone(), "feature_values": None}
    data = table(**bare, groups=None, features="element", feature_names=None)
    channels = x.reshape(-1, 4).tolist()
    found = run(data)
    assert found.samples[0]["features"] == {"series": channels}
    assert found.maps["ig"]["a"].tolist() == channels
    halves = torch.tensor([0, 0, 1, 1]).expand(shape).clone()
    names = ("early", "late")
    found = run(table(**bare, groups=halves, feature_names=lambda i: names))
    groups = [[0, 0, 1, 1]] * len(channels)
    expected = {"names": list(names), "series": channels, "groups": groups}
    assert found.samples[0]["features"] == expected


def test_of_texts_only_the_first_are_kept():
    found = run(words.data(*["good movie"] * 10), words.bag())
    assert [i for i, s in enumerate(found.samples) if "features" in s] == list(range(8))
    assert sorted(found.maps["ig"]) == [f"text-{i}" for i in range(8)]


def test_rows_of_a_table_are_read_back(tmp_path):
    data = table(feature_values=lambda i: (float("nan"), "x"))
    ig = {"ig": IntegratedGradients(n_steps=2)}
    found = evaluate(Sum().eval(), data, methods=ig, metrics=["completeness"])
    store.write(tmp_path / "run", found.run, found.results.rows, maps=found.results.maps)
    read = store.read(tmp_path / "run")
    assert read.run.environment["data_kind"] == "table"
    assert str(read.run.samples[0]["features"]["values"]) == "[nan, 'x']"
