"""Lower precision and compiled models: perturbed inputs alone, and the error is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from igbench import baselines
from igbench.__main__ import main
from igbench.config import build, compose
from igbench.core import inference
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.core.inference import Compiled, InferenceOptions
from igbench.core.model import Model
from igbench.core.score import Score
from igbench.errors import InputError, SampleError
from igbench.evaluation import precision
from igbench.evaluation.experiment import Experiment
from igbench.integration.integrate import input_gradient
from igbench.methods.cam import GradCamSigned
from igbench.methods.idgi import IDGI
from igbench.methods.ig_exact import ExactIntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.records import store
from igbench.run import shards
from tests.helpers.contract import batch as contract_batch
from tests.helpers.contract import maps_for, measured

FINE = 1 + 2.0**-9
"""A weight that bf16, with 8 significant bits, rounds to 1."""
BF16 = InferenceOptions("bf16")


pytestmark = pytest.mark.usefixtures("cache")


def scale(weight: float = FINE) -> nn.Module:
    """f(x) = weight x."""
    module = nn.Linear(1, 1, bias=False).eval().requires_grad_(False)
    module.weight.fill_(weight)
    return module


def draws(score: Score, x: Tensor, **how: bool) -> Tensor:
    return score.evaluate_draws(len(x), None, lambda draw: x[draw], **how)


def float_batch(quick: InferenceOptions, smooth: bool = True) -> Batch:
    b = contract_batch(smooth)
    score = Score(b.score.model.float(), batch_size=64, quick=quick)
    return replace(b, score=score, x=b.x.float(), baseline=b.baseline.float())


def test_perturbed_inputs_alone_are_in_bf16():
    score, x = Score(scale(), quick=BF16), torch.ones(3, 1)
    assert draws(score, x).tolist() == [1.0] * 3
    assert draws(score, x).dtype == torch.float32
    assert score.evaluate(x, None).tolist() == [FINE] * 3
    assert draws(score, x, full=True).tolist() == [FINE] * 3
    assert input_gradient(score, x, None).tolist() == [[FINE]] * 3
    assert score(x).tolist() == [FINE] * 3, "and afterwards all is as before"
    assert score.cost.forward == 6 * 3


def test_other_readouts_keep_it():
    score = Score(scale(), quick=BF16).as_output("probability")
    low, high = draws(score, torch.ones(1, 1)), score.evaluate(torch.ones(1, 1), None)
    torch.testing.assert_close(high, torch.tensor([FINE]).sigmoid())
    assert low.item() < high.item()


def test_metrics_of_perturbations_change_and_completeness_does_not():
    full, low = float_batch(InferenceOptions()), float_batch(BF16)
    for m, same in (
        (Completeness(), True),
        (Infidelity("subset", draws=32, normalize=False), False),
    ):
        a, b = (measured(m, one, maps_for(one))["ig"].value for one in (full, low))
        assert torch.equal(a, b) == same
        # 2^-8 of an output of size 1, squared differences of about 1e-2: a tenth is generous.
        torch.testing.assert_close(a, b, rtol=0.1, atol=1e-3)
    assert torch.equal(IDGI(8)(full), IDGI(8)(low))


def line(x: Tensor) -> Data:
    """Samples of one element; the second cannot be read."""

    def load(i: int) -> Tensor:
        if i == 1:
            raise SampleError("not there")
        return x[i]

    ids = tuple(f"s{i}" for i in range(len(x)))
    labels = (None,) * len(x)
    return Data("line", "table", (1,), ids, labels, load, "element", None, (0.0,), None, "made up")


def experiment(quick: InferenceOptions) -> Experiment:
    model = Model("scale", scale(), ("a",), "", "0", "made up")
    data = line(torch.ones(8, 1))
    return Experiment("e", model, data, {}, {}, baselines.Zero(), quick=quick)


def test_the_error_is_what_rounding_makes_of_it():
    found = precision.report(experiment(BF16))
    error = 2.0**-9 / FINE  # of inputs 1; those at the baseline 0 have none
    assert found["largest"] == pytest.approx(error, rel=1e-6)
    off = found["mean"] * 16 / error
    assert off == pytest.approx(round(off), abs=1e-6)
    assert 4 <= round(off) <= 12, "four clean samples, and the halves that kept the element"
    assert (found["inputs"], found["forwards"], found["compile"]) == (16, "bf16", "")
    assert "outputs off by up to 0.0019" in precision.words(found)


def test_nothing_is_measured_where_nothing_differs():
    found = precision.report(experiment(InferenceOptions()))
    assert found == {"forwards": "float32", "compile": ""}
    assert precision.words(found) == ""


def test_precision_and_compiler_decide_rows():
    module = scale()
    kinds = [InferenceOptions(), BF16, InferenceOptions(compiled=Compiled(module, "eager"))]
    keys = {shards.shards(experiment(quick))[0].key for quick in kinds}
    assert len(keys) == 3
    again = shards.shards(experiment(InferenceOptions(compiled=Compiled(scale(), "eager"))))[0].key
    assert again in keys, "the object itself does not count"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["precision=half"], "unknown precision 'half'; known: float32, tf32, bf16"),
        (["precision=bf16", "dtype=float64"], "with dtype=float64 use precision=float32"),
        (["precision=tf32", "device=cpu"], "precision=tf32 exists on CUDA alone"),
        (["compile=eagre"], "unknown backend for compile 'eagre'.*Did you mean 'eager'"),
    ],
)
def test_what_does_not_fit_is_one_line(words, message):
    small = ["experiment=digits_resnet", "limit=1", "batch_size=1"]
    with pytest.raises(InputError, match=message) as error:
        build.experiment(compose.compose([*small, *words]))
    assert "\n" not in str(error.value)


def test_a_run_says_and_keeps_how_far_off_it_is(tmp_path: Path, capsys):
    words = ["experiment=digits_resnet", "limit=2", "convergence=0", "keep_maps=0"]
    words += ["method=[random]", "metric=[infidelity]", "precision=bf16", "batch_size=16"]
    assert main([*words, f"results_dir={tmp_path}"]) == 0
    run = store.read(store.latest(tmp_path, "digits_resnet")).run
    told = run.environment["precision"]
    assert told["forwards"] == run.identity["precision"] == "bf16"
    assert 0 < told["mean"] < told["largest"] < 0.1
    assert f"off by up to {told['largest']:.2g}" in capsys.readouterr().out


def test_compiled_models_give_the_same():
    module = float_batch(InferenceOptions()).score.model
    compiled = Compiled(module, "eager")
    x = float_batch(InferenceOptions()).x
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-6, atol=1e-6)
    assert not compiled.broken


def test_what_looks_inside_uses_the_model_itself(monkeypatch):
    calls: list[int] = []

    def compile_(module: nn.Module, **how: object):
        return lambda x: calls.append(len(x)) or module(x)

    monkeypatch.setattr(torch, "compile", compile_)
    plain = float_batch(InferenceOptions(), smooth=False)
    quick = float_batch(
        InferenceOptions(compiled=Compiled(plain.score.model, "inductor")), smooth=False
    )
    quick = replace(quick, score=Score(plain.score.model, batch_size=64, quick=quick.score.quick))
    for m in (GradCamSigned("features"), ExactIntegratedGradients(), IDGI(4)):
        assert torch.equal(m(quick), m(plain))
    quick.score.evaluate(quick.x, quick.target)
    assert calls == []
    measured(Infidelity("subset", draws=8, normalize=False), quick, maps_for(quick))
    assert calls == [16] * len(quick), "8 rows, filled up to a quarter of 64"
    quick.score.evaluate(quick.x, quick.target)
    assert calls == [16] * len(quick), "and afterwards all is as before"


def test_where_compilation_fails_the_model_is_used_as_it_is(monkeypatch, caplog):
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", lambda module, **how: fails)
    compiled = Compiled(scale(), "inductor")
    score = Score(compiled.module, quick=InferenceOptions(compiled=compiled))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert draws(score, torch.ones(2, 1)).tolist() == [FINE] * 2
    assert [r.getMessage() for r in caplog.records] == [
        "compile=inductor does not work here (RuntimeError: no C++ compiler); the model is used "
        "as it is"
    ]
    found = precision.report(replace(experiment(InferenceOptions()), quick=score.quick))
    assert found["fallback"] == "RuntimeError: no C++ compiler"
    assert "not compiled" in precision.words(found)


def test_errors_of_the_model_are_not_the_compilers(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, **how: module)
    compiled = Compiled(scale(), "inductor")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compiled(torch.ones(1, 2))
    assert not compiled.broken


def test_running_out_of_memory_halves_the_rows(monkeypatch):
    def fits(x: Tensor) -> Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("too large")
        return x[:, 0]

    monkeypatch.setattr(torch, "compile", lambda module, **how: fits)
    compiled = Compiled(scale(), "inductor")
    score = Score(compiled.module, batch_size=8, quick=InferenceOptions(compiled=compiled))
    assert draws(score, torch.ones(5, 1)).tolist() == [1.0] * 5
    assert score.batch_size == 2
    assert not compiled.broken


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_switches_of_tf32_are_put_back():
    before = switches()
    cuda = torch.device("cuda")
    with inference.full_precision(cuda):
        assert switches() == (False, False)
        with InferenceOptions("tf32").arithmetic(cuda):
            assert switches() == (True, True)
        assert switches() == (False, False)
    assert switches() == before
    with (
        inference.full_precision(torch.device("cpu")),
        InferenceOptions("tf32").arithmetic(torch.device("cpu")),
    ):
        assert switches() == before
