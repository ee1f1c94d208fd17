"""`help` of every function of a metric shows each parameter, what it means and its default."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from igbench import metrics
from igbench.metrics.base import BaseMetric

NAMES = [n for n in metrics.__all__ if n.islower() and n not in ("as_function", "score_arrays")]
CLASSES = [n for n in metrics.__all__ if inspect.isclass(getattr(metrics, n)) and n != "BaseMetric"]


def described(doc: str) -> dict[str, str]:
    """Name of each argument in the `Args` blocks of a docstring to what is said of it."""
    found: dict[str, str] = {}
    for block in re.findall(r"Args:\n(.*?)(?:\n\n|\Z)", doc, flags=re.S):
        for names, text in re.findall(r"^    (\w[\w, ]*): (.+)$", block, flags=re.M):
            found |= {name.strip(): text for name in names.split(",")}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_has_a_meaning_and_a_default(name):
    function = getattr(metrics, name)
    said = described(inspect.getdoc(function))
    parameters = inspect.signature(function).parameters
    missing = [p for p in parameters if len(said.get(p, "").split()) < 2]
    assert missing == []
    first = list(parameters)[:3]
    assert first == ["forward", "inputs", "attributions"]
    without = [p for p in list(parameters)[3:] if parameters[p].default is inspect.Parameter.empty]
    assert without == []
    assert all(parameters[p].kind is inspect.Parameter.KEYWORD_ONLY for p in list(parameters)[3:])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_described_that_does_not_exist(name):
    function = getattr(metrics, name)
    extra = set(described(inspect.getdoc(function))) - set(inspect.signature(function).parameters)
    assert extra <= {"order"}, extra  # which the name abpc implies


@pytest.mark.parametrize("name", CLASSES)
def test_the_text_of_an_object_is_one_exact_line(name):
    cls = getattr(metrics, name)
    if name == "Quantus":
        made = cls("Sparseness", "t", "r", direction="higher", low=0, high=1)
    else:
        made = cls()
    assert isinstance(made, BaseMetric)
    text = repr(made)
    assert "\n" not in text
    if "data" not in inspect.signature(cls).parameters and "masks" not in text:
        assert eval(text, vars(metrics) | {"inf": float("inf")}) == made


def test_a_tensor_in_the_text_of_an_object_is_short():
    made = metrics.Deletion(features=torch.arange(10_000))
    assert "features=<int64 tensor of shape [10000], sha256" in repr(made)
    assert len(repr(made)) < 160
