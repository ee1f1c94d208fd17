"""Models whose rows are not functions of themselves, and arguments that cannot be used."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import igbench
from igbench import metrics
from igbench.core.probe import Outputs, check_target, probe
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import IntegratedGradients, explain
from tests.strangers import models
from tests.strangers.models import plain, rows

CHOSEN = {"methods": ["input_x_gradient"], "metrics": ["completeness"]}


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (models.Dropping, "differ from call to call.*draws at random"),
        (models.Noisy, "differ from call to call.*draws at random"),
        (models.Recurrent, "differ from call to call.*keeps state"),
        (models.Running, "differ from call to call.*keeps state"),
        (
            models.Warming,
            "(changed after|differ from call).*keeps state",
        ),
        (models.BatchNormed, "depend on the rows beside it.*batch_size=1"),
        (models.Centred, "depend on the rows beside it"),
        (models.SharedSoftmax, "depend on the rows beside it"),
    ],
)
def test_rows_that_are_no_functions_of_themselves(cls, message):
    state = torch.get_rng_state()
    torch.manual_seed(1)  # not one that draws the same mask of 64 twice
    model, x = cls(), rows()
    calls = [
        lambda: igbench.evaluate(model, x, **CHOSEN),
        lambda: metrics.deletion(cls(), x, x, target=0),
        lambda: explain(IntegratedGradients(), cls(), x, target=0),
    ]
    for call in calls:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    torch.set_rng_state(state)


def test_a_model_that_mixes_rows_works_one_row_at_a_time():
    x = rows()
    model = models.BatchNormed()
    found = igbench.evaluate(model, x, **CHOSEN, batch_size=1).frame
    expected = igbench.evaluate(plain(), x, **CHOSEN, batch_size=1).frame
    one, two = (f[f.metric == "completeness"].value.to_numpy() for f in (found, expected))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rounding_is_no_fault(dtype):
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / 8)
    x = torch.randn(2, 64, generator=g).to(dtype)
    assert probe(Score(net.eval().to(dtype)), x).shape == (64,)


def test_a_model_that_fails_says_so_once():
    with pytest.raises(InputError, match=r"cannot be called with a single row of shape \(1, 5\)"):
        igbench.evaluate(plain(), rows(inputs=5), **CHOSEN)

    def fixed(x):
        if len(x) != 4:
            raise RuntimeError("size of the batch must be 4")
        return x

    with pytest.raises(InputError, match="needs a dynamic first axis"):
        metrics.deletion(fixed, rows(), rows(), target=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 3}, "target 3 is not one of the model's 3 outputs, 0 to 2"),
        ({"target": -1}, "target -1 is not one of"),
        ({"target": "lable"}, "unknown target 'lable'.*'label'"),
        ({"target": [0, 1]}, r"target has shape \(2,\), expected \(4,\)"),
        ({"target": [0.0, 1, 1, 2]}, "target has dtype float32; expected whole numbers"),
        ({"target": "label"}, "needs labels"),
        ({"features": "foo"}, r"features 'foo' do not fit samples of shape \(6,\)"),
        ({"features": torch.tensor([0, 0, 1])}, r"features have shape \(3,\)"),
        ({"features": torch.arange(6) * 1.0}, "expected integers"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"seed": True}, "seed=True must be a whole number"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({"batch_size": 2.0}, "batch_size=2.0 must be"),
        ({"limit": 0}, "limit=0 must be"),
        ({"methods": "igg"}, "unknown method 'igg'"),
        ({"methods": []}, "no method is chosen"),
        ({"methods": ["ig", "ig"]}, "'ig' is chosen twice"),
        ({"methods": {"m": torch.zeros(3, 6)}}, r"maps 'm' have shape \(3, 6\), expected \(4, 6\)"),
        ({"metrics": ["delition"]}, "unknown metric 'delition'.*'deletion'"),
        ({"metrics": [metrics.Deletion]}, "is a type; give a name"),
        ({"output": "logits"}, "unknown output 'logits'.*'logit'"),
        ({"baseline": "blurr"}, "unknown baseline 'blurr'.*'blur'"),
        ({"baseline": torch.zeros(5)}, "does not broadcast"),
        ({"baseline": torch.tensor(float("nan"))}, "baseline has 1 entries that are NaN"),
        ({"layer": "0"}, "layer='0' is for methods that look into a layer"),
        ({"name": "../up"}, r"name=\.\./up cannot be a folder"),
        ({"preprocess": lambda image: image}, "preprocess= is for folders"),
    ],
)
def test_arguments_are_used_or_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        igbench.evaluate(plain(), rows(), **CHOSEN | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((rows(), [0, 1, 2]), "labels have shape .3,. for 4 samples"),
        ((rows(), [0, 1, 2, 3]), "label 3 is not one of the model's classes, 0 to 2"),
        ((rows(), [0, -1, 2, 0]), "label -1 is not one of"),
        ((rows(), torch.rand(4)), "labels have dtype float32; expected whole numbers"),
        ((rows(), ["a", "b", "c", "a"]), "labels is a list of <U1"),
        ((rows(), rows(), rows()), "the data are a tuple of 3"),
        (rows().long(), "dtype int64; attributions need floating-point inputs"),
        (rows() > 0, "dtype bool"),
        (rows()[0], r"has shape \(6,\), expected \(N, \*F\)"),
        ([[1.0, 2.0], [3.0]], "not a rectangular array"),
        (np.array([["a"]]), "numbers"),
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), "columns that are not numbers: b"),
        (rows().to_sparse(), "is sparse"),
        (rows()[:0], "hold no samples"),
        ("nowhere", "there is no folder 'nowhere'"),
        (object(), "object"),
        ({"rows": rows()}, "expected the inputs under one of"),
    ],
)
def test_data_that_cannot_be_used(data, message):
    with pytest.raises(InputError, match=message) as caught:
        igbench.evaluate(plain(), data, **CHOSEN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 3}, "target 3 is not one of the model's 3 outputs"),
        ({"target": None}, "give target="),
        ({"target": [0, 1, 2, 5]}, "target 5 is not one of"),
        ({"target": torch.rand(4)}, "target has dtype float32"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"baselines": torch.zeros(5)}, "baselines has shape .5,., which does not broadcast"),
        ({"sample_ids": ["a", "b"]}, "2 sample ids for 4 samples"),
        ({"sample_ids": ["a", "b", "a", "c"]}, "'a' is there twice"),
        ({"features": "foo"}, "features 'foo' do not fit"),
        ({"kind": "globl"}, "unknown kind 'globl'"),
        ({"outpt": "logit"}, "no argument 'outpt'.*'output'"),
    ],
)
def test_arguments_of_functions(options, message):
    arguments = {"target": 0} | options
    with pytest.raises(InputError, match=message) as caught:
        metrics.deletion(plain(), rows(), rows(seed=3), **arguments)
    assert "\n" not in str(caught.value)


def test_a_target_is_no_choice_among_single_outputs():
    def one(x):
        return x.sum(dim=1)

    assert metrics.completeness(one, rows(), rows(), target=0).tolist() == pytest.approx(
        metrics.completeness(one, rows(), rows()).tolist()
    )
    with pytest.raises(InputError, match="single output, so there is no output 1"):
        metrics.completeness(one, rows(), rows(), target=1)
    check_target(torch.tensor([[0, 1]]), Outputs((1, 2)))
    with pytest.raises(InputError, match="on axis 1, 0 to 1"):
        check_target(torch.tensor([[0, 2]]), Outputs((1, 2)))


def test_training_mode_is_refused_and_stays():
    model = plain().train()
    with pytest.raises(InputError, match="is in training mode; batch statistics"):
        igbench.evaluate(model, rows(), **CHOSEN)
    assert model.training


def _exported(dynamic: bool):
    shapes = ({0: torch.export.Dim("rows")},) if dynamic else None
    return torch.export.export(plain(), (rows(),), dynamic_shapes=shapes).module()


def _quantised():
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(copy.deepcopy(plain()), {nn.Linear}).eval()


ODD = {
    "exported": lambda: _exported(dynamic=True),
    "scripted": lambda: torch.jit.script(plain()),
    "traced": lambda: torch.jit.trace(plain(), rows()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(plain())),
    "compiled": lambda: torch.compile(plain(), backend="eager"),
    "parallel": lambda: nn.DataParallel(plain()),
    "symbolic": lambda: torch.fx.symbolic_trace(plain()),
    "without gradients": lambda: plain().requires_grad_(False),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_models_of_other_kinds_have_the_same_numbers(kind):
    chosen = {"methods": ["ig", "input_x_gradient"], "metrics": ["completeness", "deletion"]}
    columns = ["completeness", "deletion"]
    found = igbench.evaluate(ODD[kind](), rows(), **chosen).table()[columns]
    expected = igbench.evaluate(plain(), rows(), **chosen).table()[columns]
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_models_that_cannot_work_say_why():
    with pytest.raises(InputError, match="dynamic first axis"):
        igbench.evaluate(_exported(dynamic=False), rows(), **CHOSEN)
    with pytest.raises(InputError, match="depend on the rows beside it"):
        igbench.evaluate(_quantised(), rows(), **CHOSEN)  # one scale for all rows of a call
    with pytest.raises(InputError, match=r"no gradient by its inputs.*evaluate it alone"):
        igbench.evaluate(_quantised(), rows(), **CHOSEN, batch_size=1)
    alone = {"methods": ["random"], "metrics": ["deletion"], "batch_size": 1}
    found = igbench.evaluate(_quantised(), rows(), **alone)
    assert (found.frame.status == "ok").all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_of_the_caller_have_no_influence(mode):
    model, x = plain(), rows()
    chosen = {"methods": ["ig", "saliency"], "metrics": ["completeness", "deletion"]}
    expected = igbench.evaluate(model, x, **chosen).table()[["completeness", "deletion"]]
    with mode():
        inside = rows()  # an inference tensor
        found = igbench.evaluate(model, inside, **chosen).table()
        phi = explain(IntegratedGradients(), model, inside, target=0)
        score = metrics.deletion(model, inside, phi, target=0)
        assert torch.is_inference_mode_enabled() is (mode is torch.inference_mode)
    assert found[["completeness", "deletion"]].equals(expected)
    assert torch.equal(phi, explain(IntegratedGradients(), model, x, target=0))
    assert score.tolist() == metrics.deletion(model, x, phi, target=0).tolist()


def test_a_model_made_in_inference_mode_works():
    with torch.inference_mode():
        model = plain()
    found = igbench.evaluate(model, rows(), **CHOSEN).table()
    expected = igbench.evaluate(plain(), rows(), **CHOSEN).table()
    assert found["completeness"].equals(expected["completeness"])


def test_settings_of_the_process_reach_no_number():
    model = plain()
    names = ["infidelity", "avg_sensitivity", "dummy", "deletion", "max_sensitivity_n", "linearity"]
    chosen = {"methods": ["ig", "gradient_shap", "random"], "metrics": names}
    expected = igbench.evaluate(model, rows(), **chosen).table()[names]
    x = rows()
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = igbench.evaluate(model, x, **chosen).table()[names]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
    assert found.equals(expected)


def test_nan_has_its_true_reason():
    x = rows()
    broken = x.clone()
    broken[1, 2] = float("nan")
    for call in (
        lambda: metrics.deletion(plain(), broken, x, target=0),
        lambda: explain(IntegratedGradients(), plain(), broken, target=0),
    ):
        with pytest.raises(InputError, match="inputs has 1 entries that are NaN"):
            call()

    def sometimes(z):
        return torch.where(z[:, :1] == x[2, 0], torch.nan, 1.0) * z

    found = metrics.deletion(sometimes, x, x, target=0)
    assert found.value.isnan().tolist() == [False, False, True, False]
    assert found.reasons[2] == "the model returned NaN or infinite outputs"


def test_inputs_in_another_order_of_memory():
    class Viewing(nn.Module):
        def forward(self, x):
            return x.view(len(x), -1)[:, :3]

    pictures = torch.rand(3, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    given = {"methods": ["input_x_gradient"], "metrics": ["completeness"]}
    found = igbench.evaluate(Viewing().eval(), pictures.permute(0, 3, 1, 2), **given)
    assert (found.frame.status == "ok").all()
    found = igbench.evaluate(Viewing().eval(), pictures.numpy().transpose(0, 3, 1, 2), **given)
    assert (found.frame.status == "ok").all()


def test_whole_numbers_of_frames():
    frame = pd.DataFrame({c: pd.array([1, 2, 3], dtype="Int64") for c in "abcdef"})
    found = igbench.evaluate(plain(), frame, **CHOSEN)
    assert (found.frame.status == "ok").all()
    frame.loc[0, "a"] = pd.NA
    found = igbench.evaluate(plain(), frame, **CHOSEN).frame
    assert set(found[found.sample_id == "sample-00000"].reason) == {
        "the sample holds NaN or infinite values"
    }


def test_explainers_that_need_more_are_refused():
    from captum.attr import Occlusion

    with pytest.raises(InputError, match="which needs sliding_window_shapes"):
        igbench.evaluate(plain(), rows(), methods={"o": Occlusion(plain())}, metrics=["srg"])
