"""One definition for each metric: class, function and configuration give the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch
from igbench.core.dataset import Data
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.methods.custom import BatchMethod
from igbench.schema import MethodSpec

NAMES = compose.choices("metric")
IMAGE, VECTOR, SERIES = (1, 16, 16), (30,), (2, 15)
QUARTERS = torch.arange(256).view(IMAGE) // 4
"""Features of four neighbours in a row."""

CHANGED: dict[str, dict[str, Any]] = {
    "a": {"a": 3.0},
    "absolute": {"absolute": False},
    "among": {"among": ("zero", "blur")},
    "arguments": {"arguments": {"nr_runs": 20, "normalise": False}},
    "quantus_sparseness.arguments": {"arguments": {"abs": True, "normalise": False}},
    "ball": {"ball": "l2"},
    "bins": {"bins": 10},
    "classes": {"classes": 1},
    "draws": {"draws": 5},
    "dummy.draws": {"draws": 1, "mode": "detect"},
    "features": {"features": "patch:8"},
    "infidelity.features": {"features": "patch:8", "perturbation": "subset"},
    "fill": {"fill": "baseline"},
    "quantus_faithfulness_correlation.fill": {"fill": "quantus"},
    "fractions": {"fractions": (0.25, 0.5)},
    "quantus_faithfulness_correlation.fractions": {"fractions": {"subset_size": 0.5}},
    "quantus_sparseness.fractions": {"fractions": {}},
    "init": {"init": "torch"},
    "least": {"least": 0.01, "normalise": False},
    "mode": {"mode": "ablate"},
    "dummy.mode": {"mode": "detect"},
    "n": {"n": 0.5},
    "n_reference": {"n_reference": 16},
    "noise": {"noise": "extremes"},
    "road.noise": {"noise": 0.5},
    "smooth_mprt.noise": {"noise": 0.5},
    "normalise": {"normalise": False},
    "normalize": {"normalize": False},
    "occluder": {"occluder": "mean"},
    "order": {"order": "lerf"},
    "mprt.order": {"order": "independent"},
    "smooth_mprt.order": {"order": "independent"},
    "part": {"part": "absolute"},
    "perturbation": {"perturbation": "subset"},
    "radius": {"radius": 0.5},
    "reduce": {"reduce": "mean"},
    "relative": {"relative": False},
    "local_lipschitz.relative": {"relative": True},
    "repeats": {"repeats": 3},
    "rewrite": {"rewrite": "split"},
    "scalar": {"scalar": "logit"},
    "scale": {"scale": 0.5, "perturbation": "gaussian"},
    "share": {"share": 0.25},
    "shift": {"shift": 0.1},
    "shift_baseline": {"shift_baseline": True},
    "sides": {"sides": (0.5, 0.75)},
    "similarity": {"similarity": "ssim"},
    "span": {"span": (-1.0, 2.0)},
    "stages": {"stages": 1},
    "start": {"start": 0.2},
    "statistic": {"statistic": "blind"},
    "step": {"step": 64},
    "subsets": {"subsets": 5},
    "threshold": {"threshold": 0.5},
    "thresholds": {"thresholds": (0.1, 0.6)},
    "tie_orders": {"tie_orders": 3},
    "to": {"to": "other"},
    "tolerance": {"tolerance": 0.0},
    "until": {"until": 0.5},
    "window": {"window": 3, "similarity": "ssim"},
}
"""Another valid value of each parameter (of each metric, where they differ), with what it needs."""

MEASURES_THE_SAME = {
    "quantus_faithfulness_correlation.fill",  # black is the baseline here
    "quantus_faithfulness_correlation.reduce",
    "quantus_sparseness.arguments",
    "quantus_sparseness.fill",
    "quantus_sparseness.fractions",
    "quantus_sparseness.reduce",
    "quantus_sparseness.repeats",
}
"""Parameters whose other value changes no number here."""

DESCRIPTIVE = {"metric", "title", "reference", "direction", "low", "high", "needs"}
"""Fields of `Quantus` that name or describe a metric of Quantus."""
GIVEN = {"data", "masks"}
"""Parameters that are data, not choices."""

FUNCTION = {"difference_from_ig": "difference"}
"""Functions with another name than the file."""


def node_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((compose.FOLDER / "metric" / f"{name}.yaml").read_text())[name]


def class_of(name: str) -> Any:
    return build.locate(node_of(name)["_target_"], name)


def parameters() -> list[tuple[str, str]]:
    found = [(name, "") for name in NAMES]
    return found + [
        (name, f.name)
        for name in NAMES
        for f in fields(class_of(name))
        if f.name not in GIVEN | DESCRIPTIVE
    ]


def net(shape: tuple[int, ...]) -> nn.Module:
    """Linear, tanh, linear; float64 with weights from a fixed seed."""
    d, g = torch.Size(shape).numel(), torch.Generator().manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / max(p.shape[-1], 1) ** 0.5)
    return model.double().eval()


def inputs(shape: tuple[int, ...]) -> Tensor:
    g = torch.Generator().manual_seed(4)
    return torch.rand(2, *shape, generator=g, dtype=torch.float64)


def method(batch: Batch) -> Tensor:
    """(x - x') times the gradient at x, plus a little of x."""
    gradient = input_gradient(batch.score, batch.x, batch.target)
    return (batch.x - batch.baseline) * gradient + 0.01 * batch.x


def maps_of(x: Tensor) -> dict[str, Tensor]:
    """Maps with many ties, so that their orders count."""
    g = torch.Generator().manual_seed(5)
    maps = {n: torch.randn(x.shape, generator=g, dtype=x.dtype) for n in ("case", "ig", "other")}
    return {n: (2 * m).round() / 2 + 0.25 for n, m in maps.items()}


def data_of(shape: tuple[int, ...], mask: bool = True) -> Data:
    g = torch.Generator().manual_seed(6)
    marked = torch.rand(shape[-2:] if len(shape) > 1 else shape, generator=g) < 0.1
    return Data(
        name="drawn",
        kind="image" if len(shape) == 3 else "table",
        shape=shape,
        sample_ids=("0", "1"),
        labels=(0, 1),
        load=lambda i: inputs(shape)[i].float(),
        features="pixel" if len(shape) == 3 else "element",
        display=None,
        black=(0.0,),
        reference=lambda: inputs(shape).float().flip(0),
        source="drawn",
        white=(1.0,) if len(shape) == 3 else (),
        mask=(lambda i: marked) if mask else None,
    )


X, Y, MAPS, DATA = inputs(IMAGE), torch.tensor([0, 1]), maps_of(inputs(IMAGE)), data_of(IMAGE)


def own_data(target: Any) -> dict[str, Any]:
    return {"data": DATA} if "data" in {f.name for f in fields(target)} else {}


def kind_of(arguments: Mapping[str, Any]) -> Any:
    return "local" if arguments.get("perturbation") == "gaussian" else "global"


def by_class(name: str, arguments: Mapping[str, Any]) -> Any:
    fixed = {k: v for k, v in node_of(name).items() if k != "_target_"}
    target = class_of(name)
    metric = target(**{**fixed, **arguments}, **own_data(target))
    return metric(net(IMAGE), X, MAPS, target=Y, method=method, kind=kind_of(arguments))["case"]


def by_function(name: str, arguments: Mapping[str, Any]) -> Any:
    function = getattr(metrics, FUNCTION.get(name, name))
    given = {**arguments, **own_data(class_of(name))}
    kind = kind_of(arguments)
    return function(net(IMAGE), X, MAPS, target=Y, method=method, kind=kind, **given)["case"]


def by_configuration(name: str, arguments: Mapping[str, Any]) -> Any:
    """As a run does it: build, fit to the shape of the data, observe, measure."""
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
    metric = build.construct({**node_of(name), **listed}, f"metric.{name}", data=DATA)
    metric = metric.for_shape(IMAGE)
    score, x = Score(net(IMAGE)), X.clone()
    batch = Batch(score, x, torch.zeros_like(x), Y, ("0", "1"), "pixel")
    spec = MethodSpec("drawn", "", kind_of(arguments), signed=True)
    again = BatchMethod(method, spec)
    maps = {n: Attribution(values, spec, again) for n, values in MAPS.items()}
    return metric.measure(batch, maps, metric.observe(batch))["case"]


def change(name: str, parameter: str) -> dict[str, Any]:
    if not parameter:
        return {}
    own = CHANGED.get(f"{name}.{parameter}", CHANGED.get(parameter))
    assert own is not None, f"list another value of {parameter!r} of {name} in CHANGED"
    # No class of this network is sure of its output.
    return own


@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_class_function_and_configuration_agree(name, parameter):
    arguments = change(name, parameter)
    if name in ("aic", "sic"):  # no class of this network is sure of its output
        arguments = {"least": 0.0, **arguments}
    found = by_class(name, arguments)
    assert bool(found.value.isfinite().all()), found.reason
    routes = [by_configuration]
    if not name.startswith("quantus_"):
        routes.append(by_function)
    if name == "abpc" and parameter == "order":
        routes.remove(by_function)  # the name implies it
    for route in routes:
        again = route(name, arguments)
        torch.testing.assert_close(again.value, found.value, rtol=1e-12, atol=1e-13)
        assert (again.std_error is None) == (found.std_error is None)
        if found.std_error is not None:
            torch.testing.assert_close(again.std_error, found.std_error, rtol=1e-9, atol=1e-12)
        assert again.curves.keys() == found.curves.keys()
    if parameter and f"{name}.{parameter}" not in MEASURES_THE_SAME:
        without = {k: v for k, v in arguments.items() if k != parameter}
        plain = by_class(name, without)
        same = torch.equal(plain.value, found.value)
        same_error = str(plain.std_error) == str(found.std_error)
        assert not (same and same_error), "the parameter changes something"
