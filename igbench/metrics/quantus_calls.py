"""How do our samples, models and methods look to Quantus?  As numpy arrays and plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from igbench.metrics.neighbours import copies
from igbench.types import Batch, Method, Score


def as_array(values: Tensor) -> np.ndarray:
    """A float64 copy, since Quantus changes some of its arguments in place."""
    return np.array(values.detach().cpu().double().numpy())


def with_channel(values: np.ndarray) -> np.ndarray:
    """Vectors (N, d) as series of one channel, (N, 1, d): the smallest thing Quantus knows."""
    return values[:, None] if values.ndim == 2 else values


def column(score: Score, target: Tensor | None, like: Tensor) -> nn.Module:
    """The scalar that is explained as a model with a single output, (N, *F) to (N, 1).

    The model inside is not among its sub-modules: Quantus would look for a softmax there.
    """
    dtype, device, shape = like.dtype, like.device, like.shape[1:]

    class Column(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            """One output for each row."""
            own = None if target is None else target.expand(len(x))
            return score.evaluate(x.to(device, dtype).reshape(-1, *shape), own)[:, None].cpu()

    return Column().eval()


def explainer(batch: Batch, i: int, method: Method | None) -> Callable[..., np.ndarray] | None:
    """The method as Quantus calls it, for changed versions of one sample."""
    if method is None:
        return None

    def explain(
        model: nn.Module, inputs: np.ndarray, targets: np.ndarray, device: str | None = None
    ) -> np.ndarray:
        rows = torch.from_numpy(inputs).to(batch.x).reshape(-1, *batch.x.shape[1:])
        return as_array(method(copies(batch, i, rows))).reshape(inputs.shape)

    return explain


def to_baseline(baseline: np.ndarray) -> Callable[..., np.ndarray]:
    """A `perturb_func` of Quantus: the elements at indices (1, n) of arr (1, F) go to (F,)."""

    def replace(arr: np.ndarray, indices: np.ndarray, perturb_baseline: Any = None) -> np.ndarray:
        changed = arr.copy()
        changed[0, indices[0]] = baseline[indices[0]]
        return changed

    return replace
