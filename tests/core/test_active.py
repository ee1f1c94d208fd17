"""Elements that take no part: a masked sample equals the problem without these elements."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igbench
import igbench.metrics
from igbench.core.active import restrict
from igbench.core.batch import Attribution, Batch, Measurement, concatenate
from igbench.core.dataset import Data
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.evaluation import isolation
from igbench.integration.integrate import input_gradient
from igbench.methods import CallableMethod, IntegratedGradients, Random
from igbench.metrics import BaseMetric
from igbench.schema import MethodSpec

GLOBAL = MethodSpec("x times gradient", "", "global", signed=True)
G = torch.Generator().manual_seed(3)
F, IDS = 9, ("a", "b", "c")
IGNORED = 4


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=G, dtype=torch.float64)


class Padded(nn.Module):
    """A network in which elements that take no part matter most, and one that does is ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(F, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(2 * uniform(*p.shape) - 1)
            self.net[0].weight[:, IGNORED] = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(torch.where(ACTIVE.any(dim=0), x, 10 * x**2))
        return out


ACTIVE = torch.tensor(
    [[1, 1, 0, 1, 1, 1, 1, 0, 1], [0, 1, 0, 1, 1, 0, 1, 0, 1], [1, 1, 0, 1, 1, 1, 1, 0, 1]]
).bool()
PADDED = Padded()
X, BASELINE, TARGET = uniform(3, F) + 0.5, 0.1 * uniform(3, F), torch.tensor([0, 1, 2])


class Part(nn.Module):
    """The network as a function of some elements, written down with constants in between."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.net, self.columns = PADDED.net, ACTIVE[i].nonzero()[:, 0].tolist()
        self.row = torch.where(ACTIVE.any(dim=0), X[i], 10 * X[i] ** 2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        cells = [self.row[j].expand(len(x)) for j in range(F)]
        for place, j in enumerate(self.columns):
            cells[j] = x[:, place]
        out: Tensor = self.net(torch.stack(cells, dim=1))
        return out


def explain(batch: Batch) -> Tensor:
    return (batch.x - batch.baseline) * input_gradient(batch.score, batch.x, batch.target)


def maps() -> Tensor:
    """x times gradient, with large numbers where no element takes part."""
    values = explain(Batch(Score(PADDED), X, BASELINE, TARGET, IDS))
    return torch.where(ACTIVE, values, 100.0)


SAMPLING = {"reference": "", "direction": "none", "title": ""}
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "BaselineSensitivity": [{"among": ("zero", "gaussian_noise")}],
    "Dummy": [{"mode": "plant"}, {"mode": "detect"}],
    "Infidelity": [{"perturbation": "subset"}, {"draws": "all"}],
    "MaxSensitivityN": [{"mode": "noise"}, {"mode": "ablate"}],
    "Quantus": [
        {"metric": "Sparseness", **SAMPLING},
        {
            "metric": "FaithfulnessCorrelation",
            "fractions": {"subset_size": 0.5},
            "fill": "baseline",
            **SAMPLING,
        },
    ],
    "SensitivityN": [{}, {"features": torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3]), "n": 1}],
}
OTHERS_ALONE = {"Aic", "Road", "Sic", "LexiconAgreement"}
"""Metrics of images, and of words."""
CASES = [
    pytest.param(metric, arguments, id=f"{name}-{number}")
    for name, metric in vars(igbench.metrics).items()
    if inspect.isclass(metric) and issubclass(metric, BaseMetric) and metric is not BaseMetric
    for number, arguments in enumerate(ARGUMENTS.get(name, [{}]))
]


def score(metric: BaseMetric, model: nn.Module, x: Tensor, i: slice, **options: Any) -> Measurement:
    phi, baseline = options.pop("phi"), options.pop("baselines")
    found = metric(
        model,
        x,
        {"ig": phi, "other": phi**3},
        target=TARGET[i],
        baselines=baseline,
        sample_ids=IDS[i],
        method=explain,
        **options,
    )
    measurement: Measurement = found["other"]
    return measurement


def numbers(active: Tensor) -> Tensor:
    """0, 0, 0, 1, 1, 2, 2, 3, 3 without what takes no part, numbered again."""
    groups = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3])[active]
    known = sorted(set(groups.tolist()))
    return torch.tensor([known.index(g) for g in groups.tolist()])


def of_parts(metric: type[BaseMetric], arguments: dict[str, Any]) -> list[Measurement]:
    """The metric on each sample without the elements that take no part."""
    found = []
    for i, own in enumerate(ACTIVE):
        mine = dict(arguments)
        if "features" in mine:
            mine["features"] = numbers(own)
        one = slice(i, i + 1)
        given = {"phi": maps()[one, own], "baselines": BASELINE[one, own]}
        found.append(score(metric(**mine), Part(i), X[one, own], one, **given))
    return found


@pytest.mark.parametrize(("metric", "arguments"), CASES)
def test_a_masked_sample_equals_the_smaller_problem(metric, arguments):
    before = X.clone(), BASELINE.clone(), ACTIVE.clone()
    given = {"phi": maps(), "baselines": BASELINE, "active": ACTIVE}
    try:
        parts = of_parts(metric, arguments)
    except InputError:
        assert metric.__name__ in OTHERS_ALONE or metric.family == "localisation"
        with pytest.raises(InputError):
            score(metric(**arguments), PADDED, X, slice(0, 3), **given)
        return
    whole = score(metric(**arguments), PADDED, X, slice(0, 3), **given)
    expected = torch.cat([p.value.double() for p in parts])
    assert bool(expected.isfinite().any())
    torch.testing.assert_close(whole.value, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    if whole.std_error is not None:
        errors = torch.cat([p.std_error.double() for p in parts])  # type: ignore[union-attr]
        torch.testing.assert_close(whole.std_error, errors, rtol=1e-6, atol=1e-9, equal_nan=True)
    for name, (xs, ys) in whole.curves.items():
        for i, part in enumerate(parts):
            own_x, own_y = part.curves[name]
            points = {x: y for x, y in zip(xs, ys[i].tolist(), strict=True) if not math.isnan(y)}
            assert points == pytest.approx(dict(zip(own_x, own_y[0].tolist(), strict=True)))
    for tensor, copy in zip((X, BASELINE, ACTIVE), before, strict=True):
        assert torch.equal(tensor, copy)


def test_without_the_mask_the_numbers_are_others():
    metric = igbench.metrics.Deletion()
    plain = score(metric, PADDED, X, slice(0, 3), phi=maps(), baselines=BASELINE)
    parts = of_parts(igbench.metrics.Deletion, {})
    assert bool((plain.value - torch.cat([p.value for p in parts])).abs().min() > 0.01)


def test_methods_explain_the_smaller_problem_and_say_zero_elsewhere():
    batch = Batch(Score(PADDED), X, BASELINE, TARGET, IDS, active=ACTIVE)
    for method in (IntegratedGradients(), Random(), CallableMethod(lambda x, t: x + 1, "local")):
        values, reasons = isolation.attribute(batch, method)
        assert reasons == ["", "", ""]
        assert bool((values[~ACTIVE] == 0).all())
        assert bool((values != 0)[ACTIVE & (torch.arange(F) != IGNORED)].all())
    values, _ = isolation.attribute(batch, IntegratedGradients())
    for i, own in enumerate(ACTIVE):
        one = slice(i, i + 1)
        alone = Batch(Score(Part(i)), X[one, own], BASELINE[one, own], TARGET[one], IDS[one])
        torch.testing.assert_close(values[i, own], IntegratedGradients()(alone)[0])
        moved = torch.where(own, BASELINE[i], X[i])[None]
        ends = Score(PADDED).evaluate(torch.cat([X[one], moved]), TARGET[one].expand(2))
        assert float(values[i].sum()) == pytest.approx(float(ends[0] - ends[1]), abs=0.3)


def data(active: Any = lambda i: ACTIVE[i]) -> Data:
    return Data(
        name="padded",
        kind="table",
        shape=(F,),
        sample_ids=IDS,
        labels=(0, 1, 2),
        load=lambda i: X[i],
        features="element",
        display=None,
        black=(0.0,),
        reference=None,
        source="made up",
        active=active,
    )


METRICS = {
    "completeness": igbench.metrics.Completeness(),
    "deletion": igbench.metrics.Deletion(),
    "sensitivity_n": igbench.metrics.SensitivityN(n=1, subsets="all"),
    "max_sensitivity": igbench.metrics.MaxSensitivity(),
    "pointing_game": igbench.metrics.PointingGame(masks=lambda s: torch.ones(F)),
}


def test_data_say_which_elements_take_part():
    methods = {"ig": IntegratedGradients(), "random": Random()}
    found = igbench.evaluate(PADDED, data(), methods=methods, metrics=METRICS, target="label")
    frame = found.frame[found.frame.method == "ig"].set_index(["metric", "sample_id"])
    assert frame.loc["completeness"]["value"].max() < 0.3
    pointing = frame.loc["pointing_game"]
    assert (pointing["status"] == "undefined").all()
    assert pointing["reason"].str.contains("some elements of the sample '.' take no part").all()
    zero = torch.zeros_like(X)
    batch = Batch(Score(PADDED), X, zero, TARGET, IDS, active=ACTIVE)
    values, _ = isolation.attribute(batch, IntegratedGradients())
    for name in ("deletion", "sensitivity_n", "completeness"):
        alone = METRICS[name](PADDED, X, values, target=TARGET, sample_ids=IDS, active=ACTIVE)
        assert frame.loc[name]["value"].tolist() == pytest.approx(alone.tolist())
    points = [p for p in found.results.points if p.curve == "deletion" and p.method == "ig"]
    assert {s: sum(p.sample_id == s for p in points) for s in IDS} == {"a": 8, "b": 6, "c": 8}


@pytest.mark.parametrize(
    ("active", "what"),
    [
        (lambda i: ACTIVE[i].long(), r"active has shape \(9,\) and type torch.int64, expected"),
        (lambda i: ACTIVE[i, :4], r"active has shape \(4,\)"),
        (lambda i: torch.zeros(F).bool(), "equals the sample"),
    ],
)
def test_masks_that_do_not_fit_fail_the_sample(active, what):
    methods = {"random": Random()}
    found = igbench.evaluate(PADDED, data(active), methods=methods, metrics={}, target="label")
    for sample in found.run.samples:
        assert sample["status"] == "failed"
        assert what.replace("\\", "") in sample["reason"]


def test_patches_consist_of_their_active_elements():
    x = uniform(1, 1, 4, 4)
    active = torch.ones(1, 1, 4, 4).bool()
    active[..., :2, :2] = False  # one patch is gone, and a part of another
    active[..., 3, 3] = False
    batch = Batch(Score(lambda z: z.flatten(1).sum(1)), x, 0 * x, None, ("a",), "patch:2")
    part = restrict(replace(batch, active=active), 0)
    assert part.features.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 1, 1, 2]
    found = igbench.metrics.sparseness(batch.score.model, x, x, features="patch:2", active=active)
    sums = torch.tensor([float(part.x[0, part.features == k].sum()) for k in range(3)])
    ranked = sums.sort().values / sums.sum()
    assert float(found.value) == pytest.approx(float((ranked[2] - ranked[0]) * 2 / 3))


def test_numbers_of_features_can_differ_from_sample_to_sample():
    numbers = torch.tensor([[0, 0, 1], [-1, 7, 7]])
    active = torch.tensor([[True, True, True], [False, True, True]])
    x = uniform(2, 3)
    batch = Batch(Score(lambda z: z.sum(1)), x, 0 * x, None, ("a", "b"), numbers, active=active)
    found = igbench.metrics.EffectiveComplexity().score(batch, {"": Attribution(x, GLOBAL)})
    assert found[""].value.tolist() == [2, 1]
    assert restrict(batch.select(torch.tensor([1])), 0).features.tolist() == [0, 0]


def test_a_sample_needs_an_active_element():
    with pytest.raises(InputError, match="sample 'b' has no active element"):
        igbench.metrics.sparseness(
            PADDED,
            X,
            X,
            sample_ids=IDS,
            active=torch.tensor([1, 0, 1]).bool()[:, None].expand(3, F),
        )
    with pytest.raises(InputError, match=r"active has shape \(3,\) and type torch.bool; expected"):
        igbench.metrics.sparseness(PADDED, X, X, active=torch.tensor([True, False, True]))


def test_a_function_of_input_and_class_is_still_refused_where_the_model_changes():
    options = {"target": TARGET, "baselines": BASELINE, "active": ACTIVE}
    with pytest.raises(InputError, match="function of input and class alone"):
        igbench.metrics.dummy(PADDED, X, maps(), explain=lambda x, t: x, **options)


def test_curves_of_different_lengths_share_an_axis():
    one = Measurement(torch.ones(1), curves={"c": ([0.0, 0.5, 1.0], torch.ones(1, 3))})
    two = Measurement(torch.ones(1), curves={"c": ([0.0, 1.0], 2 * torch.ones(1, 2))})
    xs, ys = concatenate([one, two, Measurement(torch.ones(1))]).curves["c"]
    assert xs == [0, 0.5, 1]
    torch.testing.assert_close(
        ys,
        torch.tensor([[1, 1, 1], [2, math.nan, 2], [math.nan] * 3]).double(),
        equal_nan=True,
    )
