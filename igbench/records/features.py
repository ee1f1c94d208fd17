"""Check the features of samples in words: as many names, values and points as belong together.

What is wrong is a `ValueError`, as in `igbench.records.checked`, which has checked the types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from igbench.records.specs import shown


def check(where: str, value: Mapping[str, Any]) -> None:
    """Check the features of a sample, see `igbench.evaluation.kept.described`.

    Raises:
        ValueError: Values, gaps or points do not belong to the names.
    """
    names, series, groups = (value.get(k) for k in ("names", "series", "groups"))
    if names is None and series is None:
        raise ValueError(f"{where} has neither names nor a series")
    for field, more in (("values", 0), ("gaps", 1)):
        if field in value and (names is None or len(value[field]) != len(names) + more):
            count = "no" if names is None else f"{len(names):,}"
            raise ValueError(f"{where}.{field} has {len(value[field]):,} entries for {count} names")
    if series is not None and (len({len(c) for c in series}) != 1 or not series[0]):
        raise ValueError(f"{where}.series has channels of different or no length")
    if (groups is not None) != (series is not None and names is not None):
        raise ValueError(f"{where}.groups belongs to a series whose features have names")
    if groups is not None and series is not None and names is not None:
        _check_groups(f"{where}.groups", groups, series, len(names))


def _check_groups(
    where: str, groups: Sequence[Sequence[int]], series: Sequence[Sequence[float]], count: int
) -> None:
    if [len(channel) for channel in groups] != [len(channel) for channel in series]:
        raise ValueError(f"{where} has another shape than the series")
    if not all(-1 <= number < count for channel in groups for number in channel):
        raise ValueError(f"{where} has numbers of features that have no name")


def check_maps(
    samples: Sequence[Mapping[str, Any]], maps: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Check that maps of samples with features in words have a number for each of them.

    Raises:
        ValueError: A map has another shape: (G,) for G names, (C, T) for a series without names.
    """
    shapes = {s["sample_id"]: _shape(s["features"]) for s in samples if "features" in s}
    for file, tensors in maps.items():
        for sample, values in tensors.items() if file != "inputs" else ():
            if values.shape != shapes.get(sample, values.shape):
                where = f"the map {file}, {shown(sample)}"
                raise ValueError(f"{where} is of shape {values.shape}, not {shapes[sample]}")


def _shape(own: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of the maps of a sample."""
    if "names" in own:
        return (len(own["names"]),)
    return len(own["series"]), len(own["series"][0])
