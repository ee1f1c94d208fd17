"""Is max-sensitivity what its definition says, what Captum computes, and right where it fails?"""

from __future__ import annotations

import inspect
import math

import captum.metrics
import pytest
import torch
from captum.attr import FeatureAblation
from torch import Tensor

from igbench.captum import IntegratedGradients, sensitivity_max
from igbench.captum.sensitivity import default_perturb_func
from igbench.errors import InputError
from tests.helpers import closed_form as cf

# The same numbers summed by another norm function; ours in float64.
SAME = {"rtol": 1e-9, "atol": 1e-12}


def identity(x) -> Tensor:
    """An explanation that is its input."""
    return x[0] if isinstance(x, tuple) else x


def shift(x: Tensor) -> Tensor:
    return x + 0.5


def test_closed_form():
    # phi(x) = x moves by 0.5 in each of 4 coordinates: norm 1, over |x| = 10 and 5.
    x = torch.tensor([[10.0, 0, 0, 0], [3, 4, 0, 0]], dtype=torch.float64)
    assert sensitivity_max(identity, x, shift).tolist() == pytest.approx([0.1, 0.2])
    assert sensitivity_max(identity, x, shift, norm_ord=1).tolist() == pytest.approx([0.2, 2 / 7])
    assert sensitivity_max(identity, x, shift, norm_ord=math.inf).tolist() == pytest.approx(
        [0.05, 0.125]
    )


def test_the_largest_draw_counts():
    x = cf.row(2.0)

    def rising(x: Tensor) -> Tensor:
        return x + torch.arange(len(x), dtype=x.dtype)[:, None]

    for limit in (None, 1, 3):
        found = sensitivity_max(
            identity, x, rising, n_perturb_samples=5, max_examples_per_batch=limit
        )
        assert found.tolist() == pytest.approx([4 / 2])


def test_zero_explanations_are_not_divided_by():
    assert sensitivity_max(identity, torch.zeros(1, 4), shift).tolist() == pytest.approx([1.0])


def test_constant_explanations_do_not_move():
    ig = IntegratedGradients(cf.linear(1.0, -2.0), multiply_by_inputs=False)
    found = sensitivity_max(ig.attribute, torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(found, torch.zeros(3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["fro", 1, math.inf])
@pytest.mark.parametrize("target", [1, [0, 1, 2], torch.tensor([2, 1, 0])])
def test_equals_captum_with_the_same_seed(order, target):
    x = cf.images(3)
    ig = IntegratedGradients(cf.small_net())
    found = []
    for function in (sensitivity_max, captum.metrics.sensitivity_max):
        torch.manual_seed(3)
        arguments = {"n_perturb_samples": 4, "norm_ord": order, "target": target, "n_steps": 4}
        found.append(function(ig.attribute, x, baselines=cf.images(3, 9), **arguments))
    assert found[0].shape == (3,)
    assert (found[0] > 0).all()
    torch.testing.assert_close(found[0], found[1], **SAME)


def two_inputs() -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return x, y


def product(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    return (x.sin() * y * scale[:, None]).sum(dim=1)


def test_equals_captum_with_tuples():
    ig = IntegratedGradients(product)
    arguments = {
        "baselines": (torch.full((3, 4), 0.5).double(), torch.zeros(1, 4).double()),
        "additional_forward_args": torch.tensor([1.0, 2.0, 3.0]).double(),
    }
    found = []
    for function in (sensitivity_max, captum.metrics.sensitivity_max):
        torch.manual_seed(3)
        found.append(function(ig.attribute, two_inputs(), **arguments))
    torch.testing.assert_close(found[0], found[1], **SAME)


@pytest.mark.parametrize("limit", [3, 4, 7, 30, 31])
def test_chunks_change_nothing(limit):
    x, rows = cf.images(3), []
    ig = IntegratedGradients(cf.small_net())

    def explain(x: Tensor, target: list[int]) -> Tensor:
        rows.append(len(identity(x)))
        return ig.attribute(x, target=target, n_steps=4)

    torch.manual_seed(8)
    whole = sensitivity_max(explain, x, target=[0, 1, 2])
    rows.clear()
    torch.manual_seed(8)
    found = sensitivity_max(explain, x, max_examples_per_batch=limit, target=[0, 1, 2])
    torch.testing.assert_close(found, whole, **SAME)
    assert max(rows) <= limit
    assert sum(rows) == 3 + 3 * 10


def test_fewer_rows_than_examples_is_announced():
    with pytest.warns(UserWarning, match="fewer than the 3 examples"):
        sensitivity_max(identity, torch.ones(3, 2), shift, max_examples_per_batch=2)


def one_by_one(x, given, **arguments) -> Tensor:
    """The same score, with every example on its own."""
    ig = IntegratedGradients(product)
    return torch.cat(
        [
            sensitivity_max(
                ig.attribute,
                tuple(v[i : i + 1] for v in x),
                lambda v: tuple(t + 0.1 * torch.sin(9 * t) for t in v),
                baselines=tuple(b[i : i + 1] if isinstance(b, Tensor) else b for b in given),
                additional_forward_args=torch.tensor([1.0 + i]).double(),
                **arguments,
            )
            for i in range(3)
        ]
    )


def test_every_baseline_of_a_mixed_tuple_follows_its_example():
    x, baselines = two_inputs(), (0.5, torch.arange(12.0).view(3, 4).double())
    found = sensitivity_max(
        IntegratedGradients(product).attribute,
        x,
        lambda v: tuple(t + 0.1 * torch.sin(9 * t) for t in v),
        baselines=baselines,
        additional_forward_args=torch.tensor([1.0, 2.0, 3.0]).double(),
    )
    torch.testing.assert_close(found, one_by_one(x, baselines), **SAME)


@pytest.mark.parametrize("spread", [True, False])
def test_feature_masks_follow_their_example(spread):
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0]] if spread else [[0, 0, 1, 1]])
    ablation = FeatureAblation(lambda x: (x**2).sum(dim=1) + x[:, 0] * x[:, 1])

    def perturb(x: Tensor) -> Tensor:
        return x + 0.1 * torch.sin(9 * x)

    found = sensitivity_max(ablation.attribute, x, perturb, feature_mask=mask)
    alone = [
        sensitivity_max(
            ablation.attribute, x[i : i + 1], perturb, feature_mask=mask[i if spread else 0][None]
        )
        for i in range(2)
    ]
    torch.testing.assert_close(found, torch.cat(alone), **SAME)


def test_tuples_and_tensors_and_strides_of_explanations():
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    forms = [
        lambda v: identity(v),
        lambda v: (identity(v),),
        lambda v: identity(v).transpose(1, 2),
    ]
    found = [sensitivity_max(f, x, shift) for f in forms]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], **SAME)


def test_all_explanations_are_asked_for_in_the_form_of_perturb_func():
    seen = []

    def explain(v):
        seen.append(type(v))
        return identity(v)

    sensitivity_max(explain, torch.ones(2, 2), shift)
    sensitivity_max(explain, torch.ones(2, 2))
    assert seen == [Tensor, Tensor, tuple, tuple]


def test_gradients_are_enabled_for_explanations():
    def gradient(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad((x**3).sum(), x)[0]

    with torch.no_grad():
        found = sensitivity_max(gradient, cf.row(1.0), shift)
    assert found.tolist() == pytest.approx([(3 * 1.5**2 - 3) / 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_default_noise_keeps_the_dtype_and_stays_in_the_ball(dtype):
    x = torch.zeros(50, 4, dtype=dtype)
    torch.manual_seed(1)
    (moved,) = default_perturb_func(x, 0.25)
    assert moved.dtype == dtype
    assert 0.2 < moved.abs().max() <= 0.25
    if dtype in (torch.float32, torch.float64):
        torch.manual_seed(1)
        (expected,) = captum.metrics._core.sensitivity.default_perturb_func(x, 0.25)
        torch.testing.assert_close(moved, expected, rtol=0, atol=0)


def test_arguments_are_handed_on_untouched():
    mark, baseline = object(), torch.zeros(2, 3)
    seen = []

    def explain(x, **arguments):
        seen.append(arguments)
        return identity(x)

    mask = torch.zeros(2, 2)  # fewer axes than the inputs: its axis 0 does not count examples
    x = torch.ones(2, 3, 3)
    sensitivity_max(explain, x, shift, mark=mark, baselines=None, feature_mask=mask, other=baseline)
    assert all(a["mark"] is mark and a["other"] is baseline for a in seen)
    assert all(a["feature_mask"] is mask and a["baselines"] is None for a in seen)


def test_signature_is_captums():
    mine = inspect.signature(sensitivity_max).parameters.values()
    other = inspect.signature(captum.metrics.sensitivity_max).parameters.values()
    assert [(p.name, p.kind) for p in mine] == [(p.name, p.kind) for p in other]
    unlike = [a.name for a, b in zip(mine, other, strict=True) if a.default != b.default]
    assert unlike == ["perturb_func"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm_ord": "nuc"}, "norm_ord 'nuc'"),
        ({"n_perturb_samples": 0}, "n_perturb_samples is 0"),
        ({"perturb_func": lambda x: x[:1]}, "they must match"),
        ({"explanation_func": lambda x: x[:1]}, "must count the rows"),
        ({"max_examples_per_batch": 0}, "must be above zero"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    given = {"explanation_func": identity, "inputs": torch.ones(2, 3), "perturb_func": shift}
    with pytest.raises(InputError, match=message) as error:
        sensitivity_max(**(given | arguments))
    assert "\n" not in str(error.value)
