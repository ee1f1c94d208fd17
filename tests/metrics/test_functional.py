"""The functional forms of every metric agree with the objects behind them."""

from __future__ import annotations

import math

import pytest
import torch

from igbench import metrics
from igbench.errors import InputError
from tests.helpers import closed_form as cf

PLAIN = {
    "aopc": {"step": 8},
    "comprehensiveness": {},
    "sufficiency": {},
    "pixel_flipping": {"step": 8},
    "road": {"scalar": "score"},
    "faithfulness_correlation": {"subsets": 10},
    "faithfulness_estimate": {},
    "monotonicity_correlation": {"draws": 2},
    "sparseness": {},
    "complexity": {},
    "effective_complexity": {},
}
AGAIN = ["max_sensitivity", "avg_sensitivity", "max_sensitivity_n", "local_lipschitz"]


def explain(x, target):
    leaf = x.detach().clone().requires_grad_()
    out = cf.small_net()(leaf).gather(1, target[:, None]).sum()
    return x.detach() * torch.autograd.grad(out, leaf)[0]


@pytest.mark.parametrize("name", PLAIN)
def test_plain(name):
    x, target = cf.images(3), torch.tensor([0, 1, 2])
    call = getattr(metrics, name)
    phi = explain(x, target)
    found = call(cf.small_net(), x, phi, target=target, features="pixel", **PLAIN[name])
    assert found.shape == (3,)
    assert bool(torch.isfinite(found).all())
    both = call(cf.small_net(), x, {"a": phi}, target=target, features="pixel", **PLAIN[name])
    torch.testing.assert_close(both["a"].value, found.value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", AGAIN)
def test_with_the_method_itself(name):
    x, target = cf.images(3), torch.tensor([0, 1, 2])
    call, phi = getattr(metrics, name), explain(x, target)
    found = call(cf.small_net(), x, phi, target=target, explain=explain)
    assert found.shape == (3,)
    assert float(found.min()) > 0
    with pytest.raises(InputError, match="method itself"):
        call(cf.small_net(), x, phi, target=target)


def test_every_metric_with_a_configuration_has_a_function():
    from igbench.config import compose

    # It compares methods of a run; classes of Quantus have no function each.
    without = {"difference_from_ig"} | {
        name for name in compose.choices("metric") if name.startswith("quantus_")
    }
    assert set(compose.choices("metric")) - without <= set(metrics.__all__)


def test_baselines_keep_their_precision():
    x = cf.row(1, 1, 1)
    f = cf.linear(1, 2, 3)
    gap = metrics.completeness(f, x, 0.9 * cf.row(1, 2, 3), baselines=0.1)
    assert float(gap) < 1e-14
    assert not math.isnan(float(gap))
