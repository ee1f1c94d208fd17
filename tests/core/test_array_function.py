"""Functions of arrays as models, and methods that such models allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import igbench
import igbench.metrics
from igbench.config import compose, folders
from igbench.config.build import construct
from igbench.core.model import ArrayFunction
from igbench.core.score import Score
from igbench.data.given import given
from igbench.errors import InputError
from igbench.evaluation.experiment import WITHOUT_GRADIENT
from igbench.integration.integrate import input_gradient
from igbench.methods import (
    CallableMethod,
    Captum,
    ExactShapley,
    IntegratedGradients,
    Random,
    explain,
)

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 3))
LOGISTIC = LogisticRegression().fit(ROWS, (ROWS @ [2.0, -1.0, 0.0] > 0).astype(int))
MODEL = ArrayFunction(LOGISTIC.decision_function)
X = torch.tensor(ROWS[:5])
OCCLUSION = Captum(
    "Occlusion",
    "Occlusion",
    "",
    kind="global",
    signed=True,
    arguments={"sliding_window_shapes": (1,)},
)
METRICS = {
    "completeness": igbench.metrics.Completeness(),
    "sensitivity_n": igbench.metrics.SensitivityN(n=1, subsets="all"),
    "deletion": igbench.metrics.Deletion(),
    "infidelity": igbench.metrics.Infidelity(),
    "max_sensitivity": igbench.metrics.MaxSensitivity(),
}


def test_the_numbers_are_those_of_the_function():
    score = Score(ArrayFunction(LOGISTIC.predict_proba), "logit")
    found = score.evaluate(X, torch.ones(5, dtype=torch.long))
    assert found.numpy() == pytest.approx(LOGISTIC.predict_proba(ROWS[:5])[:, 1])
    assert score.cost.forward == 5
    assert not score.differentiable
    assert Score(torch.nn.Linear(3, 1).eval()).differentiable


def test_the_function_cannot_change_the_rows():
    def spoils(rows: np.ndarray) -> np.ndarray:
        rows[:] = 0
        return rows.sum(axis=1)

    before = X.clone()
    ArrayFunction(spoils)(X)
    assert torch.equal(X, before)


def test_occlusion_explains_a_logistic_regression():
    found = igbench.evaluate(MODEL, X, methods={"occlusion": OCCLUSION}, metrics=METRICS)
    frame = found.frame.set_index("metric")["value"].groupby("metric").mean()
    assert (found.frame["status"] == "ok").all()
    assert frame["completeness"] == pytest.approx(0, abs=1e-6)  # Captum: float32
    assert frame["sensitivity_n"] == pytest.approx(1)
    assert frame["infidelity"] == pytest.approx(0, abs=1e-12)
    assert frame["backward_rows"] == 0
    phi = X * torch.tensor(LOGISTIC.coef_)
    assert igbench.metrics.completeness(MODEL, X, phi).value.max() < 1e-12


def test_methods_that_need_gradients_are_refused_in_one_line():
    methods = {"ig": IntegratedGradients(), "occlusion": OCCLUSION, "noise": Random()}
    with pytest.raises(InputError) as error:
        igbench.evaluate(MODEL, X, methods=methods, metrics=["completeness"])
    assert str(error.value) == (
        "the model has no gradients, which ig cannot do without; choose methods that evaluate it "
        "alone: occlusion, noise."
    )
    with pytest.raises(InputError, match=r"which ig, saliency cannot .* alone: occlusion, random"):
        igbench.evaluate(MODEL, X, methods=["ig", "saliency"], metrics=["completeness"])


def test_functions_of_the_caller_say_whether_they_need_gradients():
    trees = RandomForestRegressor(5, random_state=0).fit(ROWS, ROWS[:, 0])
    model = ArrayFunction(trees.predict)
    own = CallableMethod(lambda x, t: x * 0 + 1, kind="local", needs_gradient=False)
    with pytest.raises(InputError, match="target='label' needs labels"):
        igbench.evaluate(model, X, methods={"own": own}, metrics=["deletion"], target="label")
    found = igbench.evaluate(model, X, methods={"own": own}, metrics=["sparseness"])
    assert (found.frame["status"] == "ok").all()
    other = CallableMethod(lambda x, t: x, kind="local")
    with pytest.raises(InputError, match="which own cannot do without"):
        igbench.evaluate(model, X, methods={"own": other}, metrics=["deletion"])


def test_gradients_of_such_a_model_are_an_error():
    with pytest.raises(InputError, match="no gradient with respect to its input"):
        input_gradient(Score(MODEL), X, None)


def test_a_plain_function_of_arrays_is_a_model():
    chosen = {"methods": ["random"], "metrics": ["deletion", "completeness"]}
    plain = igbench.evaluate(LOGISTIC.predict_proba, X, **chosen).table()
    wrapped = igbench.evaluate(ArrayFunction(LOGISTIC.predict_proba), X, **chosen).table()
    scores = list(chosen["metrics"])
    assert plain[scores].equals(wrapped[scores])
    with pytest.raises(InputError, match="cannot be called; give its predict_proba"):
        igbench.evaluate(LOGISTIC, X, **chosen)


def test_methods_in_the_catalogue_that_need_none():
    found = set()
    names = compose.choices("method")
    config = compose.compose(["experiment=digits_resnet", f"method=[{','.join(names)}]"])
    for name in names:
        node = config["method"][name]
        if not construct(node, name, data=None, pool=lambda: X).spec.needs_gradient:
            found.add(name)
    assert found == {
        *("attention_rollout", "best_found", "edges", "exact_shapley", "feature_ablation"),
        *("kernel_shap", "lime", "occlusion", "partition_shap", "random", "rise", "score_cam"),
        *("shap_kernel", "shapley_sampling", "tree_shap", "tree_shap_path"),
        *("leave_one_out", "length", "position", "rare"),
    }
    assert set(WITHOUT_GRADIENT) <= found


def test_definitions_keep_their_representation():
    assert "needs_gradient" not in repr(Random().spec)


def test_probabilities_are_their_own_probability():
    """No softmax is taken of what predict_proba returns, and its logarithm is refused."""
    found = igbench.evaluate(
        LOGISTIC.predict_proba, X, methods=["random"], metrics=["deletion"], target=1
    )
    truth = LOGISTIC.predict_proba(ROWS[:5])[:, 1]
    assert [s["probability"] for s in found.run.samples] == pytest.approx(list(truth))
    start = found.results.points[0]
    assert start.y == pytest.approx(truth[0], rel=1e-6)
    ones = torch.ones(5, dtype=torch.long)
    score = Score(ArrayFunction(LOGISTIC.predict_proba), "probability")
    assert score(X, ones).numpy() == pytest.approx(truth)
    with pytest.raises(InputError, match="whose logarithm is infinite"):
        score.as_output("log_probability")(X, ones)
    plain = Score(ArrayFunction(LOGISTIC.predict_proba, probabilities=False), "probability")
    assert plain(X, ones).numpy() == pytest.approx(
        np.exp(truth) / (np.exp(truth) + np.exp(1 - truth))
    )
    assert ArrayFunction(LOGISTIC.predict_proba).estimator is LOGISTIC
    assert ArrayFunction(lambda rows: rows).estimator is None


LOOKING_INSIDE = {
    *("mprt", "smooth_mprt", "efficient_mprt", "implementation_invariance", "convergence_error"),
    *("rrs", "feature_agreement", "rank_correlation"),
}
"""Metrics that need weights or gradients."""


def fits_arrays(name: str) -> bool:
    """Whether a metric takes data without masks and words."""
    try:
        construct(folders.node("metric", name), name, data=given(ROWS[:2]))
    except InputError:
        return False
    return True


@pytest.mark.slow
def test_no_metric_fails_on_a_model_without_gradients():
    """A linear model and the AND of two columns: a value, or the reason why there is none."""
    four = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    tree = DecisionTreeClassifier(random_state=0).fit(four, [0, 0, 0, 1])
    names = [n for n in compose.choices("metric") if "quantus" not in n and fits_arrays(n)]
    for model, x in ((LOGISTIC.decision_function, ROWS[:2]), (tree.predict_proba, four[3:])):
        found = igbench.evaluate(model, x, methods=["kernel_shap"], metrics=names, batch_size=512)
        frame = found.frame.set_index("metric")
        assert set(frame["status"]) == {"ok", "undefined"}
        assert set(frame["status"][list(LOOKING_INSIDE)]) == {"undefined"}
        assert (frame["value"][["completeness", "difference_from_exact"]] < 1e-6).all()
        assert frame["reason"][["convergence_error"]].unique().tolist() == [
            "the model is evaluated alone, so its output has no gradient with respect to its input."
        ]


def test_the_maps_of_trees_are_steps():
    """AND at (1, 1): half each; a change that crosses no threshold changes nothing."""
    four = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    tree = DecisionTreeClassifier(random_state=0).fit(four, [0, 0, 0, 1])
    x = torch.tensor([[1.0, 1.0]]).double()
    found = igbench.evaluate(
        tree.predict_proba,
        x,
        methods=["exact_shapley", "feature_ablation"],
        metrics=["max_sensitivity", "completeness"],
        target=1,
    )
    phi = explain(ExactShapley(), ArrayFunction(tree.predict_proba), x, target=1)
    assert phi.tolist() == [[0.5, 0.5]]
    assert found.table().loc["exact_shapley", "max_sensitivity"] == 0
    assert found.table()["completeness"].tolist() == [0, 1]
