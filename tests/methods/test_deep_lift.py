"""DeepLIFT and DeepSHAP: known answers, completeness, and Captum where it can be right."""

from __future__ import annotations

import pytest
import torch
from captum import attr
from torch import nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import NotDefinedError
from igbench.evaluation import isolation
from igbench.methods import DeepLift, DeepShap, explain
from tests.helpers import closed_form as cf
from tests.propagation.nets import F64, NETS, Net3, Of, drawn, images

KNOWN = {
    "linear": (lambda x: x @ x.new_tensor([1.0, -2.0, 3.0]), (1, 1, 1), 0.0, (1, -2, 3)),
    "product": (lambda x: x[:, 0] * x[:, 1], (3, 2), cf.row(1, -1), (1, 6)),
    "max-pool": (
        lambda x: nn.functional.max_pool1d(x[:, None], 2)[:, 0, 0], (2, 1), 0.0, (2, 0)
    ),
    "max-pool from elsewhere": (
        lambda x: nn.functional.max_pool1d(x[:, None], 2)[:, 0, 0], (2, 1), cf.row(0, 3), (0, -1)
    ),
    "amax": (lambda x: x.amax(dim=1), (2, 1), cf.row(0, 3), (0, -1)),
    "max": (lambda x: x.max(dim=1).values, (2, 1), 0.0, (2, 0)),
    "maximum": (lambda x: torch.maximum(x[:, 0], x[:, 1]), (2, 1), cf.row(0, 3), (0, -1)),
    "kink": (lambda x: torch.relu(x[:, 0] - x[:, 1]), (2, 1), 0.0, (2, -1)),
    "bias": (lambda x: torch.relu(2 * x[:, 0] + x[:, 1] - 1), (1, 1), 0.0, (4 / 3, 2 / 3)),
    "quotient": (lambda x: x[:, 0] / x[:, 1], (3, 2), cf.row(1, 1), (1.5, -1)),
    "one form": (
        lambda x: torch.relu(x[:, 0].relu() - 1 - x[:, 1].relu()), (3, 1), 0.0, (1.5, -0.5)
    ),
    "another form": (
        lambda x: torch.relu((x[:, 0] - 1).relu() - x[:, 1].relu()), (3, 1), 0.0, (2, -1)
    ),
    "net3": (Net3(), (1, 1, 2), 0.0, (-1.5, 3, 2)),
}  # fmt: skip
"""Function, input, baseline, contributions: the last two forms compute the same function."""


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name):
    f, x, baseline, wanted = KNOWN[name]
    found = explain(DeepLift(), f, cf.row(*x), baselines=baseline)
    torch.testing.assert_close(found, cf.row(*wanted), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_entries_sum_to_the_difference_of_the_output(name):
    net, x = drawn(NETS[name](), 2), images(3)
    baseline, target = images(3, seed=9), torch.tensor([1, 4, 2])
    found = explain(DeepLift(), net, x, target=target, baselines=baseline)
    with torch.no_grad():
        change = (net(x) - net(baseline)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), change, rtol=0, atol=1e-10)
    nothing = explain(DeepLift(), net, x, target=target, baselines=x.clone())
    assert not nothing.any()


def test_captum_agrees_on_modules_that_it_has_rules_for():
    net = drawn(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Sigmoid(),
            nn.Flatten(), nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 3),
        )
    )  # fmt: skip
    x, baseline = images(2), images(2, seed=5)
    theirs = attr.DeepLift(net).attribute(x, baseline, target=1).detach()
    found = explain(DeepLift(), net, x, target=1, baselines=baseline)
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-10)


def test_a_sample_that_is_not_complete_is_undefined_and_the_others_are_not():
    """relu by a mask is linear from 0 on the positive side, and off on the other."""
    model = Of(lambda z: (z * (z > -1)).sum(dim=1))
    x = torch.tensor([[1.0, 2.0], [-3.0, 1.0]], dtype=F64)
    start = torch.full_like(x, 0.5)
    batch = Batch(Score(model), x, start, None, ("good", "bad"))
    values, reasons = isolation.attribute(batch, DeepLift())
    assert values[0].tolist() == [0.5, 1.5]
    assert [r.status if r else "" for r in reasons] == ["", "undefined"]
    assert "'bad' sum to 0.5, and f(x) - f(x') is 0" in reasons[1]


def test_cost_and_limit_of_rows():
    score = Score(Net3(), batch_size=5)
    x = torch.ones(3, 3, dtype=F64)
    DeepLift()(Batch(score, x, 0 * x, None, ("a", "b", "c")))
    assert (score.cost.forward, score.cost.backward) == (6, 6)


def test_deep_shap_is_the_mean_over_references():
    """relu(x1 + x2 - 1) over (0, 0) and (1, 0), as Captum and shap have it."""
    pool = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=F64)
    found = explain(
        DeepShap(pool=lambda: pool), lambda x: torch.relu(x.sum(dim=1) - 1), cf.row(1, 1)
    )
    torch.testing.assert_close(found, cf.row(0.25, 0.75), rtol=0, atol=1e-10)
    net, x, many = drawn(NETS["residual"]()), images(2), images(6, seed=3)
    found = explain(DeepShap(pool=lambda: many), net, x, target=1, batch_size=5)
    with torch.no_grad():
        change = net(x)[:, 1] - net(many)[:, 1].mean()
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), change, rtol=0, atol=1e-10)


def test_deep_shap_draws_references_by_sample():
    net, many = drawn(NETS["residual"]()), images(6, seed=3)
    method = DeepShap(references=2, pool=lambda: many)
    x = images(2)
    whole = explain(method, net, x, target=1, sample_ids=["a", "b"])
    again = explain(method, net, x[1:], target=1, sample_ids=["b"])
    torch.testing.assert_close(again, whole[1:], rtol=0, atol=1e-12)
    with pytest.raises(NotDefinedError, match="never evaluated"):
        explain(DeepShap(), net, x, target=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "squeezenet1_1", "mobilenet_v3_small"])
def test_networks_of_torchvision_are_complete(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = getattr(models, name)(weights=None).double().eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = explain(DeepLift(), net, x, target=3)
    with torch.no_grad():
        change = (net(x) - net(0 * x))[:, 3]
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), change, rtol=1e-10, atol=1e-10)


def test_it_follows_the_layers_and_not_the_function():
    """f is 0 everywhere, so neither feature matters, and both are alike at (2, 2)."""

    def cancelled(x):
        early = torch.relu(torch.relu(2 * x[:, 0]) - 1 - torch.relu(x[:, 1]))
        return early - torch.relu(torch.relu(2 * x[:, 0] - 1) - torch.relu(x[:, 1]))

    assert not cancelled(4 * torch.randn(999, 2, generator=torch.Generator().manual_seed(0))).any()
    found = explain(DeepLift(), cancelled, cf.row(2, 2))
    assert found[0].tolist() == pytest.approx([-1, 1])
