"""Every metric at its defaults, on samples of every shape: one number, whichever way it is asked.

By class, as a function, and by name in a run.  Where a metric has no meaning, it says so in words:
one line of an `InputError`, and an undefined row of a run.
"""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core.batch import Batch
from igbench.core.content import content
from igbench.core.dataset import Data
from igbench.core.packing import PackedModel, Packing
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.methods import CallableMethod, IntegratedGradients, explain
from tests.helpers.contract import class_of

PACKING = Packing(((2, 3), (5,)))
SHAPES = {
    "table": (30,),
    "vector": (3,),
    "series": (2, 16),
    "grey": (1, 8, 8),
    "colour": (3, 16, 16),
    "video": (1, 2, 4, 4),
    "packed": (11,),
}
IMAGES = ("grey", "colour")
OFTEN = ("table", "colour", "packed")
KINDS = [pytest.param(k, marks=[] if k in OFTEN else pytest.mark.slow) for k in SHAPES]
"""All shapes where there is time; those that differ most otherwise."""
NAMES = compose.choices("metric")
IMAGES_ALONE = {"aic", "sic", "road"}
LOCALISATION = {n for n in NAMES if class_of(n).family == "localisation"}
SUBSETS = {"difference_from_exact", "naopc"}
FUNCTION = {"difference_from_ig": "difference"}
IDS = ("a", "b", "c")


class Two(nn.Module):
    """A network of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net((11,))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        found: Tensor = self.net(torch.cat([first.flatten(1), second], dim=1))
        return found


def net(shape: tuple[int, ...]) -> nn.Module:
    """A small network of four classes, with weights from a fixed seed."""
    d, g = torch.Size(shape).numel(), torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(d, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(2 * torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)
    return model.eval()


@functools.cache
def model_of(kind: str) -> nn.Module:
    return PackedModel(Two().eval(), PACKING) if kind == "packed" else net(SHAPES[kind])


def inputs(kind: str) -> Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.rand(len(IDS), *SHAPES[kind], generator=g)


def data_of(kind: str, *, masks: bool = True) -> Data:
    shape, x = SHAPES[kind], inputs(kind)
    marked = torch.arange(torch.Size(shape[1:] or shape).numel()).view(shape[1:] or shape) % 3 == 0
    return Data(
        name="drawn",
        kind="image" if kind in IMAGES else "table",
        shape=shape,
        sample_ids=IDS,
        labels=(None,) * len(IDS),
        load=lambda i: x[i],
        features="pixel" if kind in IMAGES else "element",
        display=None,
        black=(0.0,),
        reference=lambda: x.flip(0),
        source="drawn",
        white=(1.0,) if kind in IMAGES else (),
        mask=(lambda i: marked) if masks else None,
    )


def gradient_map(batch: Batch) -> Tensor:
    """(x - x') times the gradient at x, plus a little of x."""
    gradient = input_gradient(batch.score, batch.x, batch.target)
    return (batch.x - batch.baseline) * gradient + 0.01 * batch.x


METHOD = CallableMethod(gradient_map, "global", per_batch=True)
METHODS = {"ig": IntegratedGradients(n_steps=4), "other": METHOD}


@functools.cache
def run_of(kind: str) -> Any:
    """All metrics by name in one run."""
    return igbench.evaluate(
        model_of(kind), data_of(kind), methods=METHODS, metrics=[n for n in NAMES]
    )


def rows_of(kind: str, name: str) -> Any:
    frame = run_of(kind).frame
    return frame[(frame["metric"] == name) & (frame["method"] == "other")]


def arguments(kind: str) -> dict[str, Any]:
    x = inputs(kind)
    with torch.no_grad():
        target = model_of(kind)(x).argmax(dim=1)
    maps = {n: explain(m, model_of(kind), x, target=target) for n, m in METHODS.items()}
    return {
        "forward": model_of(kind),
        "inputs": x,
        "attributions": maps,
        "target": target,
        "sample_ids": IDS,
        "method": METHOD,
    }


def by_class(kind: str, name: str) -> Any:
    node = configured(name)
    metric = build.construct(node, name, data=data_of(kind))
    return metric(**arguments(kind))["other"]


def by_function(kind: str, name: str) -> Any:
    own = {"data"} & {f.name for f in fields(class_of(name))}
    given = {field: data_of(kind) for field in own}
    return getattr(metrics, FUNCTION.get(name, name))(**arguments(kind), **given)["other"]


def what_is_missing(name: str, kind: str) -> str:
    """What a metric says of samples that it has no meaning for; "" where it has one."""
    if name in IMAGES_ALONE and kind not in IMAGES:
        return "images"
    if name in SUBSETS and kind in ("table", "series", "video"):
        return "stops at most=14 features"
    return "looks up words" if name == "lexicon_agreement" else ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_one_number_by_class_by_function_and_by_name(name, kind):
    rows = rows_of(kind, name)
    assert len(rows) == len(IDS)
    ways = [by_class] if name.startswith("quantus_") else [by_class, by_function]
    missing = what_is_missing(name, kind)
    if missing:
        assert set(rows["status"]) == {"undefined"}
        (reason,) = set(rows["reason"])
        assert missing in reason
        for way in ways:
            with pytest.raises(InputError) as caught:
                way(kind, name)
            assert str(caught.value) == reason
        return
    assert "failed" not in set(rows["status"]), rows["reason"].tolist()
    if "coefficients" in {f.name for f in fields(class_of(name))}:
        # It may be linear between x' and x where no unit turns on or off in between.
        reasons = {reason.partition(",")[0] for reason in rows["reason"]} - {""}
        assert reasons == {"the model is not linear between the baseline and the sample"}
    elif name.startswith("soft_"):
        reasons = {reason.rpartition("or ")[2] for reason in rows["reason"]} - {""}
        assert reasons <= {"removing everything does not lower the output"}
    elif name not in ("aic", "sic"):  # of a network that is never sure there is no curve
        assert set(rows["status"]) == {"ok"}, rows["reason"].tolist()
    for way in ways:
        found = way(kind, name)
        torch.testing.assert_close(
            found.value.double().cpu(),
            torch.tensor(rows["value"].to_numpy()),
            rtol=1e-9,
            atol=1e-12,
            equal_nan=True,
        )


@pytest.mark.parametrize("name", sorted(LOCALISATION))
def test_metrics_of_places_say_that_there_are_no_masks(name):
    data = data_of("series", masks=False)
    with pytest.raises(InputError, match="has no masks") as caught:
        igbench.evaluate(model_of("series"), data, methods=METHODS, metrics=[name])
    assert "\n" not in str(caught.value)


def test_marks_of_a_series_are_its_time_steps():
    """All channels of a time step count together: 1 + 3 of 1 + 3 + 2 are on the mask."""
    x = torch.tensor([[[1.0, 0.0, 1.0], [3.0, 0.0, 1.0]]])
    marks = torch.tensor([[True, False, False]])
    mass = metrics.relevance_mass(lambda z: z.sum(dim=(1, 2)), x, x, masks=marks)
    assert float(mass) == pytest.approx(4 / 6)
    game = metrics.pointing_game(lambda z: z.sum(dim=(1, 2)), x, x, masks=marks, tolerance=0)
    assert float(game) == 1


def test_removal_of_the_time_steps_of_a_series():
    """Both channels of a step leave together: (3 + 1) of 6, then 1 + 1."""
    x = torch.tensor([[[1.0, 0.0, 1.0], [3.0, 0.0, 1.0]]])
    found = metrics.deletion(lambda z: z.sum(dim=(1, 2)), x, x, features="pixel", step=1)
    assert found.curves["deletion"][1].tolist() == [[6.0, 2.0, 0.0, 0.0]]


# ---------------------------------------------------------------- features as a tensor

UNITED = {
    name: class_of(name) for name in NAMES if "features" in {f.name for f in fields(class_of(name))}
}


@pytest.mark.parametrize("name", sorted(UNITED))
def test_features_as_a_tensor_count_by_content(name):
    index = torch.arange(30) // 3
    node = configured(name)
    one = replace(build.construct(node, name, data=data_of("table")), features=index)
    two, other = replace(one, features=index.clone()), replace(one, features=index.flip(0))
    assert one == two
    assert hash(one) == hash(two)
    assert content(one.sharing_key) == content(two.sharing_key)
    if name != "random_logit":
        assert one != other
    assert "int64 tensor of shape [30], sha256" in repr(one)
    assert "\n" not in repr(one)


def test_equal_tensors_share_an_observation_in_a_run():
    index = torch.arange(30) // 3
    found = igbench.evaluate(
        model_of("table"),
        data_of("table"),
        methods=METHODS,
        metrics={
            "deletion": metrics.Deletion(features=index),
            "srg": metrics.SymmetricRelevanceGain(features=index.clone()),
            "backwards": metrics.Deletion(features=index.flip(0)),
        },
    )
    stages = found.run.totals["stages"]
    assert {"metric deletion, srg", "metric backwards"} <= set(stages)
