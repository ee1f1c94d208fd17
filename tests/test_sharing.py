"""Model rows that no map influences are evaluated once, however many methods are scored."""

from __future__ import annotations

import pytest
import torch

from igbench.certify.certificates import configured
from igbench.config import build
from igbench.core.batch import Attribution
from igbench.metrics.faithfulness.erasure import Erasure
from igbench.metrics.faithfulness.information import Information
from igbench.metrics.faithfulness.prediction_gap import PredictionGap
from igbench.metrics.faithfulness.removal import Removal
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.soft import Soft
from igbench.metrics.faithfulness.words import LogOdds
from tests.helpers.contract import GLOBAL, METRICS, Simple, batch, metric

BY_MAP = (Removal, Erasure, Road, Information, LogOdds, Soft, PredictionGap)
"""Metrics that remove or reveal features in the order of each map."""


def is_free(name: str) -> bool:
    """Whether every model row of a metric is the same for all maps."""
    metric = build.construct(configured(name), name)
    bridged = name == "quantus_faithfulness_correlation"  # worked out for one map at a time
    return not (metric.needs_method or isinstance(metric, BY_MAP) or bridged)


FREE = [name for name in METRICS if is_free(name)]


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


@pytest.mark.parametrize("name", FREE)
def test_eight_methods_cost_what_one_costs(config, name):
    one, eight = rows(config, [name], 1), rows(config, [name], 8)
    assert eight <= 1.1 * one
    if name in ("infidelity", "sensitivity_n", "faithfulness_correlation"):
        assert one > len(batch()), "there is something to share"


def test_all_of_them_together(config):
    one, eight = rows(config, FREE, 1), rows(config, FREE, 8)
    assert 0 < one <= eight <= 1.1 * one


def test_the_others_cost_more_with_more_maps(config):
    for name in ("deletion", "max_sensitivity"):
        assert rows(config, [name], 8) > 2 * rows(config, [name], 1)
