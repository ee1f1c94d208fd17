"""One definition for each metric: class, function and configuration give the same numbers."""

from __future__ import annotations

import functools
import json
from ast import literal_eval
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch
from igbench.core.dataset import Data
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.methods.custom import CallableMethod
from igbench.schema import MethodSpec
from tests.helpers.contract import OF_WORDS, class_of

NAMES = [name for name in compose.choices("metric") if name not in OF_WORDS]
IMAGE, VECTOR, SERIES = (1, 16, 16), (30,), (2, 15)
QUARTERS = torch.arange(256).view(IMAGE) // 4
"""Features of four neighbours in a row."""

NEAR = ("avg_sensitivity", "local_lipschitz", "max_sensitivity")
FEW = {"arguments": {"nr_runs": 5, "normalise": False}}
CHANGED: dict[str, dict[str, Any]] = {
    "a": {"a": 3.0},
    "absolute": {"absolute": False},
    "among": {"among": ("zero", "blur")},
    "arguments": FEW,
    "quantus_sparseness.arguments": {"arguments": {"abs": True, "normalise": False}},
    "ball": {"ball": "l2"},
    "bins": {"bins": 10},
    "classes": {"classes": 1},
    "draws": {"draws": 5},
    "dummy.draws": {"draws": 1, "mode": "detect"},
    "error": {"error": 1e-9, "step": "auto"},
    "infidelity.error": {"error": 10.0, "draws": "auto", "most": 64},
    "infidelity.most": {"most": 20, "draws": "auto", "error": 0.01},
    **{
        f"{name}.{parameter}": {"draws": "auto", "error": 1e-4, "most": 64, parameter: other}
        for name in ("soft_comprehensiveness", "soft_sufficiency")
        for parameter, other in (("error", 10.0), ("most", 20))
    },
    **{
        f"{name}.{parameter}": {"subsets": "auto", "error": 0.01, "most": 64, parameter: other}
        for name in ("sensitivity_n", "faithfulness_correlation")
        for parameter, other in (("error", 10.0), ("most", 20))
    },
    "features": {"features": "patch:4"},
    "infidelity.features": {"features": "patch:4", "perturbation": "subset"},
    "fill": {"fill": "baseline"},
    "quantus_faithfulness_correlation.fill": {"fill": "quantus", **FEW},
    "quantus_sparseness.fill": {"fill": "quantus"},
    "form": {"form": "elementwise"},
    "fractions": {"fractions": (0.2, 0.5)},
    "quantus_faithfulness_correlation.fractions": {"fractions": {"subset_size": 0.5}, **FEW},
    "quantus_faithfulness_correlation.reduce": {"reduce": "mean", **FEW},
    "quantus_faithfulness_correlation.repeats": {"repeats": 3, **FEW},
    "quantus_sparseness.fractions": {"fractions": {}},
    "init": {"init": "torch"},
    "k": {"k": 20},
    "overlap": {"overlap": 0.05},
    "layer": {"layer": "3"},
    "least": {"least": 0.01, "normalise": False},
    "aic.least": {"least": -0.5, "normalise": False},  # the network is wrong on these: accuracy 0
    "most": {"most": 16},
    "naopc.features": {"features": "patch:8"},
    "naopc.scalar": {"scalar": "probability"},
    "difference_from_exact.features": {"features": "patch:8"},
    "difference_from_exact.scalar": {"scalar": "probability"},
    "difference_from_exact.statistic": {"statistic": "spearman"},
    "mode": {"mode": "ablate"},
    "dummy.mode": {"mode": "detect"},
    "n": {"n": 0.5},
    "n_reference": {"n_reference": 16},
    "neighbours": {"neighbours": 3},
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
    "pointing_game.part": {"part": "absolute", "tolerance": 0.0},
    "perturbation": {"perturbation": "subset"},
    "radius": {"radius": 0.5},
    "reduce": {"reduce": "mean"},
    "relative": {"relative": False},
    "local_lipschitz.relative": {"relative": True},
    "repeats": {"repeats": 3},
    "rounding": {"rounding": "floor"},
    "log_odds.rounding": {"rounding": "floor", "share": 0.3},
    "rewrite": {"rewrite": "split"},
    "scalar": {"scalar": "logit"},
    "scale": {"scale": "input"},
    "infidelity.scale": {"scale": 0.5, "perturbation": "gaussian"},
    "pgi.scale": {"scale": 0.5},
    "pgu.scale": {"scale": 0.5},
    "ris.scale": {"scale": 0.5},
    "ros.scale": {"scale": 0.5},
    "rrs.scale": {"scale": 0.5},
    "seeds": {"seeds": 1},
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
    "zero": {"zero": True},
}
"""Another valid value of each parameter (of each metric, where they differ), with what it needs."""

MEASURES_THE_SAME = {
    # The class of these two images never changes, as `sic` sees that its probability does.
    *(f"aic.{name}" for name in ("thresholds", "start", "least", "absolute", "repeats")),
    "implementation_invariance.rewrite",  # the method notices neither
    "seed_variance.seeds",  # the method draws nothing
    *(f"{name}.scale" for name in (*NEAR, "max_sensitivity_n")),  # no texts
    *(f"{name}.neighbours" for name in NEAR),
    "naopc.most",  # the features are fewer
    "difference_from_exact.most",
    "quantus_faithfulness_correlation.fill",  # black is the baseline here
    "quantus_faithfulness_correlation.reduce",
    "quantus_sparseness.arguments",
    "quantus_sparseness.fill",
    "quantus_sparseness.fractions",
    "quantus_sparseness.reduce",
    "quantus_sparseness.repeats",
}
"""Parameters whose other value changes no number here."""

DESCRIPTIVE = {"metric", "title", "reference", "direction", "low", "high", "needs", "family"}
"""Fields of `Quantus` that name or describe a metric of Quantus."""
GIVEN = {"data", "masks", "coefficients"}
"""Parameters that are data, not choices."""

FUNCTION = {"difference_from_ig": "difference"}
"""Functions with another name than the file."""


def parameters() -> list[tuple[str, str]]:
    found = [(name, "") for name in NAMES]
    return found + [
        (name, f.name)
        for name in NAMES
        for f in fields(class_of(name))
        if f.name not in GIVEN | DESCRIPTIVE
    ]


def net(shape: tuple[int, ...]) -> nn.Module:
    """A network that ignores the first eighth of its inputs; float64, weights from a fixed seed."""
    d, g = torch.Size(shape).numel(), torch.Generator().manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)
        model[1].weight[:, : d // 8] = 0
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
    return {n: (2 * m).round() / 2 - 0.75 for n, m in maps.items()}


def data_of(shape: tuple[int, ...], mask: bool = True) -> Data:
    g = torch.Generator().manual_seed(6)
    marked = torch.rand(shape[1:] or shape, generator=g) < 0.3
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


def coefficients(shape: tuple[int, ...]) -> Tensor:
    """For the metrics that compare with those of a linear model, which the network is not."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape).cos()


X, Y, MAPS, DATA = inputs(IMAGE), torch.tensor([0, 1]), maps_of(inputs(IMAGE)), data_of(IMAGE)


def own_data(target: Any, shape: tuple[int, ...] = IMAGE) -> dict[str, Any]:
    known = {f.name for f in fields(target)}
    data = DATA if shape == IMAGE else data_of(shape)
    return {
        k: v for k, v in {"data": data, "coefficients": coefficients(shape)}.items() if k in known
    }


def kind_of(arguments: Mapping[str, Any]) -> Any:
    return "local" if arguments.get("perturbation") == "gaussian" else "global"


def by_class(name: str, arguments: Mapping[str, Any]) -> Any:
    fixed = {k: v for k, v in configured(name).items() if k != "_target_"}
    target = class_of(name)
    metric = target(**{**fixed, **arguments}, **own_data(target))
    return metric(net(IMAGE), X, MAPS, target=Y, method=method, kind=kind_of(arguments))["case"]


@functools.cache
def without_the_parameter(name: str, arguments: str) -> Any:
    """By class, once for all parameters of a metric that ask for the same."""
    return by_class(name, literal_eval(arguments))


def by_function(name: str, arguments: Mapping[str, Any]) -> Any:
    function = getattr(metrics, FUNCTION.get(name, name))
    given = {**arguments, **own_data(class_of(name))}
    kind = kind_of(arguments)
    return function(net(IMAGE), X, MAPS, target=Y, method=method, kind=kind, **given)["case"]


def by_configuration(name: str, arguments: Mapping[str, Any]) -> Any:
    """As a run does it: build, fit to the shape of the data, observe, measure."""
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
    metric = build.construct(
        {**configured(name), **listed}, f"metric.{name}", **own_data(class_of(name))
    )
    metric = metric.for_shape(IMAGE)
    score, x = Score(net(IMAGE)), X.clone()
    batch = Batch(score, x, torch.zeros_like(x), Y, ("0", "1"), "pixel")
    spec = MethodSpec("drawn", "", kind_of(arguments), signed=True)
    again = CallableMethod(method, spec.kind, per_batch=True)
    maps = {n: Attribution(values, spec, again) for n, values in MAPS.items()}
    return metric.measure(batch, maps, metric.observe(batch))["case"]


def assert_same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, equal_nan=True)


def change(name: str, parameter: str) -> dict[str, Any]:
    if not parameter:
        return {}
    own = CHANGED.get(f"{name}.{parameter}", CHANGED.get(parameter))
    assert own is not None, f"list another value of {parameter!r} of {name} in CHANGED"
    return own


def usual(name: str, parameter: str) -> dict[str, Any]:
    """What a metric gets besides: where it has a value on this network, and takes no long time."""
    if name in ("aic", "sic"):  # no class of this network is sure, nor less sure at the start
        return {"least": 0.0, "normalise": False, "thresholds": (0.05, 0.3)}  # not 13
    if name == "smooth_mprt":
        return {"draws": 2}  # not 8
    if name.startswith("soft_"):  # removing everything does not lower the output of this network
        return {"normalise": False}
    if name == "quantus_faithfulness_correlation" and parameter:  # as in conf/ without parameter
        return FEW  # not 100 runs
    if name == "road" and parameter:  # at its defaults without parameter
        return {"fractions": (0.2, 0.4)}  # not 9
    return {}


@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_class_function_and_configuration_agree(name, parameter):
    arguments = {**usual(name, parameter), **change(name, parameter)}
    found = by_class(name, arguments)
    assert bool(found.value.isfinite().any()), found.reason
    routes = [by_configuration]
    if not name.startswith("quantus_"):
        routes.append(by_function)
    if name == "abpc" and parameter == "order":
        routes.remove(by_function)  # the name implies it
    for route in routes:
        again = route(name, arguments)
        assert_same(again.value, found.value)
        assert (again.std_error is None) == (found.std_error is None)
        if found.std_error is not None:
            assert_same(again.std_error, found.std_error)
        assert again.curves.keys() == found.curves.keys()
    if parameter and f"{name}.{parameter}" not in MEASURES_THE_SAME:
        without = {k: v for k, v in arguments.items() if k != parameter}
        plain = without_the_parameter(name, repr(without))
        same = torch.equal(plain.value, found.value)
        assert not same or str(plain.std_error) != str(found.std_error), "it changes something"


def test_a_parameter_on_the_command_line_is_that_of_the_function():
    config = compose.compose(["metric=[deletion]", "metric.deletion.step=64"])
    node = config["metric"]["deletion"]
    metric = build.construct(node, "metric.deletion", data=DATA)
    assert_same(
        metric(net(IMAGE), X, MAPS["case"], target=Y).value,
        metrics.deletion(net(IMAGE), X, MAPS["case"], target=Y, step=64).value,
    )


def on_shape(name: str, shape: tuple[int, ...], **arguments: Any) -> Any:
    """A metric at its defaults, on samples of a shape."""
    own = own_data(class_of(name), shape)
    metric = build.construct(configured(name), f"metric.{name}", **own)
    given = {"method": method, **arguments}
    return metric(net(shape), inputs(shape), maps_of(inputs(shape)), target=Y, **given)["case"]


NEEDS_IMAGES = {name for name in NAMES if name in ("aic", "sic", "road")}
NEEDS_FEW = {"naopc", "difference_from_exact"}
"""Metrics of all subsets of the features."""
NEEDS_PIXELS = {name for name in NAMES if class_of(name).family == "localisation"}


@pytest.mark.parametrize("shape", [VECTOR, SERIES], ids=["vectors", "series"])
@pytest.mark.parametrize("name", NAMES)
def test_samples_that_are_no_images(name, shape):
    if name in NEEDS_IMAGES:
        with pytest.raises(InputError, match="images") as caught:
            on_shape(name, shape)
        assert "\n" not in str(caught.value)
        return
    if name in NEEDS_FEW:
        with pytest.raises(InputError, match=r"30 features have 2\^30 subsets"):
            on_shape(name, shape)
        return
    found = on_shape(name, shape)
    # The second map of a series has no positive sum over the channels of a time step.
    first = 1 if shape == SERIES and name in NEEDS_PIXELS else len(found.value)
    assert bool(found.value[:first].isfinite().all()), found.reason
    spec = build.construct(configured(name), name, data=data_of(shape)).for_shape(shape).spec
    assert "square" not in spec.title
    assert "patch" not in spec.unit
    assert "None" not in spec.title


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [IMAGE, VECTOR, SERIES], ids=["images", "vectors", "series"])
def test_a_metric_that_explains_again_asks_for_the_method(name, shape):
    if name in NEEDS_IMAGES | NEEDS_PIXELS or name.startswith("quantus_"):
        pytest.skip("see the tests of these")
    if name in NEEDS_FEW and shape != IMAGE:
        pytest.skip("there are too many features")
    if build.construct(configured(name), name).needs_method:
        with pytest.raises(InputError, match=r"needs the method itself.* method= to the function"):
            on_shape(name, shape, method=None)
    else:
        assert_same(on_shape(name, shape, method=None).value, on_shape(name, shape).value)


@pytest.mark.parametrize("name", sorted(NEEDS_PIXELS))
def test_a_metric_of_places_asks_for_masks(name):
    with pytest.raises(InputError, match="masks"):
        build.construct(configured(name), name)(net(IMAGE), X, MAPS, target=Y)
    marks = [MAPS["case"][0, 0] > 0, None]
    metric = class_of(name)(masks=marks)
    found = metric(net(IMAGE), X, MAPS, target=Y)["case"]
    again = getattr(metrics, name)(net(IMAGE), X, MAPS, target=Y, masks=marks)["case"]
    assert float(found.value[0]) == 1.0
    assert bool(found.value[1].isnan())
    assert_same(again.value, found.value)


WITH_FEATURES = [n for n in NAMES if "features" in {f.name for f in fields(class_of(n))}]


@pytest.mark.parametrize("name", WITH_FEATURES)
def test_features_as_a_tensor(name):
    """Numbers of features, here four neighbours in a row, in place of a name."""
    numbers, count = (QUARTERS, 64) if name not in NEEDS_FEW else (QUARTERS // 8, 8)
    node = {**configured(name), "features": numbers}
    if name == "infidelity":
        node["perturbation"] = "subset"
    if name.startswith("soft_"):
        node["normalise"] = False
    own = own_data(class_of(name))
    metric = build.construct(node, name, **own)
    hash(metric.sharing_key)
    assert metric.spec.unit == f"custom:{count}"
    found = metric(net(IMAGE), X, MAPS, target=Y, method=method)["case"]
    assert bool(found.value.isfinite().all()), found.reason
    named = {k: v for k, v in node.items() if k != "features"}
    again = build.construct(named, name, **own)(
        net(IMAGE), X, MAPS, target=Y, method=method, features=numbers
    )["case"]
    assert_same(again.value, found.value)
    with pytest.raises(InputError, match=r"features have shape|needs images") as caught:
        metric(net(VECTOR), inputs(VECTOR), maps_of(inputs(VECTOR)), target=Y, method=method)
    assert "\n" not in str(caught.value)


def test_metrics_with_the_same_tensor_share_an_observation():
    first, second = (metrics.Deletion(features=QUARTERS), metrics.SymmetricRelevanceGain)
    assert first.sharing_key == second(features=QUARTERS).sharing_key
    assert first.sharing_key == second(features=QUARTERS.clone()).sharing_key
    assert len({first.sharing_key, second(features=QUARTERS.flip(1)).sharing_key}) == 2


def test_a_run_on_vectors_says_which_unit_was_used():
    record = igbench.evaluate(
        net(VECTOR),
        inputs(VECTOR),
        methods=["ig"],
        metrics={
            "sensitivity_n": metrics.SensitivityN(),
            "infidelity": metrics.Infidelity(),
            "deletion": metrics.Deletion(features=torch.arange(30) // 3),
        },
    ).run
    assert {n: record.metrics[n].unit for n in ("sensitivity_n", "infidelity", "deletion")} == {
        "sensitivity_n": "element",
        "infidelity": "element",
        "deletion": "custom:10",
    }
    known = record.environment["parameters"]
    assert known["metrics"]["infidelity"]["perturbation"] == "subset"
    assert known["metrics"]["sensitivity_n"]["n"] == [0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8]
    assert known["metrics"]["deletion"]["features"].startswith("int64 tensor of shape [30]")
    assert known["methods"]["ig"]["n_steps"] > 0
    json.dumps(known, allow_nan=False)


def test_infidelity_of_vectors_needs_no_word_about_squares():
    x = inputs(VECTOR)
    plain = metrics.infidelity(net(VECTOR), x, maps_of(x)["case"], target=Y)
    subset = metrics.Infidelity(perturbation="subset")
    assert_same(plain.value, subset(net(VECTOR), x, maps_of(x)["case"], target=Y).value)
