"""Make methods of what callers have: functions, maps, explainers of Captum and of shap."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igbench.core import callers
from igbench.core.batch import Method
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods.captum import BY_MODULE, WITHOUT_GRADIENT, Captum, check_rules, kind_of
from igbench.methods.custom import CallableMethod, Explainer, Precomputed

OF_TENSORS = ("GradientExplainer", "DeepExplainer", "Gradient", "Deep", "PyTorchDeep")
"""Classes of shap that explain torch modules; the others take arrays."""


def as_method(name: str, given: object, sample_ids: Sequence[str], shape: Sequence[int]) -> Method:
    """A method of whatever a caller has.

    Args:
        name: Name in tables.
        given: A method; maps (S, *F) that exist already; a class of `captum.attr`, which explains
            the model at hand; an attribution object of Captum or an explainer of shap, which
            explain their own model; or a function of x (1, *F) and target (1,), whose map is taken
            as contributions, see `igbench.methods.CallableMethod` for others.
        sample_ids: Names of the S samples.
        shape: *F.

    Raises:
        InputError: Nothing of the kind, or maps of another shape.

    >>> as_method("mine", [[1.0, 2.0]], ["a"], (2,)).spec.kind
    'global'
    """
    if isinstance(given, type):
        return _of_class(name, given)
    if hasattr(given, "spec") and callable(given):
        return given
    if isinstance(given, Tensor | np.ndarray | list) or hasattr(given, "select_dtypes"):
        return _maps(name, given, tuple(sample_ids), tuple(shape))
    if any(c.__module__.startswith("captum.") for c in type(given).__mro__):
        return _captum(name, given)
    if hasattr(given, "shap_values"):
        return _shap(name, given)
    if callable(given):
        return CallableMethod(given, kind="global", title=name)
    raise InputError(
        f"method {name!r} is a {type(given).__name__}; give a name of conf/method, a method, maps "
        "of the shape of the inputs, an object of captum.attr or shap, or a function of (x, "
        "target)."
    )


def _of_class(name: str, given: type) -> Method:
    """A class of `captum.attr` on the model at hand; others are no methods yet."""
    if given.__module__.startswith("captum.attr") and kind_of(given.__name__)[0]:
        return Captum(given.__name__)
    raise InputError(
        f"method {name!r} is the class {given.__name__}; give an object, {given.__name__}(...)."
    )


def _maps(name: str, given: Any, ids: tuple[str, ...], shape: tuple[int, ...]) -> Method:
    values = callers.tensor(f"the maps {name!r}", given)
    if tuple(values.shape) != (len(ids), *shape):
        raise InputError(
            f"the maps {name!r} have shape {tuple(values.shape)}, expected {(len(ids), *shape)}: "
            "one map of the shape of the input for each sample."
        )
    return Precomputed(values, ids)


def _captum(name: str, explainer: Any) -> Method:
    """An attribution object of Captum, one sample at a time, from the baseline of the batch."""
    inner = getattr(explainer, "attribution_method", explainer)
    cls = type(inner).__name__
    kind, signed = kind_of(cls)
    if kind is None:
        raise InputError(
            f"method {name!r} is captum.attr.{cls}, whose maps may not have the shape of the "
            "inputs; wrap it: igbench.methods.CallableMethod(lambda x, target: ..., kind=...)."
        )
    needed = [
        p.name
        for p in list(inspect.signature(inner.attribute).parameters.values())[1:]
        if p.default is inspect.Parameter.empty and p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    if needed:
        raise InputError(
            f"method {name!r} is captum.attr.{cls}, which needs {', '.join(needed)}; give "
            "igbench.methods.Captum(..., arguments={...}), or a function of (x, target)."
        )
    based = "baselines" in inspect.signature(inner.attribute).parameters

    def function(x: Tensor, target: Tensor | None, baseline: Tensor) -> Tensor:
        found: Tensor = explainer.attribute(
            x, target=target, **({"baselines": baseline} if based else {})
        )
        if cls in BY_MODULE:
            check_rules(cls, inner.model, Score(inner.model), x, baseline, target)
        return found

    title = cls if inner is explainer else f"{type(explainer).__name__}({cls})"
    return Explainer(function, kind, signed, f"captum.attr.{title}", cls not in WITHOUT_GRADIENT)


def _shap(name: str, explainer: Any) -> Method:
    """An explainer of shap, whose background is its own."""
    of_tensors = type(explainer).__name__ in OF_TENSORS

    def function(x: Tensor, target: Tensor | None, baseline: Tensor) -> Tensor:
        rows = x.detach() if of_tensors else x.detach().cpu().numpy()
        values = explainer.shap_values(rows)
        return _of_target(name, values, target, x).to(x)

    return Explainer(
        function, "global", True, f"shap.{type(explainer).__name__}", needs_gradient=of_tensors
    )


def _of_target(name: str, values: Any, target: Tensor | None, x: Tensor) -> Tensor:
    """The values of one output, from a list by output, or an array with a last axis of them."""
    k = 0 if target is None else int(target)
    found = torch.as_tensor(np.asarray(values[k] if isinstance(values, list) else values))
    if found.shape == (*x.shape, found.shape[-1]):
        found = found[..., k if found.shape[-1] > 1 else 0]
    if found.shape != x.shape:
        raise InputError(
            f"method {name!r} returned values of shape {tuple(found.shape)} for one sample of "
            f"shape {tuple(x.shape)}."
        )
    return found
