"""Estimators from files of skops: what is explained, what is refused, and known answers."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import ExactShapley, explain
from igbench.models.sklearn_model import parts, sklearn_model

skops = pytest.importorskip("skops.io")

ROWS = np.random.default_rng(0).normal(size=(30, 3))
CLASSES = np.where(ROWS @ [2.0, -1.0, 0.0] > 0, "yes", "no")
X = torch.tensor(ROWS[:4])


def saved(folder: Path, estimator: object, name: str = "model.skops") -> str:
    skops.dump(estimator, folder / name)
    return str(folder / name)


def test_the_margin_is_explained_where_there_is_one(tmp_path):
    logistic = LogisticRegression().fit(ROWS, CLASSES)
    model = sklearn_model(path=saved(tmp_path, logistic))
    assert model.name == "model"
    assert model.class_names == ("yes",)
    assert model.label_names == ("no", "yes")
    assert model.source == (
        "scikit-learn LogisticRegression, file model.skops; decision_function (margins)"
    )
    assert model.weights_hash == hashlib.sha256((tmp_path / "model.skops").read_bytes()).hexdigest()
    assert not model.differentiable
    found = explain(ExactShapley(), model.module, X)
    torch.testing.assert_close(found, X * torch.tensor(logistic.coef_), rtol=0, atol=1e-12)


def test_a_forest_gives_probabilities_zero_and_one_included(tmp_path):
    forest = RandomForestClassifier(3, random_state=0, n_jobs=2).fit(ROWS, CLASSES)
    model = sklearn_model(path=saved(tmp_path, forest))
    assert model.class_names == ("no", "yes")
    assert "predict_proba (probabilities, 0 and 1 included)" in model.source
    truth = torch.tensor(forest.predict_proba(ROWS[:4]))
    assert torch.equal(model.module(X), truth)
    assert truth.max() == 1
    ones = torch.ones(4, dtype=torch.long)
    assert torch.equal(Score(model.module, "probability")(X, ones), truth[:, 1])
    jobs = [p.n_jobs for p in parts(model.module.estimator) if hasattr(p, "n_jobs")]
    assert set(jobs) == {1}


def test_an_and_of_two_columns_is_shared_evenly(tmp_path):
    four = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    tree = DecisionTreeClassifier(random_state=0).fit(four, [0, 0, 0, 1])
    model = sklearn_model(path=saved(tmp_path, tree))
    found = explain(ExactShapley(), model.module, torch.tensor([[1.0, 1.0]]).double(), target=1)
    assert found.tolist() == [[0.5, 0.5]]


def test_names_of_columns_are_kept_and_no_warning_is_raised(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    model = sklearn_model(path=saved(tmp_path, StandardScaled().fit(frame, CLASSES)))
    assert model.columns == ("a", "b", "c")
    assert model.module(X).shape == (4,)


def StandardScaled() -> object:  # noqa: N802
    return make_pipeline(StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    ("estimator", "readout", "shape"),
    [
        (HistGradientBoostingClassifier(max_iter=2), "auto", (4,)),
        (RandomForestRegressor(2, random_state=0), "auto", (4,)),
        (LogisticRegression(), "predict_proba", (4, 2)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_other_estimators(tmp_path, estimator, readout, shape):
    y = ROWS[:, 0] if "Regressor" in type(estimator).__name__ else CLASSES
    model = sklearn_model(path=saved(tmp_path, estimator.fit(ROWS, y)), readout=readout)
    assert model.module(X).shape == shape


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".pickle"])
def test_pickles_are_refused_unread(tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"never read")
    with pytest.raises(InputError, match=r"is a pickle, which runs code .* skops.io.dump\(model"):
        sklearn_model(path=str(file))


def test_types_of_others_are_named_and_refused(tmp_path):
    path = saved(tmp_path, make_pipeline(FunctionTransformer(print), LogisticRegression()))
    with pytest.raises(InputError, match=r"none of scikit-learn: builtins.print; they may run"):
        sklearn_model(path=path)
    path = saved(tmp_path, {"a": Path})
    with pytest.raises(InputError, match="none of scikit-learn: pathlib"):
        sklearn_model(path=path)


def test_files_of_another_kind_are_refused(tmp_path):
    file = tmp_path / "model.skops"
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match="cannot be read by skops: ValueError"):
        sklearn_model(path=str(file))
    logistic = LogisticRegression().fit(ROWS, CLASSES)
    skops.dump(logistic, file, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"may unfold: .*skops.io.dump stores entries as they are"):
        sklearn_model(path=str(file))
    with pytest.raises(InputError, match="there is no file"):
        sklearn_model(path=str(tmp_path / "none.skops"))
    with pytest.raises(InputError, match=r"set model.path=FILE.skops"):
        sklearn_model()


def test_estimators_without_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not fitted; fit it before"):
        sklearn_model(path=saved(tmp_path, LogisticRegression()))
    with pytest.raises(InputError, match="holds a StandardScaler, which predicts nothing"):
        sklearn_model(path=saved(tmp_path, StandardScaler().fit(ROWS)))
    path = saved(tmp_path, LogisticRegression().fit(ROWS, CLASSES))
    with pytest.raises(InputError, match="predicts classes, which are no numbers"):
        sklearn_model(path=path, readout="predict")
    path = saved(tmp_path, SVC().fit(ROWS, CLASSES))
    with pytest.raises(InputError, match=r"has no predict_proba; .* decision_function, predict\."):
        sklearn_model(path=path, readout="predict_proba")


def test_branches_that_lead_nowhere_are_refused(tmp_path):
    """Compiled code follows the numbers of a tree without a look at them."""
    tree = DecisionTreeClassifier(random_state=0).fit(ROWS, CLASSES)
    path = saved(tmp_path, tree)
    inner = {}
    with zipfile.ZipFile(path) as archive:
        inner = {name: archive.read(name) for name in archive.namelist()}
    changed = 0
    for name, content in inner.items():
        if name.endswith(".npy"):
            with (tmp_path / "a.npy").open("wb") as stream:
                stream.write(content)
            array = np.load(tmp_path / "a.npy")
            if array.dtype.names and "left_child" in array.dtype.names:
                array["left_child"][0] = 10**6
                np.save(tmp_path / "a.npy", array)
                inner[name] = (tmp_path / "a.npy").read_bytes()
                changed += 1
    assert changed == 1
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in inner.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="a tree whose branches lead nowhere"):
        sklearn_model(path=path)
