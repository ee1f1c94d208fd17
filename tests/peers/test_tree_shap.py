"""TreeSHAP against known answers and against exact Shapley values of the same game."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from igbench.core.model import ArrayFunction
from igbench.errors import InputError
from igbench.methods import ExactShapley, TreeShap, explain

pytest.importorskip("shap")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FOUR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
AND = DecisionTreeClassifier(random_state=0).fit(FOUR, [0, 0, 0, 1])
ONE = torch.tensor([[1.0, 1.0]]).double()
ROWS = np.random.default_rng(0).normal(size=(80, 4))
X, START = torch.tensor(ROWS[:3]), torch.tensor(ROWS[5:6])
CLASSES = (ROWS[:, 0] * ROWS[:, 1] > 0).astype(int) + (ROWS[:, 2] > 1)


def values(method: TreeShap, **more: object) -> list[float]:
    found = explain(method, ArrayFunction(AND.predict_proba), ONE, target=1, **more)
    return found[0].tolist()


def test_an_and_of_two_binary_columns():
    """Four equal rows, x = (1, 1): by path, from (0, 0) alone, and from all four rows."""
    assert values(TreeShap("path")) == pytest.approx([0.375, 0.375])
    assert values(TreeShap(), baselines=0.0) == pytest.approx([0.5, 0.5])
    four = TreeShap(references=4, pool=lambda: torch.tensor(FOUR))
    assert values(four) == pytest.approx([0.375, 0.375])


@pytest.mark.parametrize("target", [0, 2])
def test_a_forest_against_the_exact_game(target):
    forest = RandomForestClassifier(5, random_state=0).fit(ROWS, CLASSES)
    found, truth = (
        explain(m, ArrayFunction(forest.predict_proba), X, target=target, baselines=START)
        for m in (TreeShap(), ExactShapley())
    )
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "readout"),
    [
        (GradientBoostingClassifier(n_estimators=4, random_state=0), "decision_function"),
        (HistGradientBoostingRegressor(max_iter=4), "predict"),
    ],
    ids=["gradient boosting", "histograms"],
)
def test_margins_of_boosted_trees_against_the_exact_game(estimator, readout):
    estimator.fit(ROWS, CLASSES > 0)
    model = ArrayFunction(getattr(estimator, readout))
    found, truth = (explain(m, model, X, baselines=START) for m in (TreeShap(), ExactShapley()))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


def test_boosted_trees_of_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    from igbench.models.lightgbm_model import Margin

    chosen = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    data = lightgbm.Dataset(ROWS, (CLASSES > 0).astype(int))
    model = ArrayFunction(Margin(lightgbm.train(chosen, data, num_boost_round=3)))
    found, truth = (explain(m, model, X, baselines=START) for m in (TreeShap(), ExactShapley()))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)


def test_models_that_are_no_trees_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"needs an estimator of trees, and the model is a Linear"):
        explain(TreeShap(), nn.Linear(4, 1).eval(), X.float())
    logistic = LogisticRegression().fit(ROWS, CLASSES)
    with pytest.raises(InputError, match=r"does not know a LogisticRegression \(.*use kernel_shap"):
        explain(TreeShap(), ArrayFunction(logistic.predict_proba), X, target=0)


def test_another_output_than_that_of_the_trees_is_refused():
    boosted = GradientBoostingClassifier(n_estimators=2, random_state=0).fit(ROWS, CLASSES > 0)
    with pytest.raises(InputError, match=r"the trees add up to .* that is another output"):
        explain(TreeShap(), ArrayFunction(boosted.predict_proba), X, target=1)
    with pytest.raises(InputError, match="game=path takes no references"):
        TreeShap("path", references=3)
    with pytest.raises(InputError, match="needs samples that are never evaluated"):
        explain(TreeShap(references=3), ArrayFunction(AND.predict_proba), ONE, target=1)
