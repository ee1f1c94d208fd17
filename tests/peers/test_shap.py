"""The adapter of shap against formulas, and our Shapley values against shap's."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import ExactShapley, IntegratedGradients, KernelShap, explain
from igbench.methods.shap import Shap, restored
from tests.helpers import closed_form as cf

pytest.importorskip("shap")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning"),
    pytest.mark.filterwarnings("ignore:unrecognized nn.Module:UserWarning"),
]


def batch_of(n: int = 3, seed: int = 3) -> Batch:
    x = cf.images(n)
    target, ids = torch.tensor([0, 2, 1, 3][:n]), tuple("abcd"[:n])
    score = Score(cf.small_net(), batch_size=7)
    return Batch(score, x, torch.zeros_like(x), target, ids, seed=seed)


def relu_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    return net.double().eval()


def test_owen_values_of_three_of_four():
    """x1 x2 x3 with the tree ((1, 2), (3, 4))."""
    method = Shap("partition")
    found = explain(method, lambda x: x[:, :3].prod(dim=1), cf.row(1, 1, 1, 1))
    torch.testing.assert_close(found, cf.row(0.25, 0.25, 0.5, 0))
    shapley = explain(ExactShapley(), lambda x: x[:, :3].prod(dim=1), cf.row(1, 1, 1, 1))
    torch.testing.assert_close(shapley, cf.row(1 / 3, 1 / 3, 1 / 3, 0))


def test_the_kernel_keeps_all_features():
    """A linear model of 20 features: shap's own default would keep ten."""
    w = torch.arange(1.0, 21.0).double()
    found = explain(Shap("kernel"), lambda x: x @ w, torch.ones(1, 20).double())
    torch.testing.assert_close(found, w[None], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", [Shap("kernel"), Shap("partition", draws=4000)])
def test_against_the_exact_values(method):
    """All coalitions of ten features fit into the kernel's budget; Owen values are others."""
    batch = batch_of(1)
    index = (torch.arange(64) * 10 // 64).view(1, 8, 8).expand(3, 8, 8)
    own, exact = (type(m)(**{**vars(m), "features": index}) for m in (method, ExactShapley()))
    found, truth = own(batch), exact(batch)
    close = 1e-9 if method.explainer == "kernel" else 0.3 * float(truth.abs().max())
    torch.testing.assert_close(found, truth, rtol=0, atol=close)
    torch.testing.assert_close(found.sum(), truth.sum(), rtol=0, atol=1e-9)


def test_the_regression_is_as_good_as_the_kernel():
    batch = batch_of(1)
    index = (torch.arange(64) * 12 // 64).view(1, 8, 8).expand(3, 8, 8)
    truth = ExactShapley(features=index)(batch)

    def error(maps: torch.Tensor) -> float:
        return float((maps - truth).norm() / truth.norm())

    ours = error(KernelShap(features=index, evaluations=240)(batch))
    theirs = error(Shap("kernel", draws=238, features=index)(batch))
    assert ours < 0.1
    assert ours < 2 * theirs


def test_gradient_explainer_is_integrated_gradients_in_expectation():
    batch = batch_of(2)
    truth = IntegratedGradients(n_steps=50)(batch)
    maps = torch.stack([Shap("gradient")(batch_of(2, seed)) for seed in range(6)])
    error = maps.std(dim=0) / 6**0.5
    # Student's t with five degrees of freedom exceeds 9 once in 3,500 times; 384 elements.
    assert bool(((maps.mean(dim=0) - truth).abs() < 15 * error + 1e-6).all())
    assert float((maps.mean(dim=0) - truth).norm() / truth.norm()) < 0.05


def test_deep_explainer_is_complete_on_a_relu_net_and_leaves_it_alone():
    net, x = relu_net(), torch.rand(3, 6, generator=torch.Generator().manual_seed(1)).double()
    net[1].x = "the user's own"
    found = explain(Shap("deep"), net, x, target=2)
    gap = (net(x) - net(0 * x))[:, 2].detach() - found.sum(dim=1)
    assert float(gap.abs().max()) < 1e-6
    assert net[1].x == "the user's own"
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


def test_modules_are_restored_after_an_exception():
    net = relu_net()
    net(torch.ones(1, 6).double()).sum().backward()
    gradient = net[0].weight.grad

    def fail() -> None:
        with restored(net):
            net[1].register_forward_hook(lambda m, i, o: o)
            net[1].x = nn.Parameter(torch.ones(1))
            net.zero_grad()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not net[1]._forward_hooks
    assert not hasattr(net[1], "x")
    assert net[0].weight.grad is gradient


@pytest.mark.parametrize("name", ["gradient", "kernel", "partition"])
def test_keyed_by_sample_and_without_a_trace(name):
    small = {} if name == "gradient" else {"features": "patch:4"}
    method, batch = Shap(name, **small), batch_of(3)
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    whole = method(batch)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    assert torch.equal(method(batch), whole)
    assert torch.equal(method(batch.select(torch.tensor([2, 0]))), whole[[2, 0]])
    if name == "gradient":
        assert not torch.equal(method(batch_of(3, seed=4)), whole)


def test_references_of_the_data():
    net, x = relu_net(), torch.rand(2, 6, generator=torch.Generator().manual_seed(1)).double()
    pool = torch.rand(5, 6, generator=torch.Generator().manual_seed(2)).double()
    found = explain(Shap("deep", references=9, pool=lambda: pool), net, x, target=0)
    gap = (net(x)[:, 0] - net(pool)[:, 0].mean()).detach() - found.sum(dim=1)
    assert float(gap.abs().max()) < 1e-6


def test_refusals():
    with pytest.raises(InputError, match="explainer=deep takes no draws"):
        Shap("deep", draws=3)
    with pytest.raises(InputError, match="explainer=kernel takes no references"):
        Shap("kernel", references=3)
    with pytest.raises(NotDefinedError, match="must be a torch module"):
        explain(Shap("deep"), lambda x: x.sum(dim=1), torch.ones(1, 3))
    with pytest.raises(NotDefinedError, match="no rule for the probability"):
        explain(Shap("deep"), relu_net(), torch.ones(1, 6).double(), target=0, output="probability")
    with pytest.raises(NotDefinedError, match="the data keep none"):
        explain(Shap("gradient", references=3), lambda x: x.sum(dim=1), torch.ones(1, 3))


def test_references_of_another_shape_are_refused():
    for pool in (torch.zeros(2, 3), torch.zeros(0, 6)):
        method = Shap("gradient", references=2, pool=lambda pool=pool: pool)
        with pytest.raises(InputError, match="expected at least one sample of shape"):
            explain(method, relu_net(), cf.row(1, 2, 3, 4, 5, 6), target=0)
