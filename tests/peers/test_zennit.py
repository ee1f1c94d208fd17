"""LRP against zennit, where its rules hold: modules of ReLU, no batch norm, no residual sum."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from igbench.core.score import Score
from igbench.propagation import relevance as own
from igbench.propagation.relevance import Composite, relevance
from tests.propagation.nets import drawn, images

composites = pytest.importorskip("zennit.composites")
zennit_rules = pytest.importorskip("zennit.rules")


def net() -> nn.Module:
    """Convolutions of both paddings, and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


TINY = 1e-12
ZERO = own.Epsilon(TINY, absolute=True)
PAIRS = {
    "epsilon": (
        lambda: [(nn.Conv2d, zennit_rules.Epsilon(0.5)), (nn.Linear, zennit_rules.Epsilon(0.5))],
        Composite(None, *[own.Epsilon(0.5, absolute=True)] * 3),
    ),
    "gamma": (
        lambda: [
            (nn.Conv2d, zennit_rules.Gamma(0.3, stabilizer=TINY)),
            (nn.Linear, zennit_rules.Gamma(0.3, stabilizer=TINY)),
        ],
        Composite(None, *[own.Gamma(0.3)] * 3),
    ),
    "z+": (
        lambda: [
            (nn.Conv2d, zennit_rules.ZPlus(stabilizer=TINY)),
            (nn.Linear, zennit_rules.ZPlus(stabilizer=TINY)),
        ],
        Composite(None, *[own.AlphaBeta()] * 3),
    ),
    "alpha 2 beta 1": (
        lambda: [
            (nn.Conv2d, zennit_rules.AlphaBeta(2, 1, stabilizer=TINY)),
            (nn.Linear, zennit_rules.Epsilon(TINY)),
        ],
        Composite(None, *[own.AlphaBeta(2.0, 1.0)] * 2, ZERO),
    ),
    "flat": (
        lambda: [
            ("0", zennit_rules.Flat(stabilizer=TINY)),
            (nn.Conv2d, zennit_rules.ZPlus(stabilizer=TINY)),
            (nn.Linear, zennit_rules.Epsilon(TINY)),
        ],
        Composite(own.Flat(), *[own.AlphaBeta()] * 2, ZERO),
    ),
    "box": (
        lambda: [
            ("0", zennit_rules.ZBox(-1.0, 1.0, stabilizer=TINY)),
            (nn.Conv2d, zennit_rules.Gamma(0.3, stabilizer=TINY)),
            (nn.Linear, zennit_rules.Epsilon(TINY)),
        ],
        Composite(own.Box((-1.0,), (1.0,)), *[own.Gamma(0.3)] * 2, ZERO),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_rules_agree(name):
    layers, composite = PAIRS[name]
    model, x = drawn(net(), 4), images(2).requires_grad_()
    by_name = {n: r for n, r in layers() if isinstance(n, str)}
    by_type = [(n, r) for n, r in layers() if not isinstance(n, str)]

    def chosen(ctx: object, name: str, module: nn.Module) -> object:
        rule = by_name.get(name)
        kinds = (
            r for kind, r in [*by_type, (nn.ReLU, zennit_rules.Pass())] if isinstance(module, kind)
        )
        return rule or next(kinds, None)

    with composites.Composite(module_map=chosen).context(model) as modified:
        out = modified(x)
        seed = torch.zeros_like(out)
        seed[:, 1] = out.detach()[:, 1]
        (theirs,) = torch.autograd.grad(out, x, seed)
    ours = relevance(Score(model), x.detach(), torch.tensor([1, 1]), composite=composite)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
