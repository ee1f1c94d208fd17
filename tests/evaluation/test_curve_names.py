"""A curve belongs to the entry of the run that it comes from, whatever else is in the run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.integration.integrate import input_gradient
from igbench.methods import CallableMethod
from igbench.records.stats import summarise
from igbench.report import curves
from tests.helpers.contract import class_of

NAMES = [n for n in compose.choices("metric") if getattr(class_of(n), "curve_axes", {})]
SHAPE = (1, 8, 8)


def net() -> nn.Module:
    g = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(4 * torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)
    return model.eval()


def data() -> Data:
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(4))
    return Data(
        name="drawn",
        kind="image",
        shape=SHAPE,
        sample_ids=("a", "b"),
        labels=(None, None),
        load=lambda i: x[i],
        features="pixel",
        display=None,
        black=(0.0,),
        reference=None,
        source="drawn",
        white=(1.0,),
    )


def gradient_map(batch: Batch) -> Tensor:
    return (batch.x - batch.baseline) * input_gradient(batch.score, batch.x, batch.target)


METHODS = {"own": CallableMethod(gradient_map, "global", per_batch=True)}


def metric(name: str) -> Any:
    made = build.construct(configured(name), name, data=data())
    if name.startswith("soft_"):
        return replace(made, draws="auto", most=32, normalise=False)
    if name == "infidelity":  # a fixed number of draws has no curve
        return replace(made, draws="auto", most=32)
    if name == "faithfulness_correlation":
        return replace(made, subsets="auto", most=32)
    # a network that is never sure has no curve of its information
    return replace(made, least=0.0, normalise=False) if name in ("aic", "sic") else made


def points(**entries: Any) -> pd.DataFrame:
    found = igbench.evaluate(net(), data(), methods=METHODS, metrics=entries)
    return found.records.curves


@pytest.mark.parametrize("name", NAMES)
def test_two_entries_of_one_class_have_curves_of_their_own(name):
    """The default entry keeps its names; the other has its own before them, and the same points."""
    alone = points(**{name: metric(name)})
    both = points(**{name: metric(name), "again": metric(name)})
    known = class_of(name).curve_axes
    assert set(alone["curve"]) <= set(known)
    assert len(alone)
    assert set(both["curve"]) == {c for own in set(alone["curve"]) for c in (own, f"again:{own}")}
    once = ["method", "curve", "sample_id", "x"]
    if name not in (
        "comprehensiveness",
        "sufficiency",
    ):  # two fractions, one number
        assert not both.duplicated(once).any()
    for own, of_alone in alone.groupby("curve"):
        for shown in (own, f"again:{own}"):
            mine = both[both["curve"] == shown]
            assert mine["x"].tolist() == of_alone["x"].tolist()
            assert mine["y"].tolist() == of_alone["y"].tolist()


def test_an_entry_cannot_take_the_curves_of_another():
    """Entries under the names of curves, or of other classes, stay apart."""
    found = points(
        aopc=metrics.Aopc(order="difference"),
        abpc=metrics.Aopc(order="difference", step=8),
        aopc_morf=metrics.Aopc(step=4),
        srg=metrics.Deletion(step=8),
        srg_lif=metrics.SymmetricRelevanceGain(step=8),
    )
    assert set(found["curve"]) == {
        "aopc:abpc",
        "abpc",
        "aopc_morf:aopc_morf",
        "srg:deletion",
        "srg_lif:srg_lif",
        "srg_lif:srg_mif",
    }
    assert not found.duplicated(["method", "curve", "sample_id", "x"]).any()


AXES = {
    "sensitivity_n": (1 / 64, 0.8),
    "max_sensitivity_n": (0.0, 1.0),
    "deletion": (0.0, 1.0),
    "insertion": (0.0, 1.0),
    "baseline_sensitivity": (0.0, 7.0),
    "mprt": (0.5, 1.0),
}


@pytest.mark.parametrize("name", AXES)
def test_x_is_what_the_metric_says_of_it(name):
    """Fractions of features or layers, not numbers of them; places of baselines."""
    low, high = AXES[name]
    found = points(**{name: metric(name)})
    assert found["x"].min() >= low
    assert found["x"].max() <= high
    (said,) = {class_of(name).curve_axes[c][0] for c in set(found["curve"])}
    if name != "baseline_sensitivity":
        assert "fraction" in said


def test_the_figure_draws_each_entry_with_the_number_of_its_table():
    found = igbench.evaluate(
        net(),
        data(),
        methods=METHODS,
        metrics={
            "srg": metrics.SymmetricRelevanceGain(),
            "srg_other": metrics.SymmetricRelevanceGain(scalar="logit"),
            "half": metrics.SensitivityN(n=(0.5, 0.6)),
            "sensitivity_n": metrics.SensitivityN(),
        },
    )
    summary = summarise(found.frame, found.run.metrics, methods=found.run.methods, resamples=100)
    figure = curves.removal(found.run, found.records.curves)
    panels = {a.get_title(loc="left"): a for a in figure.axes if a.get_title(loc="left")}
    titles = list(panels)
    assert [t.replace("\n", " ") for t in titles] == [
        "SRG ↑ (LIF solid, MIF dashed)",
        "SRG ↑: Srg other (LIF solid, MIF dashed)".replace("Srg", "SRG"),
    ]
    for title, name in zip(titles, ("srg", "srg_other"), strict=True):
        mean = float(summary.loc[summary["metric"] == name, "mean"].iloc[0])
        (text,) = [t.get_text() for t in panels[title].get_legend().get_texts()]
        assert text == f"Own  {mean:.3f}".replace("-", "−")
        assert not math.isnan(mean)
    subsets = curves.sensitivity_n(found.run, found.records.curves)
    assert [a.get_title(loc="left") for a in subsets.axes] == [
        "Sensitivity-n ↑",
        "Sensitivity-n ↑: Half",
    ]
    assert [len(a.lines[0].get_xdata()) for a in subsets.axes] == [7, 2]
