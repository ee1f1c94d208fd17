"""Explain again: maps of the same method for another model, baseline, input or class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from igbench.core.active import Lifted
from igbench.core.batch import Attribution, Batch, Method, attribute
from igbench.core.inference import InferenceOptions
from igbench.core.returned import check_map
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods.custom import CallableMethod, Explainer

LOST = "the map is zero or not finite, or so is the one it is compared with"


def usable(values: Tensor) -> Tensor:
    """Mask of the maps that are finite and not zero everywhere, (N, *F) to (N,)."""
    flat = values.flatten(1)
    return torch.isfinite(flat).all(dim=1) & (flat != 0).any(dim=1)


def explained(name: str, attribution: Attribution, batch: Batch) -> Tensor:
    """Maps that a method makes of a changed batch, (N, *F).

    Samples whose first map is zero or not finite are not explained again: NaN.

    Args:
        name: Name of the method, for messages.
        attribution: The first maps of the same samples, and the method.
        batch: The samples with whatever has changed: score, input, baseline or target.

    Raises:
        InputError: A map was given without its method, or a new map has another shape.
    """
    method = method_of(name, attribution)
    found = torch.full_like(attribution.values, math.nan)
    keep = usable(attribution.values).nonzero()[:, 0]
    if len(keep):
        maps = attribute(method, batch.select(keep))
        check_map(maps, batch.x[keep], "the attribution that was made again")
        found[keep] = maps.to(found)
    return found


def method_of(name: str, attribution: Attribution) -> Method:
    """The method that made a map.

    Args:
        name: Name of the method, for the message.
        attribution: The map.

    Raises:
        InputError: The map was given without its method.
    """
    if attribution.explain is None:
        raise InputError(
            f"this metric explains again, so it needs the method itself, and {name!r} is a map "
            "alone; give Attribution(..., explain=METHOD), or method= to the function."
        )
    return attribution.explain


def method_of_batch(name: str, attribution: Attribution) -> Method:
    """The method that made a map, if it takes everything that a batch can change.

    Args:
        name: Name of the method, for the message.
        attribution: The map.

    Raises:
        InputError: There is none, or it is a function of input and class alone, which keeps
            explaining the user's model with its own baseline.
    """
    method = method_of(name, attribution)
    plain = method.method if isinstance(method, Lifted) else method
    own = isinstance(plain, CallableMethod) and not plain.per_batch
    if own or isinstance(plain, Explainer):
        raise InputError(
            f"this metric changes the model or the baseline, and {name!r} is a function of input "
            "and class alone, which does not notice; write it as a method: Batch -> map, "
            "explaining batch.score from batch.baseline."
        )
    return method


def rescored(score: Score, model: nn.Module) -> Score:
    """The scalar of another model, with the same settings and the same counters.

    Args:
        score: The scalar of the user's model.
        model: The other model.
    """
    return score.sibling(model, score.output, InferenceOptions())


def l1(values: Tensor) -> Tensor:
    """Norm |phi|_1 of every map, (N, *F) to (N,) float64."""
    return values.flatten(1).double().abs().sum(dim=1)


def relative_l1(changed: Tensor, reference: Tensor) -> Tensor:
    """Relative difference |changed - reference|_1 / |reference|_1, (N,) float64.

    NaN for a reference of zeros.

    Args:
        changed: (N, *F).
        reference: (N, *F).

    Example:
        >>> relative_l1(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.0]])).tolist()
        [0.5]
    """
    size = l1(reference)
    far = l1(changed.double() - reference.double()) / size
    return far.where(size > 0, math.nan)
