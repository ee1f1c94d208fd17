"""Layer attributions: exact where a closed form exists, and Captum's equal elsewhere."""

from __future__ import annotations

import inspect
import warnings

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from igbench.captum import IntegratedGradients, LayerIntegratedGradients
from igbench.errors import InputError
from tests.helpers import closed_form as cf

# Captum rounds weights and nodes to float32: half an ulp is 6e-8 of values below 1.
CAPTUM = {"rtol": 0, "atol": 1e-6}
ROUNDING = {"rtol": 0, "atol": 1e-12}


class Branches(nn.Module):
    """Two inputs; a layer with a tuple in and a tuple out; a scale as further argument."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.swap = nn.Linear(3, 4), nn.Linear(2, 4), Swap()
        g = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g))
        self.double().eval()

    def forward(self, x: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        a, b = self.swap(self.left(x), self.right(y))
        mixed = torch.stack([(a * b).sum(1), (a + b**2).tanh().sum(1)], dim=1)
        return mixed * (scale if isinstance(scale, float) else scale[:, None])


class Swap(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return b.sin(), a


def two(n: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, 3, generator=g, dtype=torch.float64),
        torch.randn(n, 2, generator=g, dtype=torch.float64),
    )


def both(model: nn.Module, layer, inputs, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that several layers are given
        ours = LayerIntegratedGradients(model, layer)
        theirs = captum.attr.LayerIntegratedGradients(model, layer)
    bound = arguments.pop("internal_batch_size", None)
    return (
        ours.attribute(inputs, internal_batch_size=bound, **arguments),
        theirs.attribute(inputs, **arguments),
    )


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_left", "riemann_middle"])
@pytest.mark.parametrize("to_input", [True, False])
@pytest.mark.parametrize("limit", [None, 2, 7])
def test_equals_captum(method, to_input, limit):
    model = cf.small_net()
    (found, delta), (expected, expected_delta) = both(
        model,
        model.features[2],
        cf.images(3),
        baselines=0.3,
        target=[0, 1, 2],
        n_steps=9,
        method=method,
        internal_batch_size=limit,
        return_convergence_delta=True,
        attribute_to_layer_input=to_input,
    )
    torch.testing.assert_close(found, expected, **CAPTUM)
    torch.testing.assert_close(delta, expected_delta, rtol=0, atol=1e-4)  # 384 of them


@pytest.mark.parametrize("to_input", [True, False])
@pytest.mark.parametrize("scale", [None, 2.0, torch.tensor([1.0, 2.0, 3.0, 4.0]).double()])
@pytest.mark.parametrize("limit", [None, 3])
def test_tuples_of_inputs_layers_and_arguments(to_input, scale, limit):
    model = Branches()
    (found, delta), (expected, expected_delta) = both(
        model,
        model.swap,
        two(),
        baselines=(0.5, two(1)[1]),
        target=1,
        additional_forward_args=scale,
        n_steps=7,
        internal_batch_size=limit,
        return_convergence_delta=True,
        attribute_to_layer_input=to_input,
    )
    assert isinstance(found, tuple)
    torch.testing.assert_close(found, expected, **CAPTUM)
    torch.testing.assert_close(delta, expected_delta, rtol=0, atol=1e-5)


def test_a_list_of_layers_gives_a_list():
    model = Branches()
    for layers in ([model.left, model.right], [model.swap], [model.left]):
        found, expected = both(model, layers, two(), target=0, n_steps=5)
        assert isinstance(found, list)
        torch.testing.assert_close(found, expected, **CAPTUM)


def test_local_attributions_are_captums():
    model, x = cf.small_net(), cf.images(2)
    ours = LayerIntegratedGradients(model, model.features[2], multiply_by_inputs=False)
    theirs = captum.attr.LayerIntegratedGradients(
        model, model.features[2], multiply_by_inputs=False
    )
    torch.testing.assert_close(ours.attribute(x, target=1), theirs.attribute(x, target=1), **CAPTUM)
    assert not ours.multiplies_by_inputs


def test_the_first_layers_input_is_plain_integrated_gradients():
    model, x = cf.small_net(), cf.images(2)
    found = LayerIntegratedGradients(model, model.features).attribute(
        x, target=[1, 2], attribute_to_layer_input=True, n_steps=6
    )
    expected = IntegratedGradients(model).attribute(x, target=[1, 2], n_steps=6)
    torch.testing.assert_close(found, expected, **ROUNDING)


def test_a_linear_head_is_attributed_exactly_by_every_rule():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = two()[0]
    for method in ("riemann_left", "riemann_trapezoid", "simpson", "gausslegendre"):
        found, delta = LayerIntegratedGradients(model, model[1]).attribute(
            x, 0.0, target=1, n_steps=5, method=method, return_convergence_delta=True
        )
        change = model[:2](x) - model[:2](torch.zeros_like(x))
        torch.testing.assert_close(found, (model[2].weight[1] * change).detach(), **ROUNDING)
        torch.testing.assert_close(delta, torch.zeros(4).double(), **ROUNDING)


def test_token_ids_and_their_baseline():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    ids = torch.tensor([[1, 2, 3], [4, 5, 8]])
    for pad in (0, torch.tensor([[7, 7, 7]])):
        found, expected = both(model, model[0], ids, baselines=pad, target=0, n_steps=4)
        torch.testing.assert_close(found, expected, **CAPTUM)
    with pytest.raises(InputError, match=r"the baseline 0\.5 is no torch\.int64"):
        LayerIntegratedGradients(model, model[0]).attribute(ids, 0.5, target=0)


@pytest.mark.parametrize("limit", [1, 4, 6])
def test_rows_of_every_call_are_bounded(limit):
    model, rows = cf.small_net(), []
    model.register_forward_pre_hook(lambda _m, inputs: rows.append(len(inputs[0])))
    LayerIntegratedGradients(model, model.features[0]).attribute(
        cf.images(5),
        target=1,
        n_steps=40,
        internal_batch_size=limit,
        return_convergence_delta=True,
    )
    assert max(rows) == min(limit, 5)  # whole steps of five examples, or fewer examples
    assert sum(rows) == 5 * 40 + 2 * 5


def test_rows_of_a_call_do_not_grow_with_steps():
    model, rows = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), []
    model.register_forward_pre_hook(lambda _m, inputs: rows.append(len(inputs[0])))
    LayerIntegratedGradients(model, model[0]).attribute(torch.ones(40, 2), n_steps=300)
    assert max(rows) <= 512


def test_the_model_is_left_as_it_was():
    model, x = cf.small_net(), cf.images(2)
    model.head.bias.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    explainer = LayerIntegratedGradients(model, model.features[2])
    found = explainer.attribute(x, target=1)
    for bad in ({"target": 99}, {"target": None}, {"grad_kwargs": {"nonsense": 1}}):
        with pytest.raises((InputError, IndexError, AssertionError, TypeError)):
            explainer.attribute(x, **({"target": 1} | bad))
    for part in model.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not found.requires_grad
    torch.testing.assert_close(explainer.attribute(x, target=1), found, rtol=0, atol=0)


def test_activations_are_those_before_operations_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)).double()
    with pytest.raises(InputError, match=r"in place overwrites.*inplace=False"):
        LayerIntegratedGradients(model, model[0]).attribute(two()[0])
    found = LayerIntegratedGradients(model, model[1]).attribute(two()[0], n_steps=3)
    model[1].inplace = False
    expected = LayerIntegratedGradients(model, model[1]).attribute(two()[0], n_steps=3)
    torch.testing.assert_close(found, expected, **ROUNDING)


class Odd(nn.Module):
    """Calls one layer by keyword, gets None beside a tensor from another, and none of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.keyword, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)
        self.pair = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        z = self.keyword(input=x)[:, None]
        return self.pair(z, z, z, need_weights=False)[0].sum(dim=(1, 2))


@pytest.mark.parametrize(
    ("layer", "to_input", "message"),
    [
        ("unused", False, "the layer was not called"),
        ("pair", False, "the layer's activations hold NoneType"),
        ("keyword", True, "gets its inputs by keyword"),
    ],
)
def test_layers_that_cannot_be_attributed_are_explained(layer, to_input, message):
    model = Odd()
    with pytest.raises(InputError, match=message) as error:
        LayerIntegratedGradients(model, model.get_submodule(layer)).attribute(
            torch.ones(2, 3), attribute_to_layer_input=to_input
        )
    assert "\n" not in str(error.value)


def test_several_devices_are_refused():
    model = cf.small_net()
    with pytest.raises(InputError, match="works on one device, not on 2"):
        LayerIntegratedGradients(model, model.head, device_ids=[0, 1])


def test_interface_is_captums():
    ours, theirs = LayerIntegratedGradients, captum.attr.LayerIntegratedGradients
    assert issubclass(ours, theirs)
    for name in ("__init__", "attribute"):
        mine = inspect.signature(getattr(ours, name)).parameters.values()
        other = inspect.signature(getattr(theirs, name)).parameters.values()
        assert [(p.name, p.default, p.kind) for p in mine] == [
            (p.name, p.default, p.kind) for p in other
        ]
    assert ours.attribute.__wrapped__.__module__ == "igbench.captum.layer_integrated_gradients"
    assert ours(cf.small_net(), nn.Linear(1, 1)).has_convergence_delta()


class Steps(nn.Module):
    """Calls one cell at each step of a series, and reads out the last state or their mean."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.cell, self.mean = nn.Tanh(), mean
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        states = [torch.zeros_like(x[:, 0])]
        for i in range(x.shape[1]):
            states.append(self.cell(states[-1] / 2 + x[:, i]))
        read = torch.stack(states).mean(dim=0) if self.mean else states[-1]
        return 3 * read.sum(dim=1)


@pytest.mark.parametrize("to_input", [False, True])
def test_of_several_calls_the_last_may_decide_alone(to_input):
    x = cf.images(2).flatten(2)[:, :1].reshape(2, 4, -1)[..., :2]
    model = Steps(mean=False)
    explainer = LayerIntegratedGradients(model, model.cell)
    phi = explainer.attribute(x, attribute_to_layer_input=to_input, n_steps=64)
    start = torch.zeros_like(x[:, 0])
    for i in range(4):
        drive = start / 2 + x[:, i]
        start = torch.tanh(drive)
    # A sum over features, each of one variable: its change is that feature's attribution.
    torch.testing.assert_close(phi, 3 * start, rtol=0, atol=1e-8)


@pytest.mark.parametrize("to_input", [False, True])
def test_several_calls_that_all_matter_are_refused(to_input):
    x = cf.images(2).flatten(2)[:, :1].reshape(2, 4, -1)[..., :2]
    model = Steps(mean=True)
    with pytest.raises(InputError, match="is called 4 times in one pass") as error:
        LayerIntegratedGradients(model, model.cell).attribute(x, attribute_to_layer_input=to_input)
    assert "\n" not in str(error.value)
    assert not model.cell._forward_hooks
    assert not model.cell._forward_pre_hooks


def test_the_layer_of_one_example_is_checked_too():
    model = Branches()
    x, y = two(1)
    with pytest.raises(InputError, match=r"returned Tensor \(1,\) for 50 rows"):
        LayerIntegratedGradients(lambda x, y: model(x, y)[0, :1], model.left).attribute((x, y))
