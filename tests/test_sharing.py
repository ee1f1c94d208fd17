"""Model rows that no map influences are evaluated once, however many methods are scored."""

from __future__ import annotations

import pytest
import torch

from igbench.core.batch import Attribution
from tests.helpers.contract import GLOBAL, METRICS, Simple, batch, metric

FREE = {
    "completeness",
    "difference_from_ig",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "infidelity",
    "monotonicity_correlation",
    "sensitivity_n",
    *("complexity", "effective_complexity", "sparseness", "quantus_sparseness"),
    *("pointing_game", "relevance_mass", "relevance_rank"),
}
"""Metrics whose every model row is the same for all maps."""
ORDERED = {
    "abpc", "aic", "aopc", "comprehensiveness", "deletion", "insertion", "pixel_flipping", "road",
    "sic", "srg", "sufficiency",
}  # fmt: skip
"""Metrics that remove features in the order of the map."""
AGAIN = {
    "avg_sensitivity", "baseline_sensitivity", "convergence_error", "dummy", "efficient_mprt",
    "implementation_invariance", "input_invariance", "linearity", "local_lipschitz",
    "max_sensitivity", "max_sensitivity_n", "mprt", "random_logit", "smooth_mprt",
}  # fmt: skip
"""Metrics that explain again."""
BRIDGED = {"quantus_faithfulness_correlation"}
"""Metrics that another library works out, for one map at a time."""


def test_every_metric_has_a_place():
    groups = [FREE, ORDERED, AGAIN, BRIDGED]
    assert set().union(*groups) == set(METRICS)
    assert sum(map(len, groups)) == len(METRICS)


def rows(config, names: list[str], methods: int) -> int:
    """Model rows, both ways, of some metrics on some maps; a group of metrics observes once."""
    b = batch()
    g = torch.Generator().manual_seed(0)
    maps = {
        f"m{i}": Attribution(
            torch.randn(b.x.shape, generator=g, dtype=b.x.dtype), GLOBAL, Simple(1)
        )
        for i in range(methods)
    }
    b.score.cost.forward = b.score.cost.backward = 0
    seen: dict[object, object] = {}
    for name in names:
        m = metric(config, name)
        if m.sharing_key not in seen:
            seen[m.sharing_key] = m.observe(b)
        m.measure(b, maps, seen[m.sharing_key])
    return b.score.cost.forward + b.score.cost.backward


@pytest.mark.parametrize("name", sorted(FREE))
def test_eight_methods_cost_what_one_costs(config, name):
    one, eight = rows(config, [name], 1), rows(config, [name], 8)
    assert eight <= 1.1 * one
    if name in ("infidelity", "sensitivity_n", "faithfulness_correlation"):
        assert one > len(batch()), "there is something to share"


def test_all_of_them_together(config):
    one, eight = rows(config, sorted(FREE), 1), rows(config, sorted(FREE), 8)
    assert 0 < one <= eight <= 1.1 * one


def test_the_others_cost_more_with_more_maps(config):
    for name in ("deletion", "max_sensitivity"):
        assert rows(config, [name], 8) > 2 * rows(config, [name], 1)
