"""Score a batch of arrays in the form of Quantus: one call, one table."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from igbench.core import callers
from igbench.errors import InputError, check_choice


def score_arrays(
    model: nn.Module | Callable[..., Any],
    x_batch: Any,
    y_batch: Any,
    a_batch: Any,
    metrics: Sequence[str] | Mapping[str, Callable[..., Any]],
    *,
    softmax: bool = False,
    device: str | torch.device | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score attributions of a batch by several metrics, the arguments in the form of Quantus.

    The numbers are those of `igbench.metrics.NAME(model, x, a, target=y)`.

    Args:
        model: Maps (N, *F) to (N, K); a torch module in eval mode, or a function.
        x_batch: Inputs (N, *F), an array or a tensor.
        y_batch: Classes that are explained, (N,); None for models with a single output.
        a_batch: Attributions (N, *F), or a dict of them by name; those of images (N, C, H, W)
            with one channel or none, (N, 1, H, W) or (N, H, W), are shared out evenly over the
            C channels, which keeps their sum.
        metrics: Names of functions in `igbench.metrics`, or metrics by name.
        softmax: Whether to explain the probability, by softmax of the outputs, and not the output.
        device: Where the model runs, on a copy of it; None for where it is.
        **options: Passed to every metric: baselines, features, seed, kind, ...

    Returns:
        A table with one column for each metric, NaN where it is undefined, and one row for each
        sample; for a dict, of each map and sample.

    Raises:
        InputError: An unknown metric, a device that is not there, or what a metric raises.

    Example:
        A map that is the gradient times the input of a sum.

        >>> x, names = np.array([[1.0, 2.0, 3.0, 4.0]]), ["sparseness", "completeness"]
        >>> score_arrays(lambda x: x.sum(dim=1), x, None, x, names).round(3)
                sparseness  completeness
        sample
        0             0.25           0.0
    """
    functions = _functions(metrics)
    if "output" in options:
        raise InputError("softmax=True stands for output='probability'; leave output out.")
    own = _placed(model, device)
    x = callers.rows("x_batch", x_batch, own)
    x = x if device is None else x.to(device)
    several = isinstance(a_batch, Mapping)
    given = a_batch if isinstance(a_batch, Mapping) else {"": a_batch}
    maps = {str(name): _spread(callers.tensor("a_batch", a), x) for name, a in given.items()}
    target = _classes(y_batch)
    output = "probability" if softmax else "logit"
    columns = {
        name: {
            m: np.asarray(torch.as_tensor(found.value).cpu())
            for m, found in metric(own, x, maps, target=target, output=output, **options).items()
        }
        for name, metric in functions.items()
    }
    samples = pd.RangeIndex(len(x), name="sample")
    tables = {
        m: pd.DataFrame({name: values[m] for name, values in columns.items()}, index=samples)
        for m in maps
    }
    return pd.concat(tables, names=["map"]) if several else tables[""]


def _functions(metrics: Sequence[str] | Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    if isinstance(metrics, Mapping):
        return dict(metrics)
    package = importlib.import_module("igbench.metrics")
    others = ("as_function", "score_arrays")
    known = [name for name in package.__all__ if name.islower() and name not in others]
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise InputError("no metric is chosen; give for example metrics=['completeness', 'srg'].")
    for name in names:
        if not isinstance(name, str):
            raise InputError(
                f"metrics holds a {type(name).__name__}; give names, or a dictionary: "
                "metrics={'mine': igbench.metrics.Deletion()}."
            )
        check_choice("metric", name, known)
    return {name: getattr(package, name) for name in names}


def _placed(model: Any, device: str | torch.device | None) -> Any:
    """The model on a device, itself or a copy; functions stay as they are."""
    if device is None or not isinstance(model, nn.Module):
        return model
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={device} cannot be used: {str(error).splitlines()[0]}."
        ) from error
    known = callers.dtypes(model)
    return callers.placed(model, where, known.pop() if len(known) == 1 else torch.float32)


def _classes(y_batch: Any) -> Tensor | None:
    if y_batch is None:
        return None
    found = callers.tensor("y_batch", y_batch)
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise InputError(
            f"y_batch holds {str(found.dtype).removeprefix('torch.')}, expected the whole number "
            "of a class for each sample."
        )
    return found


def _spread(a: Tensor, x: Tensor) -> Tensor:
    """A map of one channel or none, shared out evenly over the channels of the inputs."""
    if x.dim() == 4 and a.shape == (x.shape[0], *x.shape[2:]):
        a = a[:, None]
    if a.dim() == x.dim() == 4 and a.shape[1] == 1 and a.shape[2:] == x.shape[2:]:
        return (a / x.shape[1]).expand_as(x)
    return a
