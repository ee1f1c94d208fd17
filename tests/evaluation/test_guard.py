"""One part cannot change another's numbers, whatever it does."""

from __future__ import annotations

import importlib
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from igbench.errors import NotDefinedError
from igbench.evaluation import loop
from igbench.methods.captum import Captum
from igbench.methods.given import as_method
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.areas import Deletion, SymmetricRelevanceGain
from igbench.metrics.robustness.sensitivity import MaxSensitivity
from igbench.schema import COSTS, MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.experiments import data, experiment, model, rows

N = 2


def hook(*_):
    return None


def scaled(module, inputs, output):
    return 2 * output


def first(batch):
    return next(m for m in batch.score.model.modules() if isinstance(m, nn.Conv2d))


def patched(batch):
    layer = first(batch)
    plain = layer.forward
    layer.forward = lambda x: 2 * plain(x)


def load(batch):
    module = batch.score.model
    module.load_state_dict({k: 0 * v for k, v in module.state_dict().items()})


def assign(batch):
    module = batch.score.model
    module.load_state_dict({k: 0 * v for k, v in module.state_dict().items()}, assign=True)


def through_numpy(tensor):
    tensor.numpy()[...] = 7


def halved(batch):
    batch.score.model.bfloat16()


def of_class(batch):
    type(first(batch)).forward = lambda self, x: 0 * self._conv_forward(x, self.weight, self.bias)


def silent_relu(batch):
    torch.nn.functional.relu = lambda x, inplace=False: x


def no_gradients(batch):
    torch.set_grad_enabled(False)


def swap(batch):
    first(batch).weight.data = first(batch).weight.data.clone()


INPUTS = {
    "x": (lambda b: b.x.zero_(), "wrote into the inputs (batch.x)"),
    "x.data": (lambda b: b.x.data.add_(1), "wrote into the inputs (batch.x)"),
    "x.numpy": (lambda b: through_numpy(b.x), "wrote into the inputs (batch.x)"),
    "x resized": (lambda b: b.x.resize_(1), "wrote into the inputs (batch.x)"),
    "baseline": (lambda b: b.baseline.fill_(3), "wrote into the inputs (batch.baseline)"),
    "target": (lambda b: b.target.zero_().add_(1), "wrote into the inputs (batch.target)"),
    "x replaced": (
        lambda b: object.__setattr__(b, "x", torch.zeros_like(b.x)),
        "wrote into the inputs (batch.x)",
    ),
}
MODEL = {
    "weights": (lambda b: first(b).weight.mul_(2), "wrote into the weights 'model.features.0"),
    "weights.data": (lambda b: first(b).weight.data.zero_(), "wrote into the weights 'model."),
    "weights.numpy": (lambda b: through_numpy(first(b).weight), "wrote into the weights 'model."),
    "weights in another order": (
        lambda b: first(b).weight.data.copy_(first(b).weight.data.flip(0)),
        "wrote into the weights 'model.",
    ),
    "data replaced": (swap, "replaced the data of 'model.features.0.weight'"),
    "parameter replaced": (
        lambda b: setattr(first(b), "weight", nn.Parameter(0 * first(b).weight)),
        "replaced a parameter of 'model.features.0'",
    ),
    "state loaded": (load, "wrote into the weights 'model.features.0"),
    "state assigned": (assign, "replaced a parameter of 'model.features.0'"),
    "other type": (halved, "replaced the data of 'model.features.0"),
    "forward hook": (
        lambda b: first(b).register_forward_hook(scaled),
        "left or removed a hook on 'model.features.0'",
    ),
    "forward hook first": (
        lambda b: first(b).register_forward_pre_hook(lambda m, x: (0 * x[0],)),
        "left or removed a hook on 'model.features.0'",
    ),
    "backward hook": (
        lambda b: first(b).register_full_backward_hook(lambda m, i, o: (0 * i[0],)),
        "left or removed a hook on 'model.features.0'",
    ),
    "state hook": (
        lambda b: first(b).register_state_dict_post_hook(hook),
        "left or removed a hook on 'model.features.0'",
    ),
    "hook on a weight": (
        lambda b: first(b).weight.requires_grad_().register_hook(hook),
        "left a hook on 'model.features.0.weight'",
    ),
    "buffer": (
        lambda b: first(b).register_buffer("mine", torch.ones(2)),
        "added, removed or replaced a buffer of 'model.features.0'",
    ),
    "module": (
        lambda b: setattr(b.score.model, "features", nn.Sequential(nn.Flatten(), nn.Identity())),
        "added, removed or replaced a module of 'model'",
    ),
    "training": (
        lambda b: b.score.model.train(),
        "changed the mode (training or not) of 'model",
    ),
    "requires_grad": (
        lambda b: b.score.model.requires_grad_(True),
        "changed requires_grad of 'model.features.0.weight'",
    ),
    "gradient": (
        lambda b: setattr(first(b).weight, "grad", torch.ones_like(first(b).weight)),
        "left a gradient on 'model.features.0.weight'",
    ),
    "forward": (patched, "replaced forward of 'model.features.0'"),
    "forward of the class": (of_class, "replaced forward of the class Conv2d"),
    "setting": (lambda b: setattr(first(b), "padding", (0, 0)), "changed 'padding' of 'model."),
    "output": (lambda b: setattr(b.score, "output", "probability"), "changed 'output' of the"),
    "rows": (lambda b: setattr(b.score, "batch_size", 1), "changed the batch size of batch.score"),
    "counts": (
        lambda b: setattr(b.score.cost, "forward", -99),
        "changed the counts of model rows of batch.score",
    ),
}
PROCESS = {
    "dtype": (
        lambda b: torch.set_default_dtype(torch.float64),
        "changed torch's default dtype",
    ),
    "device": (lambda b: torch.set_default_device("meta"), "changed torch's default device"),
    "gradients": (no_gradients, "changed the gradient mode"),
    "deterministic": (
        lambda b: torch.set_deterministic_debug_mode(2),
        "changed torch's deterministic algorithms",
    ),
    "threads": (
        lambda b: torch.set_num_threads(torch.get_num_threads() + 1),
        "changed torch's number of threads",
    ),
    "cudnn": (
        lambda b: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
        "changed cuDNN's benchmark flag",
    ),
    "numpy errors": (lambda b: np.seterr(all="ignore"), "changed NumPy's handling of errors"),
    "autocast": (
        lambda b: torch.set_autocast_enabled("cpu", True),
        "left autocast on or off",
    ),
    "global hook": (
        lambda b: nn.modules.module.register_module_forward_hook(scaled),
        "left or removed a global hook of torch",
    ),
    "function": (silent_relu, "replaced torch.nn.functional.relu"),
    "torch seed": (lambda b: torch.manual_seed(0), "the global generator of torch;"),
    "torch draw": (lambda b: torch.rand(1), "the global generator of torch;"),
    "numpy seed": (lambda b: np.random.seed(0), "the global generator of NumPy;"),  # noqa: NPY002
    "random draw": (lambda b: random.random(), "the global generator of Python's random;"),
}
ALL = INPUTS | MODEL | PROCESS


def quietly(act, batch):
    """Weights are changed in place; nothing but the act itself changes the gradient mode."""
    try:
        torch.set_grad_enabled(False)
        act(batch)
    finally:
        torch.set_grad_enabled(act is not no_gradients)


@dataclass(frozen=True)
class Bad:
    """A method that does something first."""

    act: Callable
    value: Callable = lambda batch: torch.ones_like(batch.x)
    spec = MethodSpec("bad", "", "global", signed=True)

    def __call__(self, batch):
        quietly(self.act, batch)
        return self.value(batch)


@dataclass(frozen=True)
class BadMetric(Completeness):
    """A metric that does something while it measures, or observes."""

    act: Callable = None
    observes: bool = False

    @property
    def sharing_key(self):
        return (BadMetric, self.act, self.observes)

    def observe(self, batch):
        found = super().observe(batch)
        if self.observes:
            quietly(self.act, batch)
        return found

    def measure(self, batch, attributions, observation):
        found = super().measure(batch, attributions, observation)
        if not self.observes:
            quietly(self.act, batch)
        return found


def chosen(**options):
    methods = {"ig": IntegratedGradients(n_steps=2)}
    metrics = {
        "completeness": Completeness(),
        "deletion": Deletion(32, occluder="baseline", scalar="score"),
    }
    x = cf.images(N, dtype=torch.float32)
    return experiment(**({"methods": methods, "metrics": metrics, "data": data(x)} | options))


@pytest.fixture(scope="module")
def right():
    return rows(loop.run(chosen()))


def state(e):
    """Everything of the model and the process that may not move."""
    net = e.model.module
    return (
        {k: v.clone() for k, v in net.state_dict().items()},
        [(n, m.training, len(m._forward_hooks), sorted(vars(m))) for n, m in net.named_modules()],
        [(n, p.requires_grad, p.data_ptr(), p.grad) for n, p in net.named_parameters()],
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
    )


def same_state(a, b):
    weights = a[0].keys() == b[0].keys() and all(torch.equal(a[0][k], b[0][k]) for k in a[0])
    return weights and a[1:] == b[1:]


def check(e, right, bad, text):
    """The offender fails with what it did, all others are right to the last bit."""
    before = state(e)
    results = loop.run(e)
    assert same_state(before, state(e))
    found = rows(results)
    offended = {key for key in found if bad in key}
    assert offended
    for key in offended:
        assert found[key][0] == "failed"
        assert math.isnan(found[key][1])
    others = {key: value for key, value in found.items() if key not in offended}
    assert others == right
    reasons = {r.reason for r in results.rows if bad in r and r.status == "failed"}
    kind = "metric" if any(key[1] == bad for key in offended) else "method"
    for reason in reasons:
        assert reason.startswith(f"{kind} {bad!r} ")
        assert text in reason
        assert "\n" not in reason


@pytest.mark.parametrize("how", ALL)
def test_a_method_that_interferes(right, how):
    act, text = ALL[how]
    ig = IntegratedGradients(n_steps=2)
    check(chosen(methods={"bad": Bad(act), "ig": ig}), right, "bad", text)


@pytest.mark.parametrize("how", ALL)
def test_a_metric_that_interferes(right, how):
    act, text = ALL[how]
    e = chosen()
    metrics = {"bad": BadMetric(act=act), **e.metrics}
    check(replace(e, metrics=metrics), right, "bad", text)


@pytest.fixture
def drawing_module(tmp_path, monkeypatch):
    """Imports a new module that draws a number of Python's, as some libraries do."""
    name = f"draws_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("import random\nNUMBER = random.random()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: importlib.import_module(name)
    sys.modules.pop(name, None)


def test_a_module_that_draws_while_it_is_imported_is_no_offence(drawing_module):
    before = random.getstate()
    bad = Bad(lambda _batch: drawing_module())
    results = loop.run(chosen(methods={"bad": bad, "ig": IntegratedGradients(n_steps=2)}))
    assert not [r for r in results.rows if r.status == "failed"]
    assert random.getstate() == before
    e = chosen()
    sys.modules.pop(drawing_module().__name__)
    metric = BadMetric(act=lambda _batch: drawing_module())
    results = loop.run(replace(e, metrics={"bad": metric, **e.metrics}))
    assert not [r for r in results.rows if r.status == "failed"]


@pytest.mark.parametrize("draw", [random.random, lambda: torch.rand(1)])
def test_a_part_that_imports_and_draws_by_itself_is_one(right, drawing_module, draw):
    def act(_batch):
        drawing_module()
        draw()

    text = "the global generator of"
    check(
        chosen(methods={"bad": Bad(act), "ig": IntegratedGradients(n_steps=2)}), right, "bad", text
    )


@pytest.mark.parametrize("how", ["x.numpy", "weights.data", "forward hook", "module", "dtype"])
def test_a_metric_that_interferes_while_it_observes(right, how):
    act, text = ALL[how]
    e = chosen()
    metrics = {"bad": BadMetric(act=act, observes=True), **e.metrics}
    check(replace(e, metrics=metrics), right, "bad", text)


def test_a_metric_that_writes_into_a_map(right):
    @dataclass(frozen=True)
    class Writes(Completeness):
        how: str = ""

        @property
        def sharing_key(self):
            return self

        def measure(self, batch, attributions, observation):
            found = super().measure(batch, attributions, observation)
            values = attributions["ig"].values
            values.data.zero_() if self.how == "data" else values.neg_()
            attributions.clear()
            return found

    for how in ("data", "plain"):
        e = chosen()
        e = replace(e, metrics={"bad": Writes(how=how), **e.metrics})
        check(e, right, "bad", "wrote into the map of 'ig'")


def test_a_metric_that_writes_into_what_others_share(right):
    @dataclass(frozen=True)
    class Writes(Deletion):
        def measure(self, batch, attributions, observation):
            found = super().measure(batch, attributions, observation)
            observation.clean.data.add_(5)
            return found

    @dataclass(frozen=True)
    class Poisons(Deletion):
        """Curves of the shared observation that come of maps it wrote into."""

        def measure(self, batch, attributions, observation):
            for a in attributions.values():
                a.values.neg_()
            return super().measure(batch, attributions, observation)

    srg = SymmetricRelevanceGain(32, occluder="baseline", scalar="score")
    expected = rows(loop.run(chosen(metrics={"srg": srg})))
    for cls, text in ((Writes, "the observation that others share"), (Poisons, "the map of 'ig'")):
        metrics = {"bad": cls(32, occluder="baseline", scalar="score"), "srg": srg}
        check(chosen(metrics=metrics), expected, "bad", text)
        assert len({m.sharing_key for m in metrics.values()}) == 1


def test_maps_that_are_views_or_buffers_are_those_that_were_returned():
    """A map of the inputs, and a buffer that every call fills anew."""
    buffer = {}

    def reused(batch):
        own = buffer.setdefault("map", torch.zeros(len(batch), 3, 8, 8))
        return own.copy_(batch.x * (len(buffer["calls"]) + 1))

    def twice(batch):
        buffer.setdefault("calls", []).append(0)

    metrics = {"again": MaxSensitivity(draws=2), **chosen().metrics}
    own = {
        "views": Bad(lambda b: None, lambda b: b.x),
        "reused": Bad(twice, reused),
        "ig": IntegratedGradients(n_steps=2),
    }
    plain = {
        "views": Bad(lambda b: None, lambda b: b.x.clone()),
        "reused": Bad(lambda b: None, lambda b: 2 * b.x),
        "ig": own["ig"],
    }
    e = chosen(methods=own, metrics=metrics, keep_maps=N)
    results = loop.run(e)
    found = {k: v for k, v in rows(results).items() if k[1] != "again"}
    expected = rows(loop.run(replace(e, methods=plain)))
    assert found == {k: v for k, v in expected.items() if k[1] != "again"}
    x = cf.images(N, dtype=torch.float32)
    for i in range(N):
        assert np.array_equal(results.maps["views"][f"s{i}"], x[i].sum(0).numpy())
        assert np.array_equal(results.maps["reused"][f"s{i}"], (2 * x[i]).sum(0).numpy())


def test_a_kept_reference_reaches_nobody():
    """A method that writes, when it is called again, into what it was given before."""
    kept = []

    def late(batch):
        for x in kept:
            x.zero_()
        kept[:] = [batch.x, batch.baseline]

    ig = {"ig": IntegratedGradients(n_steps=2)}
    found = rows(loop.run(chosen(methods={"late": Bad(late)} | ig, shard_size=1)))
    right = rows(loop.run(chosen(methods=ig, shard_size=1)))
    assert {k: v for k, v in found.items() if k[0] == "ig"} == right
    assert {v[0] for k, v in found.items() if k[0] == "late" and k[1] == "completeness"} == {"ok"}


def test_a_baseline_or_a_picture_that_writes(right):
    e = chosen()

    def baseline(x, ids, source, seed):
        return x.zero_()

    def display(z):
        return z.fill_(9).permute(1, 2, 0).byte().numpy()

    writing = replace(e, baseline=baseline, data=replace(e.data, display=display))
    assert rows(loop.run(writing)) == right
    curves = [loop.run(replace(w, convergence=1)).points for w in (e, writing)]
    assert curves[0] == curves[1]


def test_a_method_that_raises_and_leaves_a_hook(right):
    """It fails where it raises, and its hook is gone; other samples have their map."""

    def act(batch):
        if "s1" in batch.sample_ids:
            first(batch).register_forward_hook(scaled)
            raise RuntimeError("out of luck")

    e = chosen(methods={"bad": Bad(act), "ig": IntegratedGradients(n_steps=2)})
    results = loop.run(e)
    found = rows(results)
    assert {k: v for k, v in found.items() if k[0] == "ig"} == right
    assert {k[2] for k, v in found.items() if v[0] == "failed"} == {"s1"}
    reason = next(r.reason for r in results.rows if r.status == "failed")
    assert reason == (
        "RuntimeError: out of luck; method 'bad' left or removed a hook on 'model.features.0' "
        "before it failed"
    )


def test_ctrl_c_leaves_the_model_as_it_was():
    def act(batch):
        first(batch).weight.zero_()
        raise KeyboardInterrupt

    e = chosen(methods={"bad": Bad(act)})
    before = state(e)
    with pytest.raises(KeyboardInterrupt):
        loop.run(e)
    assert same_state(before, state(e))


def test_a_method_that_interferes_when_it_explains_again():
    """Its own cell fails, and not that of another method of the same call."""

    def act(batch):
        if len(batch) != N:
            first(batch).weight.mul_(2)

    again = MaxSensitivity(draws=4)
    ig = {"ig": IntegratedGradients(n_steps=2)}
    expected = rows(loop.run(chosen(methods=ig, metrics={"again": again})))
    e = chosen(methods={"bad": Bad(act)} | ig, metrics={"again": again})
    results = loop.run(e)
    found = rows(results)
    assert {k: v for k, v in found.items() if k[0] == "ig"} == expected
    assert {v[0] for k, v in found.items() if k[0] == "bad"} == {"failed"}


def test_models_that_parts_hold_are_watched_too(right):
    """An explainer leaves a hook on the caller's own model, which another one explains too."""
    net = cf.small_net(torch.float32)

    def bad(x, target):
        net.features[0].register_forward_hook(scaled)
        return x

    def good(x, target):
        return torch.autograd.grad(net(x)[0, int(target)], x)[0]

    def run(**functions):
        methods = {n: as_method(n, f, ("s0", "s1"), (3, 8, 8)) for n, f in functions.items()}
        return rows(loop.run(chosen(methods=methods, metrics={"completeness": Completeness()})))

    found = run(bad=bad, good=good)
    assert {v[0] for k, v in found.items() if k[0] == "bad"} == {"failed"}
    assert {k: v for k, v in found.items() if k[0] == "good"} == run(good=good)
    assert not net.features[0]._forward_hooks


class Counts(nn.Module):
    """A model that counts its calls in a buffer and an attribute, and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.net = cf.small_net(torch.float32)
        self.register_buffer("seen", torch.zeros(()))
        self.eval()

    def forward(self, x):
        self.seen += len(x)
        self.output = self.net(x)
        return self.output


def test_a_model_that_keeps_count_is_no_offence(right):
    assert rows(loop.run(chosen(model=model(Counts())))) == right


@pytest.mark.filterwarnings("ignore:Setting .* hooks")
def test_our_own_methods_leave_nothing():
    methods = {
        "guided": Captum("GuidedBackprop"),
        "deep_lift": Captum("DeepLift"),
        "occlusion": Captum("Occlusion"),
        "shap": Captum("GradientShap", arguments={"n_samples": 2}),
    }
    results = loop.run(chosen(methods=methods))
    assert not [r.reason for r in results.rows if r.status == "failed"]


def test_a_method_that_writes_where_some_elements_take_no_part():
    active = torch.ones(3, 8, 8, dtype=torch.bool)
    active[:, 0] = False
    ig = {"ig": IntegratedGradients(n_steps=2)}
    part = replace(data(cf.images(N, dtype=torch.float32)), active=lambda i: active)
    right = rows(loop.run(chosen(methods=ig, data=part)))
    writes = {"bad": Bad(lambda b: b.x.zero_())}
    results = loop.run(chosen(methods=writes | ig, data=part))
    found = rows(results)
    assert {k: v for k, v in found.items() if k[0] == "ig"} == right
    assert {v[0] for k, v in found.items() if k[0] == "bad"} == {"failed"}
    reasons = {r.reason for r in results.rows if r.status == "failed"}
    assert reasons == {"the method wrote into the inputs (batch.x)."}


def test_undefined_stays_undefined():
    def act(batch):
        raise NotDefinedError("has no meaning here.")

    found = loop.run(chosen(methods={"none": Bad(act)}))
    assert {r.status for r in found.rows if r.metric not in COSTS} == {"undefined"}
