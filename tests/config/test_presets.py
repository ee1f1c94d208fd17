"""Presets: each composes with every experiment, wins over it, and fixes what it says."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import yaml

from igbench.config import build, compose

PRESETS = [name for name in compose.choices("preset") if name != "none"]
FREE = {
    "completeness": {"relative"},
    "infidelity": {"perturbation", "draws", "sides", "normalize"},
    "sensitivity_n": {"n", "subsets", "features"},
    "faithfulness_correlation": {"n", "subsets", "features"},
    "max_sensitivity": {"radius", "draws", "ball", "noise", "scale", "neighbours"},
    "avg_sensitivity": {"radius", "draws", "ball", "noise", "scale", "neighbours"},
    "deletion": {"step", "occluder", "scalar", "features", "tie_orders"},
    "insertion": {"step", "occluder", "scalar", "features", "tie_orders"},
    "srg": {"step", "occluder", "scalar", "features", "tie_orders"},
    **{
        name: {"fractions", "occluder", "scalar", "features", "tie_orders", "rounding", "zero"}
        for name in ("comprehensiveness", "sufficiency")
    },
    "sparseness": {"features"},
    "complexity": {"features"},
    "effective_complexity": {"threshold", "features"},
}
"""Every choice that a metric leaves open (infidelity: for squares)."""


def said(name: str) -> dict:
    return yaml.safe_load((compose.FOLDER / "preset" / f"{name}.yaml").read_text(encoding="utf-8"))


EVERY = [
    pytest.param(e, marks=[] if e in ("imagenet_lite", "shapley_truth") else pytest.mark.slow)
    for e in compose.choices("experiment")
]
"""Two experiments, with and without parameters of metrics, and the others where there is time."""


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("experiment", EVERY)
def test_preset_wins_over_the_experiment(name, experiment):
    config = compose.compose([f"experiment={experiment}", f"preset={name}"])
    own = said(name)
    assert set(config["metric"]) == set(own["metric"])
    for metric, values in own["metric"].items():
        for key, value in values.items():
            assert config["metric"][metric][key] == value
        build.construct(config["metric"][metric], f"metric.{metric}")
    for key in set(own) - {"defaults", "metric"}:
        assert config[key] == own[key]
    for line in own["defaults"]:
        (override, value), *_ = line.items()
        if override == "override /baseline":
            expected = compose.compose([f"baseline={value}"])["baseline"]
            assert config["baseline"] == expected


@pytest.mark.parametrize("name", PRESETS)
def test_preset_fixes_every_free_choice(name):
    for metric, values in said(name)["metric"].items():
        stops = "auto" in values.values()
        bounds = set(values) & {"error", "most"}
        assert set(values) - bounds == FREE[metric]
        assert ("error" in bounds) == stops, "the bound of what stops by itself, and no other"
        assert ("most" in bounds) == (stops and "step" not in values)


@pytest.mark.parametrize("metric", FREE)
def test_free_choices_are_all_there_are(metric):
    node = yaml.safe_load((compose.FOLDER / "metric" / f"{metric}.yaml").read_text())[metric]
    target = build.locate(node["_target_"], metric)
    assert dataclasses.is_dataclass(target)
    unused = {"scale", "features"} if metric == "infidelity" else set()
    if "auto" in str(inspect.signature(target)):  # the bound of draws, which fixed ones do not have
        unused |= {"error", "most"}
    assert set(inspect.signature(target).parameters) - unused == FREE[metric]


def test_what_is_quick_asks_for_less_of_the_metrics_of_a_run():
    """Every metric of the preset is one of the default run, with another number of rows alone."""
    quick, default = (compose.compose(words)["metric"] for words in (["preset=quick"], []))
    assert set(quick) < set(default)
    for name, node in quick.items():
        target = build.locate(node["_target_"], name)
        plain, own = target(), build.construct(node, name)
        changed = {
            f.name
            for f in dataclasses.fields(own)
            if getattr(own, f.name) != getattr(plain, f.name)
        }
        assert changed
        assert changed <= {"step", "draws", "subsets", "error", "most"}


def test_the_default_fixes_nothing():
    assert compose.compose(["preset=none"]) == compose.compose([])


def test_words_after_a_preset_win():
    words = ["preset=rise", "metric=[deletion,srg]", "metric.deletion.step=1"]
    config = compose.compose(words)
    assert set(config["metric"]) == {"deletion", "srg"}
    assert config["metric"]["deletion"]["step"] == 1
    assert config["metric"]["deletion"]["occluder"] == "zero"


def test_preset_is_on_the_record():
    assert compose.compose(["preset=rise"])["preset"] == "rise"
    assert compose.compose([])["preset"] == "none"


def test_numbers_are_those_of_the_papers():
    yeh, rise, ancona = (said(n)["metric"] for n in ("yeh2019", "rise", "ancona2018"))
    assert [s * 28 for s in yeh["infidelity"]["sides"]] == pytest.approx([1, 10])
    assert yeh["max_sensitivity"]["radius"] == 0.2
    for metric in ("deletion", "insertion"):
        # 1,792 of 224 x 224 pixels
        assert rise[metric]["step"] * 224**2 == pytest.approx(1792)
        assert rise[metric]["scalar"] == "probability"
    assert (rise["deletion"]["occluder"], rise["insertion"]["occluder"]) == ("zero", "blur")
    sizes = ancona["sensitivity_n"]["n"]
    assert sizes[0] == 1
    assert max(sizes[1:]) == 0.8
    assert sizes[1:] == sorted(sizes[1:])


def test_defaults_of_captum_and_quantus_are_theirs():
    from captum.metrics import infidelity, sensitivity_max

    from igbench.metrics.quantus import metric_class

    def default(function, name):
        return inspect.signature(function).parameters[name].default

    captum, quantus = (said(name)["metric"] for name in ("captum", "quantus"))
    assert captum["infidelity"]["draws"] == default(infidelity, "n_perturb_samples")
    assert captum["infidelity"]["normalize"] == default(infidelity, "normalize")
    assert captum["max_sensitivity"]["radius"] == default(sensitivity_max, "perturb_radius")
    assert captum["max_sensitivity"]["draws"] == default(sensitivity_max, "n_perturb_samples")
    for metric, name in [
        ("max_sensitivity", "MaxSensitivity"),
        ("avg_sensitivity", "AvgSensitivity"),
    ]:
        assert quantus[metric]["radius"] == default(metric_class(name), "lower_bound")
        assert quantus[metric]["draws"] == default(metric_class(name), "nr_samples")
    correlation = metric_class("FaithfulnessCorrelation")
    assert quantus["faithfulness_correlation"]["n"] == default(correlation, "subset_size")
    assert quantus["faithfulness_correlation"]["subsets"] == default(correlation, "nr_runs")
    least = default(metric_class("EffectiveComplexity"), "eps")
    assert quantus["effective_complexity"]["threshold"] == least
