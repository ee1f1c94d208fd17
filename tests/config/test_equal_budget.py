"""Methods of the experiment equal_budget spend what their names say."""

from __future__ import annotations

import re

import pytest
import torch

from igbench.config import build, compose
from igbench.core.batch import Batch
from igbench.core.score import frozen
from igbench.report import front

BUDGETS = (64, 256, 1024)
WHOLE_ORDERS = ("kernel_shap", "shapley_sampling")
"""Their unit is a pair of orders of all features, and a coalition that comes again is free."""


@pytest.fixture(scope="module")
def spent() -> dict[str, int]:
    """Model evaluations of one attribution by method, without the ceiling."""
    config = compose.compose(["experiment=equal_budget", "limit=1", "batch_size=256"])
    del config["method"]["best_found"]
    experiment = build.experiment(config)
    x, score = experiment.data.load(0)[None], experiment.score()
    batch = Batch(score, x, torch.zeros_like(x), torch.tensor([3]), ("a",), "pixel")
    found = {}
    with frozen(score.model):
        for name, method in experiment.methods.items():
            before = score.cost.snapshot()
            method(batch)
            cost = score.cost.since(before)
            found[name] = cost.forward + cost.backward
    return found


def test_every_entry_is_within_its_budget_and_uses_most_of_it(spent):
    budgets = {name: re.search(r"_(\d+)$", name) for name in spent}
    named = {name: int(found[1]) for name, found in budgets.items() if found}
    assert set(named.values()) == set(BUDGETS)
    for name, budget in named.items():
        least = 0.6 if name.startswith(WHOLE_ORDERS) else 0.8
        assert least * budget < spent[name] <= budget, name


def test_methods_with_budgets_are_families_and_the_others_have_one_price(spent):
    families = front.families(spent)
    assert {len(members) for base, members in families.items() if base != "deep_shap"} == {3}
    assert {"ig", "kernel_shap", "lime", "rise"} <= set(families)
    alone = set(spent) - {m for members in families.values() for m in members}
    assert {"random", "saliency", "grad_cam_signed", "deep_lift", "lrp"} <= alone
    assert (spent["random"], spent["saliency"], spent["deep_lift"]) == (0, 2, 4)


def test_photographs_take_the_same_entries():
    words = ["experiment=equal_budget", "model=efficientnet_lite0", "data=photographs"]
    digits, photographs = compose.compose(words[:1]), compose.compose(words)
    assert photographs["method"] == digits["method"]
    assert photographs["data"]["_target_"] != digits["data"]["_target_"]
