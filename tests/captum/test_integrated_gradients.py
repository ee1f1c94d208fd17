"""Is the drop-in exact where a closed form exists, and Captum's equal where Captum is right?"""

from __future__ import annotations

import inspect

import captum.attr
import pytest
import torch
from captum.attr import LayerIntegratedGradients, NoiseTunnel
from captum.attr._utils.batching import _batch_attribution
from torch import Tensor, nn

from igbench.captum import IntegratedGradients
from igbench.errors import InputError
from igbench.integration.quadrature import RULES
from tests.helpers import closed_form as cf

UNBIASED = ["riemann_left", "riemann_right", "riemann_middle", "gausslegendre"]
METHODS = [*UNBIASED, "riemann_trapezoid", *(r for r in RULES if r != "captum_trapezoid")]
# Captum rounds weights (and the nodes of Riemann sums) to float32: half an ulp is 6e-8 of values
# below 1.
CAPTUM = {"rtol": 0, "atol": 1e-6}
# Float64 sums of a few hundred terms of order one, in another order.
ROUNDING = {"rtol": 0, "atol": 1e-12}


def theirs(model) -> captum.attr.IntegratedGradients:
    return captum.attr.IntegratedGradients(model)


class Counting:
    """A function that remembers how many rows each call had."""

    def __init__(self, f) -> None:
        self.f, self.rows = f, []

    def __call__(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.f(x)


class Grid(nn.Module):
    """Outputs (N, 2, 3) of two inputs and a scale: smooth in both inputs."""

    def forward(self, x: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        mixed = torch.stack([x.sin(), y.cos() * x], dim=1)
        return mixed * (scale if isinstance(scale, float) else scale[:, None, None])


def two_inputs(n: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, n, 3, generator=g, dtype=torch.float64)
    return x, y


@pytest.mark.parametrize("method", METHODS)
def test_exact_on_a_linear_model(method):
    x, b = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    ig = IntegratedGradients(cf.linear(*w.tolist()))
    found, delta = ig.attribute(x, b, n_steps=7, method=method, return_convergence_delta=True)
    torch.testing.assert_close(found, w * (x - b), **ROUNDING)
    torch.testing.assert_close(delta, torch.zeros_like(delta), **ROUNDING)
    local = IntegratedGradients(cf.linear(*w.tolist()), multiply_by_inputs=False)
    torch.testing.assert_close(
        local.attribute(x, b, n_steps=7, method=method), w.expand(3, 4), **ROUNDING
    )


def test_polynomials_exact_by_gauss_legendre():
    # grad of x1^2 x2 along the line is quadratic: 2 nodes are exact.  From zero: 2/3 and 1/3.
    found = IntegratedGradients(cf.square_times).attribute(cf.row(3.0, 2.0), n_steps=2)
    torch.testing.assert_close(found, cf.row(12.0, 6.0), **ROUNDING)


def test_captum_trapezoid_is_smaller_by_one_over_n():
    x = cf.row(1.0, 2.0)
    found = IntegratedGradients(cf.linear(3.0, 4.0)).attribute(
        x, n_steps=10, method="captum_trapezoid"
    )
    torch.testing.assert_close(found, cf.row(3.0, 8.0) * 0.9, **ROUNDING)


@pytest.mark.parametrize("method", [*UNBIASED, "captum_trapezoid"])
@pytest.mark.parametrize("baseline", ["none", "scalar", "one", "each"])
def test_equals_captum(method, baseline):
    model, x = cf.small_net(), cf.images(3)
    b = {"none": None, "scalar": 0.3, "one": cf.images(1, 5), "each": cf.images(3, 6)}[baseline]
    arguments = {"target": [0, 1, 2], "n_steps": 13, "return_convergence_delta": True}
    found, delta = IntegratedGradients(model).attribute(x, b, method=method, **arguments)
    name = "riemann_trapezoid" if method == "captum_trapezoid" else method
    expected, expected_delta = theirs(model).attribute(x, b, method=name, **arguments)
    torch.testing.assert_close(found, expected, **CAPTUM)
    torch.testing.assert_close(delta, expected_delta, rtol=0, atol=2e-5)  # sums 192 of them


@pytest.mark.parametrize(
    "target",
    [
        1,
        torch.tensor(1),
        torch.tensor([1]),
        torch.tensor([0, 3, 1]),
        [0, 3, 1],
    ],
    ids=["int", "0-d", "one", "tensor", "list"],
)
@pytest.mark.parametrize("limit", [None, 2, 7])
def test_target_forms(target, limit):
    model, x = cf.small_net(), cf.images(3)
    found = IntegratedGradients(model).attribute(
        x, target=target, n_steps=5, internal_batch_size=limit
    )
    torch.testing.assert_close(
        found, theirs(model).attribute(x, target=target, n_steps=5), **CAPTUM
    )


@pytest.mark.parametrize(
    "target", [(1, 2), [(0, 0), (1, 2), (1, 0), (0, 1)]], ids=["tuple", "tuples"]
)
@pytest.mark.parametrize("limit", [None, 3, 9])
@pytest.mark.parametrize("scale", [None, 2.0, torch.tensor([1.0, 2.0, 3.0, 4.0]).double()])
def test_tuples_of_inputs_targets_and_arguments(target, limit, scale):
    inputs, b = two_inputs(), (0.5, two_inputs(1)[1])
    arguments = {"target": target, "additional_forward_args": scale, "n_steps": 6}
    found, delta = IntegratedGradients(Grid()).attribute(
        inputs, b, internal_batch_size=limit, return_convergence_delta=True, **arguments
    )
    expected, expected_delta = theirs(Grid()).attribute(
        inputs, b, return_convergence_delta=True, **arguments
    )
    assert isinstance(found, tuple)
    torch.testing.assert_close(found, expected, **CAPTUM)
    torch.testing.assert_close(delta, expected_delta, **CAPTUM)


def test_tensor_in_tensor_out_and_tuple_in_tuple_out():
    ig, x = IntegratedGradients(cf.square_times), cf.row(1.0, 2.0)
    assert isinstance(ig.attribute(x), Tensor)
    (found,) = ig.attribute((x,))
    torch.testing.assert_close(found, ig.attribute(x), rtol=0, atol=0)


@pytest.mark.parametrize("n", [2, 4])
def test_arguments_with_another_number_of_rows_are_repeated_as_by_captum(n):
    # Captum repeats a table of 3 rows over steps whatever the number of examples; this function
    # reads the first copy.  Examples then cannot be cut apart.
    x, table = two_inputs(n)[0], torch.tensor([1.0, 2.0, 3.0]).double()

    def f(x: Tensor, table: Tensor) -> Tensor:
        return (x**2 * table[:3]).sum(dim=1)

    found = IntegratedGradients(f).attribute(
        x, additional_forward_args=table, internal_batch_size=2, return_convergence_delta=True
    )
    torch.testing.assert_close(found[0], x**2 * table, **ROUNDING)
    torch.testing.assert_close(found[1], torch.zeros(n).double(), **ROUNDING)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 64, 10_000])
def test_internal_batch_size_bounds_rows_and_changes_nothing(limit):
    model, x = cf.small_net(), cf.images(5)
    arguments = {"target": [0, 1, 2, 3, 0], "n_steps": 11, "return_convergence_delta": True}
    counting = Counting(model)
    found = IntegratedGradients(counting).attribute(x, internal_batch_size=limit, **arguments)
    expected = IntegratedGradients(model).attribute(x, **arguments)
    torch.testing.assert_close(found, expected, **ROUNDING)
    assert max(counting.rows) <= limit
    assert sum(counting.rows) == 5 * 11 + 2 * 5  # every gradient once, and both ends


def test_examples_do_not_depend_on_each_other():
    model, x = cf.small_net(), cf.images(4)
    ig = IntegratedGradients(model)
    whole = ig.attribute(x, target=[3, 2, 1, 0])
    order = [2, 0, 3, 1]
    shuffled = ig.attribute(x[order], target=[[3, 2, 1, 0][i] for i in order])
    alone = torch.cat([ig.attribute(x[i : i + 1], target=3 - i) for i in range(4)])
    torch.testing.assert_close(whole[order], shuffled, **ROUNDING)
    torch.testing.assert_close(whole, alone, **ROUNDING)


def test_rows_of_a_call_do_not_grow_with_steps():
    counting = Counting(cf.linear(1.0, 2.0))
    IntegratedGradients(counting).attribute(torch.ones(40, 2), n_steps=300)
    assert max(counting.rows) <= 512
    wide = Counting(lambda x: x.sum(dim=(1, 2)))
    IntegratedGradients(wide).attribute(torch.ones(2, 1024, 1024), n_steps=9)
    assert max(wide.rows) == 4  # 4 Mi elements


def test_sign_of_the_delta():
    # One left node sees the gradient 0 of x^3 at 0: nothing is attributed, f(2) - f(0) = 8 is
    # missing.  One right node sees 12: 24 is attributed, 16 too much.
    ig = IntegratedGradients(cf.cube)
    for method, expected in (("riemann_left", -8.0), ("riemann_right", 16.0)):
        _, delta = ig.attribute(
            cf.row(2.0), n_steps=1, method=method, return_convergence_delta=True
        )
        torch.testing.assert_close(delta, torch.tensor([expected]).double(), **ROUNDING)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_dtypes_are_captums(dtype, expected):
    x = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=dtype)
    seen = []

    def f(x: Tensor) -> Tensor:
        seen.append(x.dtype)
        return (x * x).sum(dim=1)

    found = IntegratedGradients(f).attribute(x)
    assert set(seen) == {dtype}
    assert found.dtype == expected == theirs(f).attribute(x).dtype
    # x^2 is attributed exactly; points and gradients have the precision of the inputs.
    atol = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), x.double() ** 2, rtol=0, atol=atol)


@pytest.mark.parametrize("form", ["module", "method"])
def test_parameters_are_frozen_inside_and_restored(form):
    model = cf.small_net()
    model.head.bias.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    inside = []
    model.head.register_forward_hook(
        lambda *_: inside.append(any(p.requires_grad for p in model.parameters()))
    )
    ig = IntegratedGradients(model if form == "module" else model.forward)
    x = cf.images(2).requires_grad_()
    found = ig.attribute(x, target=0)
    with pytest.raises(InputError, match="target 99 is not one of"):
        ig.attribute(x, target=99)
    assert inside
    assert not any(inside)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert x.requires_grad
    assert not found.requires_grad
    assert x.grad is None


def test_works_without_gradients_enabled():
    with torch.no_grad():
        found = IntegratedGradients(cf.square_times).attribute(cf.row(3.0, 2.0))
    torch.testing.assert_close(found, cf.row(12.0, 6.0), **ROUNDING)


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_around_ours(kind):
    model, x = cf.small_net(), cf.images(2)
    arguments = {"nt_type": kind, "nt_samples": 4, "stdevs": 0.2, "target": [1, 2], "n_steps": 8}
    found = []
    for ig in (IntegratedGradients(model), theirs(model)):
        torch.manual_seed(5)
        found.append(NoiseTunnel(ig).attribute(x, return_convergence_delta=True, **arguments))
    torch.testing.assert_close(found[0][0], found[1][0], **CAPTUM)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=2e-5)
    assert found[0][1].shape == (8,)


@pytest.mark.parametrize("limit", [None, 1, 7])
@pytest.mark.parametrize("to_input", [True, False])
def test_layer_integrated_gradients_around_ours(limit, to_input):
    model, x = cf.small_net(), cf.images(3)
    expected = LayerIntegratedGradients(model, model.features[2]).attribute(
        x, target=[0, 1, 2], n_steps=9, attribute_to_layer_input=to_input
    )
    layer = LayerIntegratedGradients(model, model.features[2])
    layer.ig = IntegratedGradients(model)
    found = layer.attribute(
        x,
        target=[0, 1, 2],
        n_steps=9,
        attribute_to_layer_input=to_input,
        internal_batch_size=limit,
    )
    torch.testing.assert_close(found, expected, **CAPTUM)


def test_captums_batching_accepts_ours():
    model, x = cf.small_net(), cf.images(3)
    ig = IntegratedGradients(model)
    (found,) = _batch_attribution(
        ig, 3, 6, 9, inputs=(x,), baselines=(0,), target=1, method="riemann_middle"
    )
    expected = ig.attribute(x, target=1, n_steps=9, method="riemann_middle")
    torch.testing.assert_close(found, expected, **CAPTUM)


def test_gradient_func_can_be_replaced():
    ig = IntegratedGradients(cf.product)
    ig.gradient_func = lambda forward_fn, inputs, target_ind, additional_forward_args: tuple(
        torch.ones_like(x) for x in inputs
    )
    torch.testing.assert_close(ig.attribute(cf.row(2.0, 5.0)), cf.row(2.0, 5.0), **ROUNDING)


def test_interface_is_captums():
    ours, reference = IntegratedGradients, captum.attr.IntegratedGradients
    for name in ("__init__", "attribute", "compute_convergence_delta"):
        mine = inspect.signature(getattr(ours, name)).parameters.values()
        other = inspect.signature(getattr(reference, name)).parameters.values()
        assert [(p.name, p.default, p.kind) for p in mine] == [
            (p.name, p.default, p.kind) for p in other
        ]
    assert ours.attribute.__wrapped__.__module__ == "igbench.captum.integrated_gradients"
    assert issubclass(ours, captum.attr.GradientAttribution)
    assert ours(cf.cube).has_convergence_delta()
    assert ours(cf.cube).multiplies_by_inputs
    assert not ours(cf.cube, multiply_by_inputs=False).multiplies_by_inputs
    with pytest.raises(NotImplementedError):
        ours(cf.cube).attribute_future()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gauslegendre"}, "Did you mean 'gausslegendre'"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"internal_batch_size": 0}, "at least 1"),
        ({"baselines": torch.zeros(3, 2)}, "baseline 0 has shape"),
        ({"baselines": (0, 0)}, "2 baselines for 1 inputs"),
        ({"baselines": "zero"}, "baseline 0 is a str"),
        ({"inputs": [1.0]}, "holds a list"),
        ({"inputs": ()}, "empty tuple"),
        ({"inputs": torch.zeros(0, 2)}, "axis 0 must count"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        IntegratedGradients(cf.product).attribute(**({"inputs": torch.ones(2, 2)} | arguments))
    assert "\n" not in str(error.value)


def rows_of(x):
    """Two outputs of each row."""
    return torch.stack([(x**2).sum(1), x.sum(1)], dim=1)


@pytest.mark.parametrize(
    ("function", "target", "message"),
    [
        (lambda x: rows_of(x)[0, :1], None, r"returned Tensor \(1,\) for 150 rows"),
        (lambda x: rows_of(x)[:, 0].sum(), None, r"returned Tensor \(\) for 150 rows"),
        (lambda x: rows_of(x).repeat(2, 1), 0, r"returned Tensor \(300, 2\) for 150 rows"),
        (lambda x: (rows_of(x), x), 0, "returned tuple of Tensor"),
        (
            lambda x: rows_of(x)[:, :1],
            1,
            "target 1 is not one of forward_func's 1 outputs, 0 to 0; l",
        ),
        (rows_of, torch.tensor([2]), "target 2 is not one of forward_func's 2 outputs, 0 to 1"),
        (rows_of, -3, "target -3 is not one of"),
        (lambda x: torch.ones(len(x), 2), 0, "does not depend on each of its inputs"),
        (lambda x: rows_of(x.detach()), 0, "does not depend on each of its inputs"),
        (
            lambda x: rows_of(x * 0 + 1).detach() * torch.ones(2, requires_grad=True),
            0,
            "not depend",
        ),
    ],
)
def test_forward_functions_that_do_not_map_rows_to_rows(function, target, message):
    with pytest.raises(InputError, match=message) as error:
        IntegratedGradients(function).attribute(torch.ones(3, 4), target=target)
    assert "\n" not in str(error.value)


def test_an_input_that_is_not_used_is_named():
    with pytest.raises(InputError, match="does not depend on each of its inputs"):
        IntegratedGradients(lambda x, y: x.sum(1)).attribute((torch.ones(2, 3), torch.ones(2, 3)))


def test_a_forward_function_that_is_refused_is_none_of_torchs_errors():
    def broken(x):
        return (x @ torch.ones(7)).exp()

    with pytest.raises(RuntimeError, match="size mismatch"):
        IntegratedGradients(broken).attribute(torch.ones(2, 3))
