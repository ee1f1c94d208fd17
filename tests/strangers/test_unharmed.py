"""What belongs to the caller is afterwards what it was, and the numbers are right."""

from __future__ import annotations

import copy
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

import igbench
from igbench import metrics
from igbench.core import callers
from igbench.methods import CallableMethod, IntegratedGradients, explain
from tests.strangers import models
from tests.strangers.models import plain, rows

METHODS = ["ig", "saliency", "input_x_gradient", "random"]
METRICS = ["completeness", "sensitivity_n", "deletion", "infidelity"]
COSTS = ["seconds", "peak_memory"]


def numbers(model, x=None, **options):
    """Means by method and metric, without what a clock or the process says."""
    chosen = {"methods": METHODS, "metrics": METRICS} | options
    found = igbench.evaluate(model, rows() if x is None else x, **chosen)
    return found.table().drop(columns=COSTS)


def snapshot(module: nn.Module):
    """Everything of a module that a caller could notice."""
    return {
        "flags": [p.requires_grad for p in module.parameters()],
        "dtypes": [t.dtype for t in [*module.parameters(), *module.buffers()]],
        "values": [t.detach().clone() for t in [*module.parameters(), *module.buffers()]],
        "grads": [p.grad is None for p in module.parameters()],
        "modes": [m.training for m in module.modules()],
        "hooks": [len(m._forward_hooks) + len(m._backward_hooks) for m in module.modules()],
        "attributes": [sorted(vars(m)) for m in module.modules()],
    }


def same(one, other) -> bool:
    values = all(
        torch.equal(a, b) for a, b in zip(one.pop("values"), other.pop("values"), strict=True)
    )
    return values and one == other


@pytest.mark.parametrize(
    "cls", [models.InPlace, models.Clamped, models.Cached, models.Remembering, models.Counting]
)
def test_the_numbers_are_those_of_the_plain_model(cls):
    model, x = cls(), rows()
    before, kept = snapshot(model), x.clone()
    found = numbers(model, x)
    again = igbench.evaluate(
        model, x[:2], methods=["input_x_gradient"], metrics=["mprt", "avg_sensitivity"]
    )
    assert (again.frame.status == "ok").all()
    assert torch.equal(x, kept)
    assert same(before, snapshot(model))
    expected = numbers(plain())
    # x - 0.5 + 0.5 rounds; everything else is the same
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_model_that_works_in_place_has_the_right_scores():
    model, x = models.Shift(), rows()
    phi = x * models.weights()[1]
    kept = x.clone(), phi.clone()
    found = metrics.sensitivity_n(model, x, phi, target=1)
    assert found.tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert torch.equal(x, kept[0])
    assert torch.equal(phi, kept[1])
    maps = explain(IntegratedGradients(), model, x, target=1)
    assert torch.allclose(maps, phi, atol=1e-5)
    assert torch.equal(x, kept[0])


def test_methods_and_metrics_get_copies_of_tensors():
    def greedy(x, target):
        x.zero_()
        target.fill_(2)
        return x + 1

    def greedy_batch(batch):
        batch.x.zero_()
        batch.baseline.add_(1)
        return torch.ones_like(batch.x)

    x, labels, baseline = rows(), torch.tensor([0, 1, 2, 0]), torch.full((4, 6), 0.1)
    kept = [t.clone() for t in (x, labels, baseline)]
    igbench.evaluate(
        plain(),
        (x, labels),
        methods={
            "one": CallableMethod(greedy, kind="global"),
            "two": CallableMethod(greedy_batch, kind="global", per_batch=True),
        },
        metrics=["completeness", "deletion"],
        baseline=baseline,
        target="label",
    )
    for tensor, before in zip((x, labels, baseline), kept, strict=True):
        assert torch.equal(tensor, before)


def test_arguments_of_functions_stay_as_they_are():
    arrays = {
        "inputs": rows().numpy(),
        "attributions": rows(seed=5).numpy().copy(),
        "baselines": np.zeros((1, 6), dtype=np.float32),
        "target": np.array([0, 1, 2, 0]),
    }
    kept = {k: v.copy() for k, v in arrays.items()}
    found = metrics.deletion(models.InPlace(), **arrays)
    assert all((arrays[k] == kept[k]).all() for k in arrays)
    tensors = {k: torch.from_numpy(v) for k, v in kept.items()}
    assert metrics.deletion(plain(), **tensors).tolist() == pytest.approx(found.tolist(), abs=1e-5)


def test_a_model_of_mixed_precision_keeps_its_dtypes():
    model = models.Mixed()
    before = snapshot(model)
    found = numbers(model)
    assert same(before, snapshot(model))
    assert np.allclose(found, numbers(plain()), rtol=1e-3, atol=1e-4, equal_nan=True)


def test_a_run_in_another_dtype_moves_a_copy():
    model = plain()
    other = callers.placed(model, torch.device("cpu"), torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in other.parameters()} == {torch.float64}
    assert callers.placed(other, torch.device("cpu"), torch.float64) is other


def test_a_model_is_trainable_afterwards():
    model = models.Cached()
    numbers(model)
    loss = model(rows()).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_closure_over_a_model_stays_trainable():
    model = models.Cached()
    numbers(lambda x: model(x), metrics=["completeness", "deletion"])
    model(rows()).square().mean().backward()
    assert model.net[0].weight.grad is not None


def test_an_exception_changes_nothing():
    model, x = models.Remembering(), rows()
    model(x)  # keeps activations with a graph
    before, grad = snapshot(model), torch.is_grad_enabled()

    def broken(x, target):
        raise RuntimeError("broken")

    found = igbench.evaluate(model, x, methods={"broken": broken}, metrics=["completeness"])
    assert set(found.frame[found.frame.metric == "completeness"].status) == {"failed"}
    with pytest.raises(igbench.InputError):
        igbench.evaluate(model, x, methods=["ig"], metrics=["completeness"], target=3)
    assert same(before, snapshot(model))
    assert torch.is_grad_enabled() is grad


def states():
    """The states of all global generators, and the settings of the process."""
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
    )


@pytest.mark.parametrize("model", [plain(), models.Cached(), plain().requires_grad_(False)])
def test_global_state_stays_as_it_is(model):
    before = states()
    numbers(model, methods=[*METHODS, "gradient_shap", "occlusion"])
    assert states() == before


def test_generators_stay_as_they_are_when_a_method_draws():
    model, before = plain(), states()

    def draws(batch):
        return batch.x * torch.rand(()) + random.random() + np.random.random()  # noqa: NPY002

    drawing = CallableMethod(draws, kind="local", per_batch=True)
    first = numbers(model, methods={"draws": drawing}, metrics=["sparseness"])
    assert states() == before
    assert first.equals(numbers(model, methods={"draws": drawing}, metrics=["sparseness"]))


def test_threads_share_a_model():
    model, failures, results = plain(), [], []
    expected = numbers(model, metrics=["completeness", "deletion"])

    def work():
        try:
            results.append(numbers(model, metrics=["completeness", "deletion"]))
            target = model(rows()).argmax(1)
            metrics.deletion(model, rows(), rows(), target=target)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(found.equals(expected) for found in results)
    assert all(p.requires_grad for p in model.parameters())


def test_models_without_a_copy_are_used_themselves_and_restored():
    model = plain()
    model.lock = threading.Lock()  # has no copy
    before = snapshot(model)
    found = numbers(model)
    assert same(before, snapshot(model))
    assert np.array_equal(found, numbers(plain()), equal_nan=True)


def test_weights_are_shared_and_not_copied():
    model = plain()
    own = callers.private(model)
    pairs = zip(model.parameters(), own.parameters(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)).eval()
    model[1].weight = model[0].weight
    own = callers.private(model)
    assert own[1].weight is own[0].weight


def test_weights_without_values_are_refused():
    with pytest.raises(igbench.InputError, match=r"'0\.weight' is not initialised"):
        numbers(nn.Sequential(nn.LazyLinear(3)).eval())
    for call in (numbers, lambda model: metrics.deletion(model, rows(), rows(), target=0)):
        with pytest.raises(igbench.InputError, match="on the meta device"):
            call(copy.deepcopy(plain()).to("meta"))


def test_functions_for_captum_users_keep_what_they_are_given():
    from igbench.captum import IntegratedGradients as Drop
    from igbench.captum import infidelity, sensitivity_max

    model, x, baseline = models.Shift(), rows(), torch.full((1, 6), 0.1)
    kept = x.clone(), baseline.clone()
    phi, delta = Drop(model).attribute(
        x, baselines=baseline, target=1, return_convergence_delta=True
    )
    assert torch.allclose(phi, (x - baseline) * models.weights()[1], atol=1e-5)
    assert float(delta.abs().max()) < 1e-4

    def remove(inputs):
        return inputs, torch.zeros_like(inputs)

    found = infidelity(model, remove, x, models.weights()[1].expand_as(x), target=1)
    assert float(found.max()) < 1e-8  # f(x) - f(0) is w x
    sensitivity_max(lambda z: Drop(model).attribute(z, target=1), x)
    assert torch.equal(x, kept[0])
    assert torch.equal(baseline, kept[1])
