"""Shapley methods: known answers, axioms on samples, players, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import Captum, ExactShapley, KernelShap, ShapleySampling, explain
from tests.helpers import closed_form as cf

SAMPLED = (KernelShap(estimator="leverage"), ShapleySampling())
METHODS = (ExactShapley(), KernelShap(), *SAMPLED)


W = torch.tensor([[1.0, 2, -1], [-1, 1, 1], [0, 0, 1]]).double()


def net3(x):
    c = torch.tensor([-0.5, 0, -1], dtype=x.dtype)
    return torch.relu(x @ W.T + c) @ torch.tensor([1.0, 2, -1], dtype=x.dtype)


def matrix_game(x):
    a = torch.tensor([[2.0, 1], [1, 3]], dtype=x.dtype)
    return 0.5 * ((x @ a) * x).sum(dim=1)


CASES = {
    "linear": (lambda x: x @ x.new_tensor([1.0, -2, 3]), cf.row(1, 1, 1), (1, -2, 3)),
    "product": (lambda x: x[:, 0] * x[:, 1], cf.row(2, 3), (3, 3)),
    "maximum": (lambda x: x.amax(dim=1), cf.row(2, 1), (1.5, 0.5)),
    "quadratic": (matrix_game, cf.row(1, 2), (2, 7)),
    "xor": (lambda x: x.sum(dim=1) - 2 * x.prod(dim=1), cf.row(1, 1), (0, 0)),
    "parity": (lambda x: x.sum(dim=1) % 2, cf.row(1, 1, 1), (1 / 3,) * 3),
    "three": (lambda x: x.prod(dim=1), cf.row(1, 1, 1), (1 / 3,) * 3),
    "majority": (lambda x: (x.sum(dim=1) >= 2).double(), cf.row(1, 1, 1), (1 / 3,) * 3),
    "relu": (lambda x: torch.relu(x[:, 0] - x[:, 1]), cf.row(2, 1), (1.5, -0.5)),
    "hinge": (lambda x: torch.relu(2 * x[:, 0] + x[:, 1] - 1), cf.row(1, 1), (1.5, 0.5)),
    "net": (
        lambda x: torch.relu(torch.relu(x[:, 0] - 1) - torch.relu(x[:, 1])),
        cf.row(3, 1),
        (1.5, -0.5),
    ),
    "net3": (net3, cf.row(1, 1, 2), (-5 / 6, 8 / 3, 5 / 3)),
    "tree": (lambda x: x[:, :3].prod(dim=1), cf.row(1, 1, 1, 1), (1 / 3, 1 / 3, 1 / 3, 0)),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.spec.title)
@pytest.mark.parametrize("name", CASES)
def test_known_answers(name, method):
    f, x, expected = CASES[name]
    found = explain(method, f, x)
    torch.testing.assert_close(found, cf.row(*expected), rtol=0, atol=1e-10)


def test_another_baseline():
    """max(x1, x2) from (0, 3) to (2, 1)."""
    found = explain(KernelShap(), lambda x: x.amax(dim=1), cf.row(2, 1), baselines=cf.row(0, 3))
    assert found[0].tolist() == pytest.approx([0.5, -1.5])


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.spec.title)
def test_captum_on_a_small_net(method):
    exact = Captum("ShapleyValues", "", "", "global", True)
    x = torch.rand(2, 5, generator=torch.Generator().manual_seed(1)).double()
    net = cf.mlp(3, inputs=5)
    torch.testing.assert_close(explain(method, net, x, target=1), explain(exact, net, x, target=1))


def batch_of(n: int = 3) -> Batch:
    x = cf.images(n)
    target, ids = torch.tensor([0, 2, 1, 3][:n]), tuple("abcd"[:n])
    score = Score(cf.small_net(), batch_size=7)
    return Batch(score, x, torch.zeros_like(x), target, ids, seed=3)


@pytest.mark.parametrize("method", SAMPLED, ids=lambda m: m.spec.title)
def test_sums_features_and_batches(method):
    batch, own = batch_of(), replace(method, features="patch:2", evaluations="12n")
    maps = own(batch)
    ends = [batch.score.evaluate(x, batch.target) for x in (batch.x, batch.baseline)]
    torch.testing.assert_close(maps.sum(dim=(1, 2, 3)), ends[0] - ends[1], rtol=0, atol=1e-10)
    assert maps[0, :, :2, :2].unique().numel() == 1, "one value for a patch"
    assert maps[0].unique().numel() == 16
    for i in range(3):
        assert torch.equal(own(batch.select(slice(i, i + 1)))[0], maps[i])
    assert torch.equal(own(batch.select(torch.tensor([2, 0]))), maps[[2, 0]])
    assert not torch.equal(own(replace(batch, seed=4)), maps)


def test_evaluations_and_errors():
    batch = batch_of(1)
    index = (torch.arange(64) * 10 // 64).view(1, 8, 8).expand(3, 8, 8)
    before = batch.score.cost.snapshot()
    found = KernelShap(features=index).estimate(batch, 0)
    assert batch.score.cost.since(before).forward == found.evaluations == 400
    assert batch.score.cost.backward == 0
    exact = ExactShapley(features=index).estimate(batch, 0)
    assert exact.evaluations == 2**10
    assert bool(((found.values - exact.values).abs() <= 4 * found.std_error).all())


def test_features_that_do_not_move_cost_nothing():
    batch = batch_of(1)
    x = batch.x.clone()
    x[0, :, 2:] = 0.0  # only the four patches of the first two rows differ from the baseline
    found = KernelShap(features="patch:2").estimate(replace(batch, x=x), 0)
    assert found.evaluations == 2**4
    still = replace(batch, x=batch.baseline)
    assert not bool(KernelShap()(still).any())
    assert KernelShap().estimate(still, 0).evaluations == 0


def test_elements_that_take_no_part_keep_their_value():
    """f = x0 x1 x2 with x2 = 5 held: 5 x0 x1 from 0 to (2, 3)."""
    x = cf.row(2, 3, 5)
    active = torch.tensor([[True, True, False]])
    score = Score(lambda z: z.prod(dim=1))
    batch = Batch(score, x, 0 * x, None, ("a",), active=active)
    for method in METHODS:
        assert method(batch)[0].tolist() == pytest.approx([15, 15, 0])


def test_features_as_numbers():
    index = [0, 0, 1, 1]
    x = cf.row(1, 2, 3, 4)
    found = explain(ExactShapley(features=index), lambda z: z[:, 0] * z[:, 2], x)
    assert found[0].tolist() == pytest.approx([0.75, 0.75, 0.75, 0.75])


def test_titles_say_what_was_done():
    assert KernelShap().spec.title == "KernelSHAP (auto, 40n evaluations)"
    assert "500 evaluations" in ShapleySampling(evaluations=500).spec.title
    assert not KernelShap().spec.needs_gradient


def test_refusals():
    for wrong in (0, "n", "40", "4.5n", True, 1.5):
        with pytest.raises(InputError, match="must be a whole number"):
            KernelShap(evaluations=wrong)
    with pytest.raises(InputError, match="unknown estimator"):
        KernelShap(estimator="kernel")
    with pytest.raises(InputError, match="unknown most '25'"):
        ExactShapley(most=25)
    with pytest.raises(NotDefinedError, match="15 features have 2\\^15 coalitions") as caught:
        explain(ExactShapley(), lambda z: z.sum(dim=1), torch.ones(1, 15))
    assert "kernel_shap" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_features_than_fit_into_memory_are_refused():
    with pytest.raises(NotDefinedError, match="2,001 features are too many") as caught:
        explain(KernelShap(), lambda z: z.sum(dim=1), torch.ones(1, 2001))
    assert "\n" not in str(caught.value)
