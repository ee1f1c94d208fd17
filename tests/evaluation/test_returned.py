"""Maps and measurements that cannot be used as they are: failed cells with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from igbench.core.batch import Measurement
from igbench.core.returned import check_map
from igbench.errors import InputError
from igbench.evaluation import loop
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.robustness.sensitivity import MaxSensitivity
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.experiments import data, experiment, rows

N = 2


class Marked(torch.Tensor):
    """A subclass of tensors."""


@dataclass(frozen=True)
class Returns:
    """A method that returns something made of the inputs."""

    make: Callable
    spec = MethodSpec("returns", "", "global", signed=True)

    def __call__(self, batch):
        return self.make(batch.x)


@dataclass(frozen=True)
class Measures(Completeness):
    """A metric that returns something made of what is right."""

    make: Callable = None

    @property
    def sharing_key(self):
        return (Measures, self.make)

    def measure(self, batch, attributions, observation):
        found = super().measure(batch, attributions, observation)
        if "bad" not in attributions:
            return found
        return self.make(found)


def chosen(**options):
    methods = {"ig": IntegratedGradients(n_steps=2)}
    x = cf.images(N, dtype=torch.float32)
    metrics = {"completeness": Completeness()}
    return experiment(**({"methods": methods, "metrics": metrics, "data": data(x)} | options))


MAPS = {
    "graph": (lambda x: x.clone().requires_grad_() * 2, "is part of a graph (it requires grad)"),
    "leaf": (lambda x: x.requires_grad_(), "is part of a graph (it requires grad)"),
    "parameter": (nn.Parameter, "is a torch.nn.parameter.Parameter, a subclass of tensors"),
    "numpy": (lambda x: x.numpy(), "is a numpy.ndarray; return a tensor"),
    "list": (lambda x: x.tolist(), "is a list; return a tensor"),
    "tuple": (lambda x: (x,), "is a tuple; return a tensor"),
    "nothing": (lambda x: None, "is a NoneType; return a tensor"),
    "number": (lambda x: 1.0, "is a float; return a tensor"),
    "sparse": (lambda x: x.to_sparse(), "is not dense (torch.sparse_coo)"),
    "meta": (lambda x: x.to("meta"), "is on the meta device, so it has no values"),
    "complex": (lambda x: x.to(torch.complex64), "holds complex64; return floating-point numbers"),
    "half": (lambda x: x.half(), "holds float16, less precise than the inputs in float32"),
    "bfloat16": (lambda x: x.bfloat16(), "holds bfloat16, less precise than the inputs"),
    "integers": (lambda x: x.long(), "holds int64; return floating-point numbers"),
    "booleans": (lambda x: x > 0, "holds bool; return floating-point numbers"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "holds qint8; return floating-point numbers",
    ),
    "no channels": (lambda x: x.sum(1), "must match"),
    "one sample": (lambda x: x[0], "must match"),
    "scalar": (lambda x: x.sum(), "must match"),
    "subclass": (lambda x: x.as_subclass(Marked), "a subclass of tensors; return a plain tensor"),
}


@pytest.mark.filterwarnings("ignore")  # torch deprecates quantised tensors
@pytest.mark.parametrize("how", MAPS)
def test_a_map_that_cannot_be_used(how):
    make, text = MAPS[how]
    right = rows(loop.run(chosen()))
    e = chosen(methods={"bad": Returns(make), "ig": IntegratedGradients(n_steps=2)}, keep_maps=N)
    results = loop.run(e)
    found = rows(results)
    assert {k: v for k, v in found.items() if k[0] == "ig"} == right
    assert {v[0] for k, v in found.items() if k[0] == "bad"} == {"failed"}
    reasons = {r.reason for r in results.rows if r.status == "failed"}
    assert len(reasons) <= N
    for reason in reasons:
        assert reason.startswith("the attribution ")
        assert text in reason
        assert "\n" not in reason


def test_another_device_is_named():
    """There may be no second device here; the check asks the inputs for theirs alone."""

    class Elsewhere:
        shape, device = (1, 2), torch.device("cuda:0")

    with pytest.raises(InputError, match="is on cpu, the inputs on cuda:0; move it there"):
        check_map(torch.ones(1, 2), Elsewhere())


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.double(),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x[:, :1].expand_as(x),
        lambda x: torch.inference_mode()(lambda: x * 2)(),
    ],
    ids=["double", "strided", "expanded", "inference"],
)
def test_maps_that_are_used_as_they_are(make):
    found = rows(loop.run(chosen(methods={"own": Returns(make)})))
    assert {v[0] for v in found.values()} == {"ok"}


def test_a_map_that_is_made_again():
    """It fits at first, and not when the method explains changed inputs."""
    bad = Returns(lambda x: x if len(x) == N else x.numpy())
    e = chosen(methods={"bad": bad}, metrics={"again": MaxSensitivity(draws=4)})
    results = loop.run(e)
    assert {(r.status, r.reason) for r in results.rows if r.metric == "again"} == {
        ("failed", "the attribution of changed inputs is a numpy.ndarray; return a tensor.")
    }


def changed(**fields):
    """The measurement of the bad method with other fields, made of its value."""

    def make(found):
        value = found["bad"].value
        own = {name: change(value) for name, change in fields.items()}
        return found | {"bad": replace(found["bad"], **own)}

    return make


def curve(xs, ys):
    return changed(curves=lambda v: {"c": (xs, ys(v))})


MEASUREMENTS = {
    "value graph": (changed(value=lambda v: v.requires_grad_()), "the metric's value is part of"),
    "value numpy": (changed(value=lambda v: v.numpy()), "the metric's value is a numpy.ndarray"),
    "value list": (changed(value=lambda v: v.tolist()), "the metric's value is a list"),
    "value sparse": (changed(value=lambda v: v.to_sparse()), "the metric's value is not dense"),
    "value meta": (changed(value=lambda v: v.to("meta")), "the metric's value is on the meta"),
    "value complex": (changed(value=lambda v: v + 0j), "the metric's value holds complex"),
    "value shape": (changed(value=lambda v: v[:, None]), "the metric's value has shape"),
    "value subclass": (
        changed(value=lambda v: v.as_subclass(Marked)),
        "the metric's value is a tests.evaluation.test_returned.Marked, a subclass",
    ),
    "error numpy": (
        changed(std_error=lambda v: v.numpy()),
        "the metric's standard error is a numpy.ndarray",
    ),
    "error meta": (
        changed(std_error=lambda v: v.to("meta")),
        "the metric's standard error is on the meta device",
    ),
    "error shape": (changed(std_error=lambda v: v.sum()), "the metric's standard error has shape"),
    "reason": (changed(reason=lambda v: 5), "the metric's reason is a int; expected a text"),
    "curves list": (changed(curves=lambda v: [v]), "the metric's curves are a list"),
    "curve numpy": (
        curve([0.0], lambda v: v[:, None].numpy()),
        "the curve 'c' is a numpy.ndarray; return a tensor",
    ),
    "curve alone": (changed(curves=lambda v: {"c": v}), "expected a pair (x, y)"),
    "curve x": (
        curve(torch.ones(1), lambda v: v[:, None]),
        "the x of the curve 'c' are a torch.Tensor; expected a list of finite numbers",
    ),
    "curve x nan": (curve([float("nan")], lambda v: v[:, None]), "a list of finite numbers"),
    "curve complex": (curve([0.0], lambda v: v[:, None] + 0j), "the curve 'c' holds complex"),
    "curve shape": (curve([0.0, 1.0], lambda v: v[:, None]), "one line for each sample"),
    "no measurement": (
        lambda found: found | {"bad": found["bad"].value},
        "the metric returned a torch.Tensor for 'bad'; expected a Measurement",
    ),
    "no dict": (lambda found: list(found.values()), "the metric returned a list; expected a dict"),
    "nothing": (lambda found: None, "the metric returned a NoneType; expected a dict"),
}


@pytest.mark.parametrize("how", MEASUREMENTS)
def test_a_measurement_that_cannot_be_used(how):
    """It fails for the method that it is about; the metric scores the other one."""
    make, text = MEASUREMENTS[how]
    methods = {"bad": Returns(lambda x: x), "ig": IntegratedGradients(n_steps=2)}
    right = rows(loop.run(chosen(methods=methods)))
    metrics = {"own": Measures(make=make), "completeness": Completeness()}
    results = loop.run(chosen(methods=methods, metrics=metrics))
    found = rows(results)
    assert {k: v for k, v in found.items() if k[1] == "completeness"} == right
    for i in range(N):
        assert found["ig", "own", f"s{i}"] == right["ig", "completeness", f"s{i}"]
        assert found["bad", "own", f"s{i}"][0] == "failed"
    reasons = {r.reason for r in results.rows if r.status == "failed"}
    assert all(text in reason and "\n" not in reason for reason in reasons)


def test_whole_numbers_are_values():
    def whole(found):
        return {m: Measurement(torch.full((N,), 3)) for m in found}

    methods = {"bad": Returns(lambda x: x)}
    found = rows(loop.run(chosen(methods=methods, metrics={"own": Measures(make=whole)})))
    assert set(found.values()) == {("ok", 3.0)}
