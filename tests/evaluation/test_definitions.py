"""Definitions of the user's methods and metrics, and arguments that do not fit: before any work."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import igbench
from igbench.baselines import Zero
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.errors import InputError
from igbench.evaluation.experiment import Experiment
from igbench.methods import Captum, GradCam, KernelShap, Occlusion
from igbench.metrics import Deletion, MaxSensitivityN, Quantus, Road, SensitivityN
from tests.helpers import parts


def evaluated(methods: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Why `evaluate` refuses these; it calls the model for one look at most."""
    with pytest.raises(InputError) as caught:
        igbench.evaluate(parts.Net().eval(), torch.rand(2, 4), methods=methods, metrics=metrics)
    assert str(caught.value).isprintable()
    assert "method" not in parts.CALLS
    return str(caught.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"kind": "globl"}, "unknown method.mine.spec.kind 'globl'; known: global, local"),
        ({"kind": None}, "method.mine.spec.kind=None must be one of 'global', 'local'"),
        ({"role": "boss"}, "unknown method.mine.spec.role 'boss'"),
        ({"signed": "yes"}, "method.mine.spec.signed='yes' must be true or false"),
        ({"label": 3}, "method.mine.spec.title=3 must be a text of one line"),
        ({"label": "two\nlines"}, "method.mine.spec.title='two\\nlines' must be a text"),
        ({"reference": None}, "method.mine.spec.reference=None must be a text"),
    ],
)
def test_the_definition_of_a_method(own, message):
    parts.CALLS.clear()
    assert message in evaluated({"mine": parts.Method(**own)}, {"m": parts.Metric()})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"direction": "up"}, "unknown metric.mine.spec.direction 'up'; known: higher, lower"),
        ({"direction": 1}, "metric.mine.spec.direction=1 must be one of"),
        ({"range": 3}, "without a definition to record (TypeError"),
        ({"range": (0, 1, 2)}, "without a definition to record (ValueError"),
        ({"range": (1, 0)}, "metric.mine.spec has the range 1 to 0; the first"),
        ({"range": (0, math.nan)}, "metric.mine.spec.high=nan must be a finite number"),
        ({"range": ("a", "b")}, "metric.mine.spec.low='a' must be"),
        ({"needs": "all"}, "unknown metric.mine.spec.needs 'all'; known: any, global"),
        ({"family": "best"}, "unknown metric.mine.spec.family 'best'"),
        ({"version": 1.5}, "metric.mine.spec.version=1.5 must be a whole number"),
        ({"min_effect": "much"}, "metric.mine.spec.min_effect='much' must be"),
        ({"title": "\x1b[31m"}, "metric.mine.spec.title='\\x1b[31m' must be a text"),
    ],
)
def test_the_definition_of_a_metric(own, message):
    parts.CALLS.clear()
    assert message in evaluated({"mine": parts.Method()}, {"mine": parts.Metric(**own)})


@pytest.mark.parametrize("name", ["", " ig", "two\nlines", "\x1b[31m", 3])
def test_the_name_of_an_entry(name):
    parts.CALLS.clear()
    assert "method=" in evaluated({name: parts.Method()}, {"m": parts.Metric()})
    assert "metric=" in evaluated({"m": parts.Method()}, {name: parts.Metric()})


def test_definitions_that_are_right_stay_as_they_are():
    metric = parts.Metric(range=(0, math.inf), direction="none", needs="global signed")
    found = igbench.evaluate(
        parts.Net().eval(), torch.rand(2, 4), methods={"m": parts.Method()}, metrics={"m": metric}
    )
    assert (found.frame.metric == "m").sum() == 2


NET = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (GradCam(layer="no_such"), "method.part: the model has no layer 'no_such'"),
        (Occlusion(window=5), "method.part: occlusion: windows [1, 5, 5]"),
        (Occlusion(window=[2, 2]), "method.part: occlusion: window=[2, 2] does not fit"),
        (KernelShap(features=[0, 1]), "method.part: features have shape (2,)"),
        (Captum("Saliency", arguments={"abz": True}), "has no argument 'abz'.*abs"),
        (SensitivityN(n=17), "metric.part: n asks for 17 features, the samples have 16"),
        (MaxSensitivityN(n=(1, 99)), "metric.part: n asks for 99 features"),
        (Road(fractions=(0.5, 20)), "metric.part: fractions asks for 20 features"),
        (Deletion(features=torch.arange(3)), "metric.part: features have shape (3,)"),
        (Quantus("Sparsness", "", "", "none"), "quantus.metrics has no metric 'Sparsness'"),
        (Quantus("Sparseness", "", "", "none", arguments={"a": 1}), "quantus.Sparseness"),
    ],
)
def test_an_argument_that_does_not_fit_model_or_samples(part, message):
    text, calls = "", []
    hook = NET.register_forward_hook(lambda *_: calls.append(1))
    try:
        Experiment(
            name="fit",
            model=Model("net", NET, (), "", "", "made"),
            data=images(),
            methods={"part": part} if callable(part) and hasattr(part, "kind") else {},
            metrics={"part": part} if hasattr(part, "measure") else {},
            baseline=Zero(),
        )
    except InputError as error:
        text = str(error)
    finally:
        hook.remove()
    assert all(piece in text for piece in message.split(".*")), text
    assert not calls


def images() -> Data:
    """Two images of 4 x 4 pixels."""
    plain = parts.data(limit=None)
    return replace(plain, kind="image", shape=(1, 4, 4), features="pixel")
