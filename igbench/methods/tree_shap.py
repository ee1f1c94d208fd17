"""TreeSHAP, by the library shap: Shapley values of ensembles of trees from their structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.errors import (
    InputError,
    NotDefinedError,
    check_choice,
    check_whole,
    one_line,
)
from igbench.methods.base import BaseMethod
from igbench.methods.shap import background, library
from igbench.schema import MethodSpec

CLOSE = 1e-5
"""Largest relative gap between a map and what it should sum to: some trees add up in float32."""

TITLES = {
    "interventional": "TreeSHAP (interventional)",
    "path": "TreeSHAP (path-dependent)",
}


@dataclass(frozen=True)
class TreeShap(BaseMethod):
    """Shapley values of an ensemble of trees, by shap.TreeExplainer: `pip install 'igbench[shap]'`.

    Two games, with different answers:

    - "interventional": v(S) = mean over references r of f(x on S, r elsewhere).  With the baseline
      as the only reference it is the game of `exact_shapley`, at the cost of one walk down each
      tree for each reference.  Entries sum to f(x) - mean f(r).
    - "path": v(S) follows x at splits on features of S, and goes both ways elsewhere, weighted by
      how many training rows went there.  Entries sum to f(x) less the mean of the trees over the
      training rows, which is no f(x'), so `completeness` is not 0.

    The model must be an estimator of trees itself, of scikit-learn or LightGBM: given as its
    function, `forest.predict_proba`, or by model=sklearn and model=lightgbm.  No model rows are
    evaluated but the few that check the sum; the library takes its numbers from the trees.

    Args:
        game: "interventional" or "path".
        references: Rows of the data as references of "interventional", in place of the baseline; 0
            for the baseline.
        pool: Returns (R, *F) references.  An experiment gives the data's own pool.

    Raises:
        InputError: An unknown game, or references where the game takes none.
        NotDefinedError: shap is not installed, the model is no ensemble of trees that shap knows,
            its output is not what trees add up to, or the data keep no pool.

    Source: Lundberg et al. 2020, "From local explanations to global understanding with explainable
    AI for trees".
    """

    game: Literal["interventional", "path"] = "interventional"
    references: int = 0
    pool: Callable[[], Tensor] | None = None

    label = "TreeSHAP"
    reference = "Lundberg et al. 2020, algorithms 2 and 3"
    needs_gradient = False
    looks_inside = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("game", self.game, tuple(TITLES))
        check_whole("references", self.references)
        if self.game == "path" and self.references:
            raise InputError("game=path takes no references; leave them out.")

    @property
    def spec(self) -> MethodSpec:
        """As configured."""
        many = f", {self.references} references" if self.references else ""
        return replace(super().spec, title=TITLES[self.game].replace(")", f"{many})"))

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        shap = library()
        estimator = trees_of(batch)
        return torch.cat([self._one(shap, estimator, batch, i) for i in range(len(batch))])

    def _one(self, shap: Any, estimator: Any, batch: Batch, i: int) -> Tensor:
        x = batch.x[i : i + 1]
        rows = None if self.game == "path" else self._background(batch, i)
        with rng.global_state(batch.seed, "tree shap", batch.sample_ids[i]):
            found, start = _explained(shap, estimator, _flat(x), rows)
        k = 0 if batch.target is None or len(start) == 1 else int(batch.target[i])
        phi = found.reshape(x.numel(), len(start))[:, k].astype(np.float64)
        _check_sum(phi.sum() + start[k], float(batch.score.evaluate(x, batch.target_of(i))))
        return torch.from_numpy(phi).to(x).view_as(x)

    def _background(self, batch: Batch, i: int) -> np.ndarray:
        """References (R, F), see `igbench.methods.shap.background`."""
        purpose = "tree shap references"
        return _flat(background(batch, i, self.references, self.pool, purpose))


def _check_sum(found: float, value: float) -> None:
    """Raise unless the trees add up to what the model returns."""
    if not abs(found - value) <= CLOSE * max(1.0, abs(value)):
        raise NotDefinedError(
            f"the trees add up to {found:.4g} where the model returns {value:.4g}: that is another "
            "output (use output=logit with the margin of boosted trees or the probability of a "
            "forest), or the row is on a threshold, which shap rounds to float32."
        )


def trees_of(batch: Batch) -> Any:
    """The estimator behind the model of a batch.

    Raises:
        NotDefinedError: There is none.
    """
    estimator = getattr(batch.score.model, "estimator", None)
    if estimator is None:
        what = type(batch.score.model).__name__
        raise NotDefinedError(
            f"TreeSHAP needs an estimator of trees, and the model is a {what}; use kernel_shap or "
            "exact_shapley."
        )
    return estimator


def _explained(
    shap: Any, estimator: Any, x: np.ndarray, background: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Values (F,) or (F, K) and what they start from, (1,) or (K,)."""
    chosen = "tree_path_dependent" if background is None else "interventional"
    try:
        explainer = shap.TreeExplainer(
            estimator, background, model_output="raw", feature_perturbation=chosen
        )
        found = np.asarray(explainer.shap_values(x, check_additivity=False))
    except Exception as error:  # whatever shap raises for models that it does not know
        kind = type(estimator).__name__
        raise NotDefinedError(
            f"TreeSHAP does not know a {kind} ({one_line(error)}); use kernel_shap or "
            "exact_shapley."
        ) from error
    return found[0], np.atleast_1d(np.asarray(explainer.expected_value, dtype=np.float64))


def _flat(rows: Tensor) -> np.ndarray:
    """Rows (N, *F) as an array (N, F) of float64."""
    flat: np.ndarray = rows.detach().flatten(1).double().cpu().numpy()
    return flat
