"""The loop: nothing is lost, nothing is hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from igbench.errors import InputError
from igbench.evaluation import cost, dry_run, loop
from igbench.evaluation.experiment import specs
from igbench.methods.attention import Chefer
from igbench.methods.cam import ScoreCam
from igbench.methods.captum import Captum
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.axiomatic.invariance import ImplementationInvariance
from igbench.metrics.faithfulness.areas import SymmetricRelevanceGain
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.randomisation.mprt import Mprt
from igbench.metrics.robustness.sensitivity import MaxSensitivity
from igbench.schema import COSTS, MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.experiments import N, data, experiment, model


def by_cell(results):
    return {(r.method, r.metric, r.sample_id): r for r in results.rows}


def test_every_cell_has_a_row():
    e = experiment()
    seen = []
    results = loop.run(e, "run", lambda *step: seen.append(step))
    cells = by_cell(results)
    assert len(cells) == len(results.rows) == N * 2 * (4 + len(COSTS))
    assert all(r.status == "ok" and math.isfinite(r.value) for r in results.rows)
    assert seen == [step for b in e.batches() for step in e.progress_steps(b).items()]
    assert cells["ig", "forward_rows", "s0"].value == 8
    assert cells["ig", "backward_rows", "s0"].value == 8
    assert {p.curve for p in results.points} == {"sensitivity_n", "deletion", "srg_lif", "srg_mif"}
    assert set(results.maps) == {"inputs", "ig", "random"}
    assert results.maps["ig"]["s0"].shape == (8, 8)


def test_batches_shards_and_seeds():
    double = {"model": model(cf.small_net()), "dtype": torch.float64}
    whole = by_cell(loop.run(experiment(**double)))
    small = by_cell(loop.run(experiment(**double, shard_size=1, batch_size=3)))
    e = experiment(**double)
    shards = by_cell(loop.run(e, only=[1])) | by_cell(loop.run(e, only=[0]))
    other = by_cell(loop.run(experiment(**double, seed=1)))
    differ = set()
    for key, row in whole.items():
        if key[1] in COSTS:
            continue
        assert small[key].value == pytest.approx(row.value, rel=1e-9)
        assert shards[key].value == row.value
        if other[key].value != row.value:
            differ.add(key[:2])
    # Completeness and, without ties, removal of a deterministic map know no randomness.
    assert differ == {
        ("ig", "sensitivity_n"),
        ("random", "sensitivity_n"),
        ("random", "completeness"),
        ("random", "deletion"),
        ("random", "srg"),
    }


def test_a_corrupt_sample_is_rows_with_a_reason():
    results = loop.run(experiment(data=data(broken={1, 5})))
    failed = [r for r in results.rows if r.status == "failed"]
    assert {r.sample_id for r in failed} == {"s1", "s5"}
    assert len(failed) == 2 * 2 * 4
    assert all("truncated" in r.reason and math.isnan(r.value) for r in failed)
    clean = by_cell(loop.run(experiment()))
    for key, row in by_cell(results).items():
        if row.status == "ok" and key[1] not in COSTS:
            assert row.value == pytest.approx(clean[key].value, rel=1e-4, abs=1e-5)
    assert [s["status"] for s in results.samples] == ["ok", "failed", "ok", "ok", "ok", "failed"]


def test_all_samples_corrupt():
    e = experiment(data=data(broken=set(range(N))))
    seen = []
    results = loop.run(e, "", lambda *step: seen.append(step))
    assert {r.status for r in results.rows} == {"failed"}
    assert seen == [step for b in e.batches() for step in e.progress_steps(b).items()]


class NaNAt(nn.Module):
    """A model that returns NaN for bright inputs."""

    def __init__(self):
        super().__init__()
        self.net = cf.small_net(torch.float32)
        self.eval()

    def forward(self, x):
        out = self.net(x)
        return torch.where(x.amax(dim=(1, 2, 3))[:, None] > 100, math.nan, out)


def test_a_model_that_returns_nan():
    x = cf.images(N, dtype=torch.float32)
    x[2, 0, 0, 0] = 1000
    results = loop.run(experiment(model=model(NaNAt()), data=data(x)))
    failed = {r.sample_id: r.reason for r in results.rows if r.status == "failed"}
    assert failed == {"s2": "the model returned NaN or infinite outputs"}


def test_inputs_that_are_nan_or_of_another_shape():
    x = cf.images(N, dtype=torch.float32)
    x[3, 0, 0, 0] = math.nan
    results = loop.run(experiment(data=data(x)))
    assert {r.reason for r in results.rows if r.status == "failed"} == {
        "the sample holds NaN or infinite values"
    }
    wrong = replace(data(), load=lambda i: torch.zeros(3, 8, 9) if i == 0 else cf.images(N)[i])
    results = loop.run(experiment(data=wrong))
    reasons = {r.reason for r in results.rows if r.status == "failed"}
    assert reasons == {"has shape (3, 8, 9), expected (3, 8, 8)"}


def test_a_baseline_equal_to_the_sample():
    x = cf.images(N, dtype=torch.float32)
    x[0] = 0
    results = loop.run(experiment(data=data(x)))
    reasons = {r.sample_id: r.reason for r in results.rows if r.status == "failed"}
    assert list(reasons) == ["s0"]
    assert "equals the sample" in reasons["s0"]


@dataclass(frozen=True)
class Breaks:
    """A method that fails, or returns NaN, on one sample."""

    how: str

    @property
    def spec(self):
        return MethodSpec("breaks", "", "global", signed=True)

    def __call__(self, batch):
        values = batch.x.clone()
        if "s2" in batch.sample_ids:
            if self.how == "raise":
                raise RuntimeError("out of luck")
            values[batch.sample_ids.index("s2")] = math.nan
        return values[:, :1] if self.how == "shape" else values


@pytest.mark.parametrize(
    ("how", "samples", "reason"),
    [
        ("raise", ["s2"], "RuntimeError: out of luck"),
        ("nan", ["s2"], "the attribution holds NaN"),
        ("shape", [f"s{i}" for i in range(N)], "must match"),
    ],
)
def test_a_method_that_fails_takes_nothing_with_it(how, samples, reason):
    e = experiment(methods={"bad": Breaks(how), "ig": IntegratedGradients(n_steps=8)})
    results = loop.run(e)
    failed = [r for r in results.rows if r.status == "failed"]
    assert {r.method for r in failed} == {"bad"}
    assert sorted({r.sample_id for r in failed}) == samples
    assert len(failed) == len(samples) * 4
    assert all(reason in r.reason for r in failed)


def test_a_metric_that_fails_takes_nothing_with_it():
    @dataclass(frozen=True)
    class BadObservation(Completeness):
        @property
        def sharing_key(self):
            return "bad observation"

        def observe(self, batch):
            if "s1" in batch.sample_ids:
                raise RuntimeError("cannot look")
            return super().observe(batch)

    @dataclass(frozen=True)
    class BadMeasure(Completeness):
        def measure(self, batch, attributions, observation):
            if "random" in attributions:
                raise RuntimeError("cannot count")
            return super().measure(batch, attributions, observation)

    metrics = {"good": Completeness(), "o": BadObservation(), "m": BadMeasure()}
    failed = [r for r in loop.run(experiment(metrics=metrics)).rows if r.status == "failed"]
    assert {(r.metric, r.method, r.sample_id) for r in failed} == {
        *(("o", m, "s1") for m in ("ig", "random")),
        *(("m", "random", f"s{i}") for i in range(N)),
    }


def test_wrong_kinds_are_undefined_with_a_reason():
    saliency = Captum("Saliency", "Saliency", "", "local", signed=False)
    e = experiment(
        methods={"saliency": saliency},
        metrics={
            "completeness": Completeness(),
            "infidelity": Infidelity(draws=4, normalize=False),
        },
    )
    rows = [r for r in loop.run(e).rows if r.metric not in COSTS]
    assert {r.status for r in rows} == {"undefined"}
    assert {r.metric: r.reason.split(";")[0] for r in rows} == {
        "completeness": "needs a global attribution (contributions that sum to f(x) - f(x'))",
        "infidelity": "needs a signed attribution",
    }


def test_target_rule():
    by_label = loop.run(experiment(target="label", data=data(labels=(2,) * N)))
    assert {s["target"] for s in by_label.samples} == {2}
    predicted = loop.run(experiment())
    net, x = cf.small_net(torch.float32), cf.images(N, dtype=torch.float32)
    assert [s["target"] for s in predicted.samples] == net(x).argmax(dim=1).tolist()
    outside = loop.run(experiment(target="label", data=data(labels=(9,) * N)))
    assert all("label 9 is not one of 4 classes" in s["reason"] for s in outside.samples)


def test_training_mode_is_refused():
    net = cf.small_net(torch.float32)
    net.features.train()
    with pytest.raises(InputError, match=r"training mode \(features\)"):
        loop.run(experiment(model=model(net)))


def test_parameters_are_as_before():
    net = cf.small_net(torch.float32)
    net.head.weight.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    loop.run(experiment(model=model(net)))
    assert [p.requires_grad for p in net.parameters()] == before


def test_estimate_counts_what_the_run_needs():
    e = experiment(convergence=2)
    guess = cost.estimate(e)
    e.model.module.calls = 0
    results = loop.run(e)
    forward = sum(s["forward"] for s in results.stages.values())
    backward = sum(s["backward"] for s in results.stages.values())
    assert guess.backward == backward
    # Convergence curves also look at their end points.
    assert guess.forward == pytest.approx(forward, abs=2 * 2)
    assert guess.seconds > 0


def test_estimate_counts_explanations_of_changed_networks():
    metrics = {"mprt": Mprt(), "rewritten": ImplementationInvariance()}
    e = experiment(methods={"ig": IntegratedGradients("left", 4)}, metrics=metrics)
    guess, stages = cost.estimate(e), loop.run(e).stages
    assert guess.backward == sum(s["backward"] for s in stages.values())
    # 4 gradients for each map: of 2 networks that become random in 3 stages, one for each layer.
    assert guess.stages["metric mprt"] == (2 * 3 * 4, 2 * 3 * 4)


def test_estimate_counts_methods_that_look_inside_on_the_real_model():
    """Also where a metric calls them again; masked inputs are counted and not evaluated."""
    methods = {"score_cam": ScoreCam("features.0"), "chefer": Chefer()}
    e = experiment(methods=methods, metrics={"max_sensitivity": MaxSensitivity(draws=2)})
    rows = []
    hook = e.model.module.features[0].register_forward_hook(lambda _, x, y: rows.append(len(y)))
    found = dry_run.counted(e, methods["score_cam"], e.data.load(0), 0)
    hook.remove()
    assert sum(rows) == 2, "the outputs, and the feature maps"
    guess, stages = cost.estimate(e), loop.run(e).stages
    channels = e.model.module.features[0].out_channels
    assert guess.stages["method score_cam"] == (found.forward, 0) == (1 + channels, 0)
    for stage in ("method score_cam", "metric max_sensitivity"):
        assert guess.stages[stage][0] * N == stages[stage]["forward"]
    assert guess.stages["method chefer"] == (0, 0), "the model has no attention"


def test_estimate_prices_every_step_of_the_run():
    e = experiment(convergence=2)
    guess = cost.estimate(e)
    seconds = guess.per_sample()
    assert set(seconds) == {stage for b in e.batches() for stage in e.progress_steps(b)}
    assert all(s > 0 for s in seconds.values())
    assert guess.seconds_of({"metric deletion": 3}) == 0.0, "it shares the work of srg"
    halves = [guess.seconds_of(e.progress_steps(b)) for b in e.batches()]
    assert sum(halves) == pytest.approx(guess.seconds)


def test_a_report_is_priced_by_what_it_shows():
    ig, srg = IntegratedGradients("left", 4), SymmetricRelevanceGain()
    e = experiment(methods={"ig": ig}, metrics={"srg": srg}, keep_maps=0)
    shown = replace(e, data=replace(e.data, display=lambda x: None), keep_maps=2)
    assert cost.report_seconds(e) == pytest.approx(1 + 0.2 + 0.045)
    assert cost.report_seconds(shown) == pytest.approx(1 + 0.2 + 0.045 + 2 * 2 * 0.035)
    twice = replace(e, methods={"a": ig, "b": ig}, metrics={"x": srg, "y": srg, "z": srg})
    assert cost.report_seconds(twice) == pytest.approx(1 + 2 * 0.2 + 2 * 3 * 0.045)


def test_forwards_and_gradients_are_priced_apart():
    guess = cost.Estimate(
        0, 0, 0.0, {"a": (10, 4), "b": (3, 0)}, {"b": 0.5}, per_forward=1.0, per_gradient=3.0
    )
    assert guess.per_sample() == {"a": 6 * 1.0 + 4 * 3.0, "b": 3 * 1.0 + 0.5}
    assert guess.seconds_of({"a": 2, "b": 1, "c": 9}) == 2 * 18.0 + 3.5


def test_specs_name_the_unit():
    _, metrics = specs(experiment())
    assert metrics["deletion"].unit == "pixel"
    assert set(COSTS) <= set(metrics)
