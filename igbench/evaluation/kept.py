"""What a run keeps of its first samples for the report: features in words, and maps."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igbench.core.active import restrict, restrict_maps
from igbench.core.batch import Attribution, Batch
from igbench.core.dataset import Data
from igbench.core.features import resolve
from igbench.errors import SampleError

LONGEST = 1000
"""Characters of a name, of a value and of a text between features; the rest is cut visibly."""


def shows(data: Data) -> bool:
    """Whether the report shows samples of such data."""
    return data.display is not None or data.feature_names is not None or _is_series(data)


def described(data: Data, index: int, x: Tensor, active: Tensor | None) -> dict[str, Any]:
    """The features of a sample in words, and the points of a series.

    Args:
        data: The samples.
        index: Position of the sample.
        x: (*F) the sample.
        active: (*F) boolean, which elements take part; None where all do.

    Returns:
        "names" of the G features that take part, their "values", the G + 1 texts in the "gaps"
        before, between and after them; the "series" (C, T), and the "groups" (C, T) of its
        points: numbers of features, -1 where they take no part.  Each only where the data have it.

    Raises:
        SampleError: There is not one name, value or gap for each feature, or one is no text.
    """
    found: dict[str, Any] = {}
    numbers = _numbers(data, index, active)
    taking_part = sorted(set(numbers.flatten().tolist()) - {-1})
    if data.feature_names is not None:
        count = int(_all_numbers(data, index).max()) + 1
        names = _texts("feature_names", data.feature_names(index), count)
        found["names"] = [names[n] for n in taking_part]
        if data.feature_values is not None:
            values = _listed("feature_values", data.feature_values(index), count)
            found["values"] = [_value(values[n]) for n in taking_part]
        if data.feature_gaps is not None and len(taking_part) == count:
            found["gaps"] = _texts("feature_gaps", data.feature_gaps(index), count + 1)
    if _is_series(data):
        points = x.detach().double().cpu().reshape(-1, data.shape[-1])
        found["series"] = points.tolist()
        if data.feature_names is not None:
            own = {number: i for i, number in enumerate(taking_part)} | {-1: -1}
            flat = [own[n] for n in numbers.flatten().tolist()]
            found["groups"] = np.array(flat).reshape(tuple(points.shape)).tolist()
    return found


def _is_series(data: Data) -> bool:
    return data.kind == "series" and len(data.shape) in (1, 2)


def _all_numbers(data: Data, index: int) -> Tensor:
    """The feature of each element, (*F); of features with a name as `resolve` numbers them."""
    features = data.features_of(index)
    return features if isinstance(features, Tensor) else resolve(features, data.shape).index


def _numbers(data: Data, index: int, active: Tensor | None) -> Tensor:
    """The same, -1 for elements that take no part."""
    numbers = _all_numbers(data, index).cpu()
    return numbers if active is None else torch.where(active.cpu(), numbers, -1)


def _listed(what: str, found: Any, count: int) -> list[Any]:
    if isinstance(found, str) or not isinstance(found, Sequence) or len(found) != count:
        got = len(found) if isinstance(found, Sequence) and not isinstance(found, str) else "no"
        raise SampleError(f"{what} returned {got} entries, expected a list of {count}")
    return list(found)


def _texts(what: str, found: Any, count: int) -> list[str]:
    listed = _listed(what, found, count)
    for one in listed:
        if not isinstance(one, str):
            raise SampleError(f"{what} returned {type(one).__name__} {str(one)[:60]!r}, not a text")
    return [_cut(one) for one in listed]


def _value(value: Any) -> float | str:
    """A value of a feature, for the record."""
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return float(value)
    raise SampleError(
        f"feature_values returned {type(value).__name__} {str(value)[:60]!r}, not a number or text"
    )


def _cut(text: str) -> str:
    """A text of bounded length that says what it lacks.

    >>> _cut("a" * 1002)[-20:]
    'aaaaaaa[… 2 letters]'
    """
    more = len(text) - LONGEST
    return f"{text[:LONGEST]}[… {more} letters]" if more > 0 else str(text)


def shown_map(data: Data, attribution: Attribution, batch: Batch, i: int) -> np.ndarray:
    """The map of a sample for the report.

    Sums over channels for pictures, (H, W); over each feature that takes part where features have
    names, (G,); and each element of a series without names, (C, T).
    """
    values = attribution.values[i].float().cpu()
    if data.display is None and data.feature_names is not None:
        part = restrict_maps({"": attribution}, batch, i)[""].values
        return restrict(batch, i).per_feature(part)[0].float().cpu().numpy()
    if _is_series(data):
        return values.reshape(-1, data.shape[-1]).numpy()
    reduced = values.abs().amax(0) if attribution.spec.reduction == "abs_max" else values.sum(0)
    return reduced.numpy()
