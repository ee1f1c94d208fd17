"""Estimators of scikit-learn from files without pickle."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.exceptions import InconsistentVersionWarning

from igbench.core.arguments import checked
from igbench.core.model import ArrayFunction, Model
from igbench.errors import InputError, typed_line
from igbench.models import archives, black_box, labels

log = logging.getLogger(__name__)

Readout = Literal["auto", "decision_function", "predict_proba", "predict"]

HOW = "written by skops.io.dump(model, 'model.skops')"

LEFT_OUT = {"tests", "conftest", "datasets", "externals"}
"""Parts of scikit-learn from which a file may name nothing."""

WORDS = {
    "decision_function": "margins",
    "predict_proba": "probabilities, 0 and 1 included",
    "predict": "predictions",
}
"""What a function of an estimator returns, in words."""


@dataclass(frozen=True, eq=False)
class Reader:
    """One function of an estimator, of float64 rows.

    Attributes:
        estimator: The estimator.
        readout: Name of its function.
        columns: Names of the columns that it was fitted to; empty where it saw none.
    """

    estimator: Any
    readout: str
    columns: tuple[str, ...]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (N,) or (N, K) of rows (N, F)."""
        given: Any = rows.astype(np.float64)
        if self.columns:
            given = pd.DataFrame(given, columns=list(self.columns))
        return np.asarray(getattr(self.estimator, self.readout)(given))


@checked
def sklearn_model(
    *,
    path: str | None = None,
    readout: Readout = "auto",
    class_names: str | Sequence[str] | None = None,
) -> Model:
    """An estimator of scikit-learn, as `skops.io.dump` wrote it.

    Maps (N, F) to (N,) or (N, K), without gradients, in float64 and on one thread.  What is
    explained is the margin where the estimator has one (the log-odds of logistic regression and of
    boosted trees; of two classes, that of the second alone), and else the probability: that of a
    forest may be exactly 0 or 1, where log-odds are infinite.

    Args:
        path: The file, `.skops`.  Types in it must be of scikit-learn; pickles are not read.
        readout: "decision_function", "predict_proba" or "predict"; "auto" for the first of them
            that a classifier has, and for `predict` of a regression.
        class_names: K names, or a file with one name a line; null for the classes of the estimator.

    Raises:
        InputError: There is no such file, it is none of skops, it holds types of others, the
            estimator is not fitted or has no such function, or skops is not installed.
    """
    content = black_box.read(path, "sklearn", ".skops", HOW)
    estimator = _loaded(content)
    kind = type(estimator).__name__
    if not hasattr(estimator, "predict"):
        raise InputError(f"{str(content.path)!r} holds a {kind}, which predicts nothing.")
    for part in parts(estimator):
        _check_tree(part, content)
        if hasattr(part, "n_jobs"):
            part.n_jobs = 1
    chosen = readout_of(estimator, readout)
    if chosen == "predict" and hasattr(estimator, "classes_"):
        raise InputError(
            f"the {kind} predicts classes, which are no numbers to explain; leave model.readout "
            "out."
        )
    columns = black_box.column_names(getattr(estimator, "feature_names_in_", ()))
    reader = Reader(estimator, chosen, columns)
    outputs = _outputs(reader, content)
    classes = black_box.column_names(getattr(estimator, "classes_", ()))
    single = outputs.ndim == 1
    if classes and not single and outputs.shape[1] != len(classes):
        raise InputError(
            f"{chosen} of the {kind} returns {outputs.shape[1]} numbers for {len(classes)} "
            "classes; set model.readout=predict_proba, or decision_function_shape='ovr' of an SVC."
        )
    named = labels.class_names(class_names, len(classes), classes) if classes else ()
    return Model(
        name=content.path.stem,
        module=ArrayFunction(reader, probabilities=chosen == "predict_proba"),
        class_names=(named[-1:] or ("0",)) if single else named,
        cam_layer="",
        weights_hash=content.sha256,
        source=f"scikit-learn {kind}, file {content.path.name}; {chosen} ({WORDS[chosen]})",
        columns=columns,
        label_names=named if single else (),
    )


def readout_of(estimator: Any, readout: Readout) -> str:
    """The function of an estimator that is explained.

    Args:
        estimator: Fitted.
        readout: As configured.

    Raises:
        InputError: It has no such function.

    >>> from sklearn.linear_model import LogisticRegression
    >>> readout_of(LogisticRegression(), "auto")
    'decision_function'
    """
    known = [n for n in ("decision_function", "predict_proba", "predict") if hasattr(estimator, n)]
    if readout == "auto":
        return known[0]
    if readout not in known:
        raise InputError(
            f"a {type(estimator).__name__} has no {readout}; set model.readout to one of "
            f"{', '.join(known)}."
        )
    return readout


def parts(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """All objects of scikit-learn within one, itself included.

    >>> from sklearn.ensemble import RandomForestClassifier
    >>> forest = RandomForestClassifier(2, random_state=0).fit([[0.0], [1.0]], [0, 1])
    >>> sorted({type(part).__name__ for part in parts(forest)})[-2:]
    ['RandomForestClassifier', 'Tree']
    """
    known = set() if seen is None else seen
    if id(value) in known:
        return
    known.add(id(value))
    inner: list[Any] = []
    if isinstance(value, list | tuple | set):
        inner = list(value)
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, np.ndarray) and value.dtype == object:
        inner = value.ravel().tolist()
    elif type(value).__module__.startswith("sklearn."):
        yield value
        inner = list(getattr(value, "__dict__", {}).values())
        inner += [getattr(value, "tree_", None)] if hasattr(value, "tree_") else []
    for one in inner:
        yield from parts(one, known)


def _loaded(content: black_box.Content) -> Any:
    """The estimator in a file of skops, none of whose types is a stranger's."""
    if find_spec("skops") is None:
        raise InputError("model=sklearn needs skops; run `pip install 'igbench[sklearn]'`.")
    skops = importlib.import_module("skops.io")
    try:
        archives.check_stored(content.path, io.BytesIO(content.data), "skops.io.dump", HOW)
        found = skops.get_untrusted_types(data=content.data)
        _check_types(content, found)
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            estimator = skops.loads(content.data, trusted=found)
    except InputError:
        raise
    except Exception as error:  # whatever a broken file makes skops raise
        raise InputError(
            f"{str(content.path)!r} cannot be read by skops: {typed_line(error)}; write it again "
            "with skops.io.dump(model, 'model.skops') and the scikit-learn of this machine."
        ) from error
    if any(w.category is InconsistentVersionWarning for w in noted):
        log.warning(
            "%s was written by another version of scikit-learn, which may change its numbers; "
            "write it again to be sure",
            content.path,
        )
    return estimator


def _check_types(content: black_box.Content, names: Sequence[str]) -> None:
    strange = [name for name in names if not _of_sklearn(name)]
    if strange:
        shown = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
        raise InputError(
            f"{str(content.path)!r} asks for types that are none of scikit-learn: {shown}; they "
            "may run code, so the file is not read. Where you trust it, load it yourself and give "
            "igbench.evaluate its predict_proba."
        )


def _of_sklearn(name: str) -> bool:
    """Whether a dotted name is that of a class which scikit-learn defines."""
    place, _, attribute = name.rpartition(".")
    if not place.startswith("sklearn.") or set(place.split(".")) & LEFT_OUT:
        return False
    try:
        found = getattr(importlib.import_module(place), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.startswith("sklearn.")


def _check_tree(part: Any, content: black_box.Content) -> None:
    """Raise unless every branch of a tree leads on to a later node: compiled code does not look."""
    if type(part).__name__ == "Tree":
        inner = part.children_left != -1
        left, right = part.children_left[inner], part.children_right[inner]
        columns, width = part.feature[inner], part.n_features
    elif type(part).__name__ == "TreePredictor":
        inner = part.nodes["is_leaf"] == 0
        left, right = part.nodes["left"][inner], part.nodes["right"][inner]
        columns, width = part.nodes["feature_idx"][inner], np.inf
    else:
        return
    place, count = inner.nonzero()[0], len(inner)
    lower, upper = np.minimum(left, right), np.maximum(left, right)
    sound = (lower > place) & (upper < count) & (columns >= 0) & (columns < width)
    if not bool(sound.all()):
        raise InputError(f"{str(content.path)!r} holds a tree whose branches lead nowhere.")


def _outputs(reader: Reader, content: black_box.Content) -> np.ndarray:
    """Outputs of two rows of zeros."""
    kind, width = type(reader.estimator).__name__, getattr(reader.estimator, "n_features_in_", None)
    if width is None:
        raise InputError(f"the {kind} in {str(content.path)!r} is not fitted; fit it before.")
    try:
        found = reader(np.zeros((2, int(width))))
    except Exception as error:  # whatever an estimator raises
        raise InputError(
            f"the {kind} in {str(content.path)!r} does not run on a row of {width} zeros: "
            f"{typed_line(error)}."
        ) from error
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2):
        raise InputError(
            f"{reader.readout} of the {kind} returns {found.dtype} of shape {found.shape[1:]} for "
            "a row; numbers (N,) or (N, K) can be explained."
        )
    return found
