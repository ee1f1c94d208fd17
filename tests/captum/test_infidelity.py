"""Is infidelity what its definition says, and what Captum computes from the same draws?"""

from __future__ import annotations

import inspect

import captum.metrics
import pytest
import torch
from torch import Tensor

from igbench.captum import infidelity, infidelity_perturb_func_decorator
from igbench.errors import InputError
from tests.helpers import closed_form as cf

# Both sum the same products of order one, Captum in float64 here as well.
SAME = {"rtol": 1e-9, "atol": 1e-12}


def seeded(inputs, baselines=None):
    """Noise of each row from a fixed seed: equal in every call with as many rows."""
    g = torch.Generator().manual_seed(4)
    xs = inputs if isinstance(inputs, tuple) else (inputs,)
    noise = tuple(torch.randn(x.shape, generator=g, dtype=torch.float64) * 0.1 for x in xs)
    after = tuple(x - e for x, e in zip(xs, noise, strict=True))
    return (noise, after) if isinstance(inputs, tuple) else (noise[0], after[0])


def steady(x: Tensor) -> tuple[Tensor, Tensor]:
    """A perturbation that depends on the content of a row alone."""
    step = 0.1 * torch.sin(7 * x)
    return step, x - step


class Counting:
    def __init__(self, f) -> None:
        self.f, self.rows = f, []

    def __call__(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.f(x)


def test_closed_form_of_a_linear_model():
    # f = w.x with I = (1, 2): the gradient predicts every change; zero misses (w.I)^2 = 121;
    # twice the gradient overshoots by w.I.
    w, x = cf.row(3.0, 4.0), torch.ones(2, 2, dtype=torch.float64)
    step = cf.row(1.0, 2.0)

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        return step.expand_as(x), x - step

    def score(phi: Tensor, normalize: bool = False) -> list[float]:
        f = cf.linear(3.0, 4.0)
        return infidelity(f, perturb, x, phi.expand(2, 2), normalize=normalize).tolist()

    assert score(w) == pytest.approx([0, 0], abs=1e-20)
    assert score(0 * w) == pytest.approx([121, 121])
    assert score(2 * w) == pytest.approx([121, 121])
    assert score(2 * w, normalize=True) == pytest.approx([0, 0], abs=1e-12)
    assert score(0 * w, normalize=True) == pytest.approx([121, 121])


def test_global_attributions_with_the_decorator():
    # Replacing all inputs by the baseline: I = 1 for every input, and attributions that sum to
    # f(x) - f(x') are faithful; as local ones they would be multiplied by x once more.
    f, x = cf.linear(3.0, 4.0), cf.row(2.0, 5.0)
    phi = cf.row(6.0, 20.0)
    ours = infidelity_perturb_func_decorator(True)(torch.zeros_like)
    assert infidelity(f, ours, x, phi).tolist() == pytest.approx([0])
    local = infidelity_perturb_func_decorator(False)(torch.zeros_like)
    assert infidelity(f, local, x, phi).tolist() == pytest.approx([(6 * 2 + 20 * 5 - 26) ** 2])


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("baselines", [None, 0.5, torch.tensor([[0.0, 1.0]]).double()])
def test_decorator_equals_captums(multiply, baselines):
    x = torch.tensor([[0.5, 1.0], [0.0, 3.0]], dtype=torch.float64)

    def move(x: Tensor, baselines: object = None) -> Tensor:
        return x * 0.5 - 1

    given = () if baselines is None else (baselines,)
    found = infidelity_perturb_func_decorator(multiply)(move)(x, *given)
    expected = captum.metrics.infidelity_perturb_func_decorator(multiply)(move)(x, *given)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("target", [1, [0, 1, 2], torch.tensor([0, 1, 2])])
def test_equals_captum(normalize, target):
    model, x, phi = cf.small_net(), cf.images(3), cf.images(3, 8)
    arguments = {"target": target, "n_perturb_samples": 7, "normalize": normalize}
    found = infidelity(model, seeded, x, phi, **arguments)
    expected = captum.metrics.infidelity(model, seeded, x, phi, **arguments)
    assert found.shape == (3,)
    torch.testing.assert_close(found, expected, **SAME)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("limit", [4, 9])
@pytest.mark.parametrize("baselines", [None, (0.0, torch.ones(4, 3).double())])
def test_equals_captum_with_tuples_and_chunks(normalize, limit, baselines):
    g = torch.Generator().manual_seed(2)
    x, y, p, q = torch.randn(4, 4, 3, generator=g, dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    seen = []

    def perturb(inputs, baselines=None):
        seen.append(None if baselines is None else torch.as_tensor(baselines[1]).shape)
        return seeded(inputs)

    def f(x: Tensor, y: Tensor, scale: Tensor, shift: float) -> Tensor:
        return torch.stack([x.sin() + shift, x * y], dim=1) * scale[:, None, None]

    arguments = {
        "baselines": baselines,
        "additional_forward_args": (scale, 0.5),
        "target": [(0, 0), (1, 2), (1, 1), (0, 1)],
        "n_perturb_samples": 5,
        "max_examples_per_batch": limit,
        "normalize": normalize,
    }
    found = infidelity(f, perturb, (x, y), (p, q), **arguments)
    mine, seen = seen, []
    expected = captum.metrics.infidelity(f, perturb, (x, y), (p, q), **arguments)
    assert mine == seen
    torch.testing.assert_close(found, expected, **SAME)


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 100])
def test_chunks_change_nothing_and_the_clean_output_is_computed_once(limit):
    model, x, phi = cf.small_net(), cf.images(4), cf.images(4, 8)
    counting = Counting(lambda x: model(x)[:, 1])
    found = infidelity(counting, steady, x, phi, max_examples_per_batch=limit)
    expected = infidelity(lambda x: model(x)[:, 1], steady, x, phi)
    torch.testing.assert_close(found, expected, **SAME)
    assert max(counting.rows) <= limit
    assert sum(counting.rows) == 4 + 4 * 10


def test_arguments_with_another_number_of_rows_are_handed_on_whole():
    # As Captum: a table of 3 rows is repeated with the draws; this function reads every copy.
    x, table = torch.ones(2, 3).double(), torch.tensor([1.0, 2.0, 3.0]).double()

    def f(x: Tensor, table: Tensor) -> Tensor:
        return (x.sin() * table[:: len(table) // 3]).sum(dim=1)

    arguments = {"additional_forward_args": table, "n_perturb_samples": 4}
    found = infidelity(f, steady, x, x, **arguments)
    expected = captum.metrics.infidelity(f, steady, x, x, **arguments)
    torch.testing.assert_close(found, expected, **SAME)


def test_single_inputs_reach_perturb_func_as_tensors():
    seen = []

    def perturb(x: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((x.shape, baseline))
        return torch.zeros_like(x), x

    x = torch.ones(2, 3)
    infidelity(lambda x: x.sum(dim=1), perturb, (x,), (x,), 0.5, n_perturb_samples=4)
    assert seen == [((8, 3), 0.5)]


def test_float32_in_float32_out_and_no_graph():
    x = torch.ones(2, 3, requires_grad=True)
    found = infidelity(lambda x: x.square().sum(dim=1), steady, x, x)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_signature_is_captums():
    for name, mine in (
        ("infidelity", infidelity),
        ("infidelity_perturb_func_decorator", infidelity_perturb_func_decorator),
    ):
        other = inspect.signature(getattr(captum.metrics, name)).parameters.values()
        assert [(p.name, p.default) for p in inspect.signature(mine).parameters.values()] == [
            (p.name, p.default) for p in other
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributions": torch.ones(2, 2)}, "attribution 0 has shape"),
        ({"attributions": (torch.ones(2, 3),) * 2}, "2 attributions for 1 inputs"),
        ({"n_perturb_samples": 0}, "n_perturb_samples is 0"),
        ({"perturb_func": lambda x: x}, "must return"),
        ({"perturb_func": lambda x: (x[:, :1], x)}, "they must match"),
        ({"perturb_func": lambda x: (x, (x, x))}, "2 perturbed inputs for 1 inputs"),
        ({"forward_func": lambda x: x}, "Give target="),
        ({"max_examples_per_batch": 0}, "at least 1"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    x = torch.ones(2, 3)
    given = {
        "forward_func": lambda x: x.sum(dim=1),
        "perturb_func": lambda x: (x, x),
        "inputs": x,
        "attributions": x,
    }
    with pytest.raises(InputError, match=message) as error:
        infidelity(**(given | arguments))
    assert "\n" not in str(error.value)
