"""Folded copies stand in where values and gradients are all that is asked for, and nowhere else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

import igbench
from igbench.__main__ import main
from igbench.config import build, compose
from igbench.core.batch import Batch, attribute
from igbench.core.fold import folded
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.evaluation import folding, precision
from igbench.methods.base import BaseMethod
from igbench.methods.captum import BY_MODULE, Captum
from igbench.metrics.base import BaseMetric
from igbench.records import store
from tests.core.test_fold import shaken
from tests.helpers.contract import MISSING
from tests.methods.test_every_shape import ATTENTION, FITS, NEEDS, configured_method

SHAPE = (3, 16, 16)
X = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(5))
INSIDE = {
    "chefer", "cp_lrp", "attention_rollout", "dig", "lrp", "tree_shap", "tree_shap_path",
    "grad_cam", "grad_cam_plus_plus", "grad_cam_signed", "guided_grad_cam", "hires_cam",
    "layer_cam", "score_cam", "ig_exact",
}  # fmt: skip
"""Our own methods that look into layers, or need the model's own operations."""


def network(seed: int = 6) -> nn.Module:
    return shaken(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        seed,
    )


def counted(score: Score) -> Counter[str]:
    """Counts calls of the model and of its copy from now on."""
    calls: Counter[str] = Counter()
    for name, module in (("model", score.model), ("copy", score.fold.module)):
        assert isinstance(module, nn.Module)
        module.register_forward_pre_hook(lambda m, given, name=name: calls.update([name]))
    return calls


def batch(score: Score) -> Batch:
    return Batch(score, X, torch.zeros_like(X), torch.zeros(4, dtype=torch.int64), tuple("abcd"))


def pair() -> tuple[Score, Counter[str]]:
    model = network()
    score = Score(model, folded=folded(model)[0])
    return score, counted(score)


@pytest.mark.parametrize("name", sorted(set(compose.choices("method")) - MISSING))
def test_a_method_asks_the_copy_or_the_model_and_never_both(name):
    if name in {n for n in NEEDS if "cam" not in n} | {*ATTENTION, *FITS}:
        pytest.skip("needs more, or less, than a tensor")
    node = configured_method(name)
    method = build.construct(node | ({"layer": "3"} if "layer" in node else {}), name)
    score, calls = pair()
    maps = attribute(method, batch(score))
    assert maps.shape == X.shape
    asked = {n for n, count in calls.items() if count}
    if not asked:  # controls
        assert not getattr(method, "foldable", False)
    elif getattr(method, "foldable", False):
        assert asked == {"copy"}
        plain = method(replace(batch(score), score=Score(score.model)))
        size = float(plain.abs().max())
        torch.testing.assert_close(maps, plain, rtol=0, atol=1e-4 * size)
    else:
        assert asked == {"model"}
        assert not isinstance(method, BaseMethod) or name in INSIDE


@pytest.mark.filterwarnings("ignore:Setting backward hooks:UserWarning")
@pytest.mark.filterwarnings("ignore:Setting forward:UserWarning")
@pytest.mark.parametrize(
    "attribution", ["Saliency", "FeatureAblation", "GuidedBackprop", "Deconvolution", "DeepLift"]
)
def test_a_class_of_captum_gets_the_copy_unless_it_touches_layers(attribution):
    score, calls = pair()
    attribute(Captum(attribution), batch(score))
    layers = attribution in BY_MODULE
    assert {n for n, count in calls.items() if count} == {"model" if layers else "copy"}


@pytest.mark.parametrize("name", ["deletion", "infidelity", "sensitivity_n", "completeness", "srg"])
def test_metrics_of_perturbed_inputs_ask_the_copy(name):
    metric: BaseMetric = build.construct(
        igbench.config.compose.compose([f"metric=[{name}]"])["metric"][name], name
    ).for_shape(SHAPE)
    assert metric.foldable


def test_outside_nothing_stands_in():
    score, calls = pair()
    with torch.no_grad():
        score(X, torch.zeros(4, dtype=torch.int64))
        with score.folding(True):
            score.as_output("probability")(X, torch.zeros(4, dtype=torch.int64))
            with score.folding(False):
                score(X, torch.zeros(4, dtype=torch.int64))
    assert calls == {"model": 2, "copy": 1}
    with pytest.raises(ZeroDivisionError), score.folding(True):
        raise ZeroDivisionError
    assert not score.fold.used


def evaluated(model: nn.Module, **how: str) -> igbench.Evaluation:
    return igbench.evaluate(
        model, X, methods=["ig", "grad_cam"], metrics=["completeness", "srg"], layer="3", **how
    )


def test_the_record_says_how_far_the_copy_is_off():
    model = network()
    found = evaluated(model)
    said = found.run.environment["precision"]
    assert (said["norms"], said["folded"], said["fold_inputs"]) == (2, 2, 16)
    assert 0 < said["fold_largest"] < 1e-5
    assert found.run.identity["folded"] == 2
    for sample, x in zip(found.run.samples, X, strict=True):
        with torch.no_grad():
            plain = model(x[None])[0, sample["target"]].item()
        assert sample["score"] == plain
        assert sample["folded_score"] == pytest.approx(plain, rel=1e-5)
    exact = evaluated(model, precision="exact")
    assert exact.run.identity["folded"] == 0
    assert "norms" not in exact.run.environment["precision"]
    assert all("folded_score" not in sample for sample in exact.run.samples)
    scores = ["completeness", "srg"]
    difference = (found.table() - exact.table())[scores].abs().max().max()
    assert 0 < difference < 1e-4


def test_completeness_holds_on_the_folded_function():
    """For a linear function the sum of one gradient's worth is the change up to rounding."""
    model = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()))
    found = igbench.evaluate(
        model, X.double(), methods=["input_x_gradient"], metrics=["completeness"]
    )
    assert found.table().loc["input_x_gradient", "completeness"] < 1e-5


def test_a_copy_that_is_too_far_off_is_not_used(monkeypatch):
    monkeypatch.setattr(folding, "LARGEST", 0.0)
    found = evaluated(network())
    said = found.run.environment["precision"]
    assert (said["norms"], said["folded"]) == (2, 0)
    assert found.run.identity["folded"] == 0
    assert precision.words(said).startswith("batch norms are not folded")


def test_a_model_without_batch_norms_has_nothing_to_say():
    found = igbench.evaluate(
        nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval(),
        X,
        methods=["saliency"],
        metrics=["srg"],
    )
    assert "norms" not in found.run.environment["precision"]


def test_unknown_precisions_are_refused():
    with pytest.raises(InputError, match="precision"):
        evaluated(network(), precision="bf16")


def test_from_the_command_line(tmp_path, cache, capsys):
    words = ["experiment=digits_resnet", "limit=2", "method=[ig]", "metric=[completeness]"]
    runs = []
    for extra in ([], ["precision=exact"]):
        assert main([*words, f"results_dir={tmp_path}", *extra]) == 0
        said = "".join(capsys.readouterr())
        assert ("8 batch norms folded" in said) == (not extra)
        runs.append(max(tmp_path.glob("digits_resnet/2*"), key=lambda p: p.stat().st_mtime))
    assert runs[0] != runs[1], "a run without folding is another one"
    one, two = (store.read(folder).run for folder in runs)
    assert (one.identity["folded"], two.identity["folded"]) == (8, 0)
    assert "batch norms folded into convolutions (outputs off by up to" in (
        runs[0] / "report.html"
    ).read_text(encoding="utf-8")
