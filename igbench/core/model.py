"""`Model`: a trained model with what methods need to know of it; functions of arrays as models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn


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
        cam_layer: Dotted name of the last layer with spatial axes, for Grad-CAM; "" for none.
        weights_hash: SHA-256 over the parameters and buffers.
        source: Origin of the weights, in words.
        preprocess: For models of photographs.
        channels_last: Whether this memory format is faster.
    """

    name: str
    module: nn.Module
    class_names: tuple[str, ...]
    cam_layer: str
    weights_hash: str
    source: str
    preprocess: Preprocess | None = None
    channels_last: bool = False

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

    Args:
        predict: Maps an array (N, *F) to an array (N,) or (N, K).

    >>> model = ArrayFunction(lambda rows: rows.sum(axis=1))
    >>> model(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.])
    >>> model.differentiable
    False
    """

    differentiable = False

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        super().__init__()
        self.predict = predict
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of every row, (N,) or (N, K)."""
        found = np.array(self.predict(x.detach().cpu().numpy().copy()), order="C")
        return torch.as_tensor(found, dtype=x.dtype, device=x.device)


def is_differentiable(model: object) -> bool:
    """Whether a model has gradients: modules and functions do unless `differentiable` is False.

    >>> is_differentiable(nn.Linear(2, 1)), is_differentiable(ArrayFunction(len))
    (True, False)
    """
    return bool(getattr(model, "differentiable", True))
