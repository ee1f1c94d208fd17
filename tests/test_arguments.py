"""Every argument of every method, metric and baseline is used or refused when it is made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from igbench import baselines, methods, metrics
from igbench.core.batch import Attribution, Batch
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.score import Score
from igbench.data.adult import adult
from igbench.data.breast_cancer import breast_cancer
from igbench.data.digits import digits
from igbench.data.imagenet import imagenet
from igbench.data.mosaic import mosaic_digits
from igbench.data.next_token import next_token
from igbench.data.photograph_grids import photograph_grids
from igbench.data.photographs import photographs
from igbench.data.prompt_files import prompts
from igbench.data.table_file import table_file
from igbench.data.tweets import tweets
from igbench.errors import InputError, NotDefinedError
from igbench.methods.base import BaseMethod
from igbench.metrics.base import BaseMetric
from igbench.models.digits_resnet import digits_resnet
from igbench.models.efficientnet_lite import efficientnet_lite
from igbench.models.exported import exported
from igbench.models.hf_causal import hf_causal
from igbench.models.hf_image import hf_image
from igbench.models.imagenet_models import imagenet_model
from igbench.models.lightgbm_model import lightgbm_model
from igbench.models.onnx_model import onnx_model
from igbench.models.sklearn_model import sklearn_model
from igbench.models.smollm2 import smollm2
from igbench.models.tabular import tabular_adult, tabular_breast_cancer
from igbench.models.text_gpt import text_gpt
from igbench.models.text_sentiment import text_sentiment
from igbench.models.timm_models import timm_model
from igbench.models.torch_module import torch_module
from igbench.models.torchvision_models import torchvision_model
from igbench.schema import MethodSpec

HOSTILE = (
    0, -1, 1, 1.5, 10**30, 1e300, -1e300, math.nan, math.inf, -math.inf, True, None, "",
    "no_such", "two\nlines", b"ig", [], {}, set(), [None], [0], [-1.0], ["no_such"], [math.nan],
    [0.5, 0.1], [-1.0, 0.5], [2, 1], "0n", "²n", "patch:0", "patch:²",
    {"a": 1}, object(), int, np.int64(3), np.float32(0.5), np.array([0.5]), torch.zeros(3) - 1,
    lambda *_: 1 / 0,
)  # fmt: skip
"""What an argument may be by mistake."""

GIVEN: dict[str, dict[str, Any]] = {
    "CallableMethod": {"function": lambda x, target=None: getattr(x, "x", x)},
    "Captum": {"attribution": "Saliency"},
    "Shap": {"explainer": "kernel"},
    "Quantus": {
        "metric": "Sparseness",
        "title": "Sparseness",
        "reference": "Chalasani et al. 2020",
        "direction": "higher",
    },
    "Constant": {"value": 0.5},
}
"""Arguments without a default."""

SMALL = {
    "samples": 20,
    "draws": 3,
    "n_steps": 3,
    "steps": 3,
    "evaluations": 12,
    "n_reference": 4,
    "subsets": 4,
    "max_steps": 17,
    "bins": 4,
    "repeats": 1,
}
"""Smaller numbers than the defaults, where they are not what is tried."""

LATER = {
    "function", "curve", "pool", "masks", "data", "arguments", "init", "noise_tunnel",
    "coefficients", "ratings",
}  # fmt: skip
"""Arguments that are code or data of the user's, or another library's: a call shows what they are.
"""
CALLED = {"among": "baseline", "attribution": "captum.attr", "baselines": "baseline"}
"""What else a message may call an argument."""


def classes_of(module: Any, base: type) -> list[type]:
    names = [getattr(module, name) for name in module.__all__]
    return [c for c in names if inspect.isclass(c) and issubclass(c, base) and c is not base]


BASELINES = [type(make()) for make in baselines.NAMED.values()] + [baselines.Constant]
CLASSES = classes_of(methods, BaseMethod) + classes_of(metrics, BaseMetric) + BASELINES


def options(cls: type, name: str) -> dict[str, Any]:
    """Arguments of a small object, without the one that is tried."""
    known = inspect.signature(cls).parameters
    small = SMALL | {"data": DATA, "pool": DATA.reference}
    own = {k: v for k, v in small.items() if k in known} | GIVEN.get(cls.__name__, {})
    return {k: v for k, v in own.items() if k != name}


def cases() -> Iterator[Any]:
    for cls in CLASSES:
        for name in inspect.signature(cls).parameters:
            yield pytest.param(cls, name, id=f"{cls.__name__}-{name}")


@pytest.mark.parametrize(("cls", "name"), list(cases()))
def test_an_argument_is_refused_by_name_or_works(cls, name):
    for value in HOSTILE:
        made, text = attempt(lambda value=value: cls(**options(cls, name), **{name: value}))
        if made is None:
            assert text.isprintable(), value
            assert name in text or CALLED.get(name, name) in text, (value, text)
        elif name not in LATER:
            tried(made)


def attempt(make: Callable[[], Any]) -> tuple[Any, str]:
    """What is made, or None and why it is refused."""
    try:
        return make(), ""
    except InputError as error:
        return None, str(error)


def model(x: Tensor) -> Tensor:
    return torch.stack([x.flatten(1).sum(1), (x.flatten(1) ** 2).sum(1)], dim=1)


X = torch.linspace(0.1, 1, 48, dtype=torch.float64).view(1, 3, 4, 4)
TARGET = torch.tensor([1])
DATA = Data(
    name="ramp",
    kind="image",
    shape=(3, 4, 4),
    sample_ids=("a",),
    labels=(1,),
    load=lambda i: X[i],
    features="pixel",
    display=None,
    black=(0.0, 0.0, 0.0),
    reference=lambda: torch.cat([X / 2, X / 3]),
    source="made",
    white=(2.0, 2.0, 2.0),
    reference_labels=lambda: [0, 1],
    mask=lambda i: torch.eye(4) > 0,
)


def tried(made: Any) -> None:
    """Use an object on one sample; not to be defined there is the one thing that may happen."""
    against = model if isinstance(made, BaseMethod) else "pixel"
    batch = Batch(Score(model, batch_size=64), X, torch.zeros_like(X), TARGET, ("a",), seed=0)
    try:
        if not fitting(made, against):
            return
        if isinstance(made, BaseMethod):
            assert isinstance(made.spec, MethodSpec)
            assert made(batch).shape == X.shape
        elif isinstance(made, BaseMetric):
            phi = Attribution(X.flip(-1), MethodSpec("", "", "global", signed=True), lambda b: b.x)
            assert made.spec.low <= made.spec.high
            for found in made.score(batch, {"ig": phi, "other": phi}).values():
                assert found.value.shape == (1,)
        else:
            assert made(X, ("a",), DATA, 0).shape == X.shape
    except NotDefinedError:
        pass


def fitting(made: Any, against: Any) -> bool:
    """Whether an object passes the look before a run."""
    if isinstance(made, BaseMethod | BaseMetric):
        found, text = attempt(lambda: made.check_fit(against, X.shape[1:]) or True)
        assert found or text.isprintable()
        return bool(found)
    return True


FACTORIES = (
    digits, mosaic_digits, photographs, photograph_grids, imagenet, digits_resnet,
    efficientnet_lite, exported, hf_image, imagenet_model, timm_model, torch_module,
    torchvision_model, sklearn_model, lightgbm_model, onnx_model, table_file,
    text_sentiment, tweets,
    next_token, prompts, hf_causal, smollm2, text_gpt,
    adult, breast_cancer, tabular_adult, tabular_breast_cancer,
)  # fmt: skip


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)
def test_factories_refuse_arguments_by_name(factory):
    needed = {
        name: None
        for name, p in inspect.signature(factory).parameters.items()
        if p.default is inspect.Parameter.empty and name != "model"
    }
    if "model" in inspect.signature(factory).parameters:
        needed["model"] = Model("net", torch.nn.Identity(), (), "", "", "made")
    for name in inspect.signature(factory).parameters:
        for value in (object(), b"x", math.nan, {1, 2}, 1j):
            with pytest.raises(InputError) as caught:
                factory(**needed | {name: value})
            assert f"{name}=" in str(caught.value)
