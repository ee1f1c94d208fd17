"""`Model`: a trained model with what methods need to know of it; functions of arrays as models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.tokens import TextEncoder
from igbench.errors import InputError, typed_line


@dataclass(frozen=True)
class Preprocess:
    """Steps from a photograph to a tensor: resize the short side, crop the centre, normalise.

    Attributes:
        resize: Length of the short side after resizing (bicubic or bilinear, antialiased).
        crop: Side of the central square, in pixels.
        mean: Of each channel, in [0, 1]; subtracted.
        std: Of each channel; divided by.
        interpolation: "bicubic" or "bilinear".
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bicubic", "bilinear"] = "bilinear"


@dataclass(frozen=True)
class Model:
    """A trained model, in eval mode with frozen parameters.

    Attributes:
        name: Name in every table.
        module: Maps (N, *F) to (N, K); an `ArrayFunction` for models outside torch.
        class_names: K names.
        cam_layer: Dotted name of the layer for Grad-CAM and its kin, the last with spatial axes;
            "" where it is not known, and found when a method asks for it.
        weights_hash: SHA-256 over the parameters and buffers.
        source: Origin of the weights, in words.
        preprocess: For models of photographs.
        channels_last: Whether this memory format is faster.
        text: From texts to its inputs, for models of texts.
        columns: Names of the columns that a model of a table takes, in their order; empty where it
            has none.
        label_names: Names of the true classes, where they are not `class_names`: two for a model
            with a single output, the second being the one that the output speaks for.
    """

    name: str
    module: nn.Module
    class_names: tuple[str, ...]
    cam_layer: str
    weights_hash: str
    source: str
    preprocess: Preprocess | None = None
    channels_last: bool = False
    text: TextEncoder | None = None
    columns: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

    @property
    def differentiable(self) -> bool:
        """Whether methods may take gradients of the model."""
        return is_differentiable(self.module)


class ArrayFunction(nn.Module):
    """A function of NumPy arrays as a model without gradients.

    For models outside torch: `predict_proba` or `decision_function` of scikit-learn, gradient
    boosting, rules, a remote service.  The function gets a copy of the rows in their own dtype and
    returns (N,) or (N, K) numbers, which come back in the dtype and on the device of the rows.
    What it returns is explained as it is (output="logit"), whether scores or probabilities.
    Probabilities are their own probability: no softmax is taken of them.

    Args:
        predict: Maps an array (N, *F) to an array (N,) or (N, K).
        probabilities: Whether it returns probabilities; None for whether its name says so, as that
            of `predict_proba` does.

    >>> model = ArrayFunction(lambda rows: rows.sum(axis=1))
    >>> model(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.])
    >>> model.differentiable
    False
    """

    differentiable = False

    def __init__(self, predict: Callable[[Any], Any], probabilities: bool | None = None) -> None:
        super().__init__()
        self.predict = predict
        named = getattr(predict, "__name__", "") == "predict_proba"
        self.probabilities = named if probabilities is None else probabilities
        self.training = False

    @property
    def estimator(self) -> Any:
        """The object whose method the function is, or that it has as `estimator`; else None."""
        own = getattr(self.predict, "__self__", None)
        return getattr(self.predict, "estimator", None) if own is None else own

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every row, (N,) or (N, K)."""
        found = np.array(self.predict(x.detach().cpu().numpy().copy()), order="C")
        return torch.as_tensor(found, dtype=x.dtype, device=x.device)


class Function(nn.Module):
    """A function of tensors as a module.

    Args:
        function: Maps (N, *F) to (N,) or (N, K).

    >>> Function(lambda x: x.sum(dim=1))(torch.ones(2, 3))
    tensor([3., 3.])
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.training = False

    def forward(self, x: Tensor) -> Any:
        """What the function returns."""
        return self.function(x)


def as_module(model: Any, x: Tensor) -> nn.Module:
    """A function as a module: of tensors, if it takes them and returns one, or else of arrays.

    Args:
        model: The function.
        x: (N, *F) samples to try it on; one call, two if it does not take tensors.

    Raises:
        InputError: No function, or one that fails on the first sample.

    >>> as_module(lambda rows: rows.numpy().sum(axis=1), torch.ones(2, 3)).differentiable
    False
    """
    if not callable(model) or isinstance(model, type):
        known = [n for n in ("predict_proba", "decision_function", "predict") if hasattr(model, n)]
        advice = f"give its {known[0]}" if known else "give a torch module, or a function of arrays"
        raise InputError(
            f"the model is a {type(model).__name__}, which cannot be called; {advice}."
        )
    with rng.untouched(), torch.no_grad():
        try:
            found = model(x[:1].clone())
            return ArrayFunction(model) if isinstance(found, np.ndarray | list) else Function(model)
        except Exception as error:
            try:
                model(x[:1].detach().cpu().numpy().copy())
            except Exception:
                raise InputError(
                    f"the model cannot be called with a sample of shape {tuple(x[:1].shape)}: "
                    f"{typed_line(error)}."
                ) from error
            return ArrayFunction(model)


def function_hash(function: object) -> str:
    """SHA-256 over the name and the code of a function, and over what a method is bound to.

    What a function reads from elsewhere is not seen.

    Returns:
        64 hexadecimal digits.

    >>> function_hash(len) == function_hash(len), function_hash(len) == function_hash(max)
    (True, False)
    """
    owner = getattr(function, "__self__", None)
    code = getattr(function, "__code__", None)
    parts = (
        getattr(function, "__module__", ""),
        getattr(function, "__qualname__", type(function).__qualname__),
        None if code is None else (code.co_code, code.co_names, code.co_consts),
        "" if owner is None else type(owner).__qualname__ + repr(owner),
    )
    return hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", repr(parts)).encode()).hexdigest()


def is_differentiable(model: object) -> bool:
    """Whether a model has gradients: modules and functions do unless `differentiable` is False.

    >>> is_differentiable(nn.Linear(2, 1)), is_differentiable(ArrayFunction(len))
    (True, False)
    """
    return bool(getattr(model, "differentiable", True))
