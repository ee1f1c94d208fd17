"""Exact Integrated Gradients of piecewise-linear networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.exact import exact_integrated_gradients
from igbench.integration.integrate import integrated_gradients
from tests.helpers import closed_form as cf


def exact(f, x, baseline=0.0, target=None, **options):
    b = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    return exact_integrated_gradients(Score(f, batch_size=64), x, b, target, **options)


@pytest.mark.parametrize(
    ("f", "x", "expected", "pieces"),
    [
        (cf.linear(1, -2, 3), cf.row(1, 1, 1), (1, -2, 3), 1),
        (cf.saturating, cf.row(2), (1,), 2),
        (cf.hinge(1, 1), cf.row(1, 1), (0.5, 0.5), 2),
        (cf.hinge(2, 1), cf.row(1, 1), (4 / 3, 2 / 3), 2),
        (lambda x: torch.minimum(x[:, 0], x[:, 1]), cf.row(2, 1), (0, 1), 1),
        (lambda x: x.amax(dim=1), cf.row(2, 1), (2, 0), 1),
        (lambda x: x.clamp(0.25, 0.75).sum(dim=1), cf.row(1, 2), (0.5, 0.5), 5),
        (lambda x: nn.functional.relu6(8 * x).sum(dim=1), cf.row(1, -1), (6, 0), 2),
        (lambda x: torch.where(x > 0.5, x, 0.5).sum(dim=1), cf.row(1), (0.5,), 2),
        (lambda x: (x - 0.5).abs().sum(dim=1), cf.row(1), (0,), 2),
    ],
)
def test_known_answers(f, x, expected, pieces):
    found = exact(f, x)
    # Kinks are found to 4 eps; slopes are below 10.
    torch.testing.assert_close(found.attribution, cf.row(*expected), rtol=1e-13, atol=1e-13)
    assert found.pieces.tolist() == [pieces]


@pytest.mark.parametrize("seed", range(5))
def test_random_relu_networks_are_complete(seed):
    net = cf.mlp(seed)
    g = torch.Generator().manual_seed(seed + 100)
    x = torch.randn(4, 20, generator=g, dtype=torch.float64)
    b = torch.randn(4, 20, generator=g, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 0])
    found = exact(net, x, b, target)
    change = (net(x) - net(b)).gather(1, target[:, None])[:, 0].detach()
    assert float((found.attribution.sum(dim=1) - change).abs().max()) < 1e-12
    assert int(found.pieces.min()) > 5
    # Completeness is one number; every entry must be the limit of a fine rule as well.  The middle
    # rule errs in at most one cell for each kink.
    fine = integrated_gradients(
        Score(net, batch_size=512), x, b, target, rule="middle", n_steps=4000
    )
    error = (fine - found.attribution).abs().sum() / found.attribution.abs().sum()
    assert 0 < float(error) < int(found.pieces.max()) / 4000


def test_convolutions_and_pooling():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).double()
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.7)
    net.eval()
    x = cf.images(2)
    found = exact(net, x, 0.0, torch.tensor([0, 1]))
    change = (net(x) - net(torch.zeros_like(x))).diagonal().detach()
    total = found.attribution.sum(dim=(1, 2, 3))
    torch.testing.assert_close(total, change, rtol=0, atol=1e-12)


def test_bent_networks_are_refused():
    with pytest.raises(InputError, match="not piecewise linear"):
        exact(cf.ridge, cf.row(1, 1))
    with pytest.raises(InputError, match="not piecewise linear"):
        exact(lambda x: torch.tanh(cf.hinge(2, 1)(x)), cf.row(1, 1))


def test_too_many_pieces_are_refused():
    with pytest.raises(InputError, match="more than 3 linear pieces"):
        exact(
            cf.mlp(0), torch.ones(1, 20, dtype=torch.float64), 0.0, torch.tensor([0]), max_pieces=3
        )
