"""The mode sees operations of every spelling, and leaves nothing behind."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import NotDefinedError
from igbench.methods import LRP, DeepLift, GuidedBackprop, explain
from igbench.propagation.mode import secant
from tests.propagation.nets import F64, NETS, Of, drawn, images


def batch_of(model: nn.Module, x: Tensor) -> Batch:
    """Samples with targets 0, 1, ... from a baseline of zeros."""
    ids = tuple(str(i) for i in range(len(x)))
    return Batch(Score(model), x, 0 * x, torch.arange(len(x)), ids)


METHODS = (DeepLift(), GuidedBackprop(), LRP())

RELUS = {
    "function": functional.relu,
    "torch": torch.relu,
    "method": lambda z: z.relu(),
    "in place": lambda z: z.clone().relu_(),
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "clamp": lambda z: z.clamp(min=0),
    "hardtanh": lambda z: functional.hardtanh(z, 0.0, 1e9),
    "threshold": lambda z: functional.threshold(z, 0.0, 0.0),
    "by name": lambda z: functional.relu(input=z),
    "aten": torch.ops.aten.relu.default,
}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_relus_of_every_spelling_get_the_same_rule(method):
    """One layer with negative and positive units: rules differ from the gradient."""
    layer, head = drawn(nn.Linear(4, 6), 3), drawn(nn.Linear(6, 6, bias=False), 4)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(5), dtype=F64)
    maps = [
        explain(method, Of(lambda z, f=f: f(head(f(layer(z)))).sum(dim=1)), x)
        for f in RELUS.values()
    ]
    for name, found in zip(RELUS, maps, strict=True):
        torch.testing.assert_close(found, maps[0], rtol=0, atol=1e-12, msg=name)
    x.requires_grad_()
    plain = torch.autograd.grad(layer(x).relu().matmul(head.weight.T).relu().sum(), x)[0]
    assert not torch.allclose(maps[0], plain * (x if isinstance(method, LRP) else 1))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("name", ["residual", "separable"])
def test_maps_do_not_depend_on_the_batch_and_models_stay_as_they_were(method, name):
    net = drawn(NETS[name]())
    before = copy.deepcopy(net.state_dict())
    x = images(3)
    whole = explain(method, net, x, target=[0, 1, 2], batch_size=8)
    for size in (1, 2):
        again = explain(method, net, x, target=[0, 1, 2], batch_size=size)
        torch.testing.assert_close(again, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(explain(method, net, x[1:2], target=1), whole[1:2])
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert all(p.requires_grad for p in module.parameters())


def test_nothing_is_left_after_an_exception():
    inside = drawn(nn.Linear(2, 2))

    def broken(z):
        torch.relu(inside(z))
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        DeepLift()(batch_of(Of(broken), torch.ones(1, 2, dtype=F64)))
    x = torch.tensor([[-1.0]], requires_grad=True)
    torch.relu(x * 1).sum().backward()
    assert x.grad.tolist() == [[0.0]]
    assert all(p.requires_grad for p in inside.parameters())
    assert torch.overrides._get_current_function_mode() is None


def traced(module: nn.Module, x: Tensor) -> nn.Module:
    """The module as TorchScript, which torch warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found: nn.Module = torch.jit.trace(module, x)
    return found


class _Own(torch.autograd.Function):
    """A ReLU that no rule can see."""

    @staticmethod
    def forward(ctx, z):
        """Keep the positive part."""
        return z.relu()

    @staticmethod
    def backward(ctx, g):
        """Pass on everything."""
        return g


INNER = drawn(nn.Linear(4, 4), 8)
UNSEEN = {
    "a function of its own": _Own.apply,
    "a mask": lambda z: z * (z > 0),
    "where": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "softmax": lambda z: z.softmax(dim=1),
    "layer norm": lambda z: functional.layer_norm(z, (4,)),
    "a script": traced(nn.Sequential(nn.ReLU()), torch.ones(1, 4, dtype=F64)).forward,
    "a product of matrices": lambda z: (z[:, :, None] @ z[:, None, :]).sum(dim=2),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("name", UNSEEN)
def test_operations_without_a_rule_are_said_in_one_line(method, name):
    f = UNSEEN[name]
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(2), dtype=F64)
    with pytest.raises(NotDefinedError, match="has no rule for") as caught:
        explain(method, Of(lambda z: f(INNER(z)).square().sum(dim=1)), x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_scripts_and_probabilities_are_refused(method):
    net, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), torch.ones(2, 3)
    with pytest.raises(NotDefinedError, match="is TorchScript"):
        method(batch_of(traced(net, x), x))
    with pytest.raises(NotDefinedError, match="explains logits"):
        explain(method, net, x, target=0, output="probability")


@pytest.mark.slow
def test_compiled_models_and_exported_programs_are_refused():
    net, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), torch.ones(2, 3)
    rows = ({0: torch.export.Dim("rows")},)
    for model, how in (
        (torch.compile(net), "compiled"),
        (torch.export.export(net, (x,), dynamic_shapes=rows).module(), "an exported program"),
    ):
        for method in METHODS:
            with pytest.raises(NotDefinedError, match=f"is {how}"):
                explain(method, model, x, target=0)


def test_slopes_are_quotients_and_derivatives_where_nothing_moves():
    """sigmoid from -1 to 1, and at 1e-14 next to 0.5, where the quotient is rounding."""
    a = torch.tensor([1.0, 0.5], dtype=F64)
    b = torch.tensor([-1.0, 0.5 + 1e-14], dtype=F64)
    s = torch.sigmoid(a)
    wanted = torch.stack([(2 * s[0] - 1) / 2, s[1] * (1 - s[1])])
    torch.testing.assert_close(secant(torch.sigmoid, a, b), wanted, rtol=0, atol=1e-12)
