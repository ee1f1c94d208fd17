"""Boosted trees of LightGBM from their text files."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from igbench.core.arguments import checked
from igbench.core.model import ArrayFunction, Model
from igbench.errors import InputError, typed_line
from igbench.models import black_box, labels

HOW = "written by booster.save_model('model.txt')"


@dataclass(frozen=True, eq=False)
class Margin:
    """The sum of the trees, before any link function, of float64 rows on one thread.

    Attributes:
        estimator: A `lightgbm.Booster`.
    """

    estimator: Any

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (N,), or (N, K) of K classes."""
        found = self.estimator.predict(rows.astype(np.float64), raw_score=True, num_threads=1)
        return np.asarray(found)


@checked
def lightgbm_model(
    *, path: str | None = None, class_names: str | Sequence[str] | None = None
) -> Model:
    """Boosted trees that LightGBM wrote as text.

    Maps (N, F) to the margins: (N,) of a regression or of two classes (the log-odds of the second),
    (N, K) of more.

    Args:
        path: The file.  Trees that split categories of pandas are refused, since the codes of
            these categories are not those of your table.
        class_names: K names, two for two classes, or a file with one name a line; null for numbers.

    Raises:
        InputError: There is no such file, it is no model of LightGBM, or LightGBM is not installed.
    """
    content = black_box.read(path, "lightgbm", ".txt", HOW)
    booster = _loaded(content)
    columns = black_box.column_names(booster.feature_name())
    unnamed = columns == tuple(f"Column_{k}" for k in range(len(columns)))
    margin = Margin(booster)
    found = margin(np.zeros((2, len(columns))))
    single = found.ndim == 1
    of_two = single and "objective=binary" in content.data.decode(errors="replace")
    count = 2 if of_two else 1 if single else found.shape[1]
    named = labels.class_names(class_names, count)
    return Model(
        name=content.path.stem,
        module=ArrayFunction(margin),
        class_names=named[-1:] if single else named,
        cam_layer="",
        weights_hash=content.sha256,
        source=f"LightGBM, file {content.path.name}; raw scores (margins)",
        columns=() if unnamed else columns,
        label_names=named if of_two else (),
    )


def _loaded(content: black_box.Content) -> Any:
    if find_spec("lightgbm") is None:
        raise InputError("model=lightgbm needs LightGBM; run `pip install 'igbench[lightgbm]'`.")
    if not content.data.startswith(b"tree\n"):
        raise InputError(
            f"{str(content.path)!r} is no text of LightGBM; write it with "
            "booster.save_model('model.txt')."
        )
    library = importlib.import_module("lightgbm")
    try:
        booster = library.Booster(model_str=content.data.decode())
    except Exception as error:  # whatever a broken file makes LightGBM raise
        raise InputError(
            f"{str(content.path)!r} cannot be read by LightGBM: {typed_line(error)}."
        ) from error
    if booster.pandas_categorical:
        raise InputError(
            f"{str(content.path)!r} was trained on categories of pandas; train it on numbers, "
            "encoded in your table."
        )
    return booster
