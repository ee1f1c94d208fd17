"""Maps of two runs, paired by method and sample: which are equal, which moved, and how far.

Two distances tell how far a map a moved to b.  The relative L2 distance orders the samples, because
every change counts in it, of scale and of sign too:

    d(a, b) = ||b - a||_2 / ||a||_2

The rank distance says whether the features changed places: 1 - rho, where rho is Spearman's rank
correlation of |a| and |b|, see `igbench.report.map_ranks.correlations`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from igbench.report import map_ranks, styles
from igbench.report.phrases import number
from igbench.schema import Records

INPUTS = "inputs"
"""The file among the maps that holds images."""
POINTS = ("names", "gaps", "groups")
"""Entries of the features of a sample that say what an entry of a map belongs to."""


@dataclass(frozen=True)
class MovedMap:
    """A map that is not bit-equal in both runs.

    Attributes:
        method: Name of the method.
        sample: Identifier of the sample.
        base: The map of the base run.
        new: The map of the new run, of the same shape.
        distance: Relative L2 distance, see `relative_distance`.
        rank_distance: Rank distance, see `rank_distance`.
    """

    method: str
    sample: str
    base: np.ndarray
    new: np.ndarray
    distance: float
    rank_distance: float


@dataclass(frozen=True)
class Unpaired:
    """Maps of a method that cannot be compared, with the reason that they share."""

    method: str
    reason: str
    samples: tuple[str, ...]


@dataclass(frozen=True)
class MapChanges:
    """The maps of two runs by method, in display order.

    Attributes:
        equal: Method to the number of its maps that are bit-equal.
        moved: Method to the others, the largest distance first.
        unpaired: Maps without a counterpart.
    """

    equal: Mapping[str, int]
    moved: Mapping[str, Sequence[MovedMap]]
    unpaired: Sequence[Unpaired]


def changes(base: Records, new: Records) -> MapChanges:
    """Compare all maps of two runs; none where a run has no maps.

    Args:
        base: The run to compare with.
        new: The other run.
    """
    equal: dict[str, int] = {}
    moved: dict[str, list[MovedMap]] = {}
    lost: dict[tuple[str, str], list[str]] = {}
    if not (base.maps and new.maps):
        return MapChanges(equal, moved, [])
    places = (features(base), features(new))
    for method in _methods(base, new):
        old, now = base.maps.get(method, {}), new.maps.get(method, {})
        equal[method], moved[method] = 0, []
        for sample in dict.fromkeys([*old, *now]):
            reason = _reason(old, now, sample) or _other_features(places, sample)
            if reason:
                lost.setdefault((method, reason), []).append(sample)
            elif bit_equal(old[sample], now[sample]):
                equal[method] += 1
            else:
                moved[method].append(_moved(method, sample, old[sample], now[sample]))
        moved[method].sort(key=lambda m: (-m.distance, -np.nan_to_num(m.rank_distance)))
    unpaired = [Unpaired(method, why, tuple(ids)) for (method, why), ids in lost.items()]
    return MapChanges(equal, moved, unpaired)


def _methods(base: Records, new: Records) -> list[str]:
    """Methods with maps in either run, in display order."""
    named = [*styles.method_names(new.run), *styles.method_names(base.run)]
    kept = [*new.maps, *base.maps]
    return [m for m in dict.fromkeys([*named, *kept]) if m in kept and m != INPUTS]


def features(records: Records) -> dict[str, Mapping[str, Any]]:
    """What a run says of the features of its samples, by identifier."""
    return {str(s["sample_id"]): s.get("features") or {} for s in records.run.samples}


def _reason(old: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray], sample: str) -> str:
    for own, name in ((old, "base"), (now, "new")):
        if sample not in own:
            return f"no map in the {name} run"
    shapes = [" × ".join(map(str, own[sample].shape)) for own in (old, now)]
    same = old[sample].shape == now[sample].shape
    return "" if same else f"other shapes: {shapes[0]} in the base run, {shapes[1]} in the new run"


def _other_features(places: Sequence[Mapping[str, Mapping[str, Any]]], sample: str) -> str:
    old, now = (own.get(sample, {}) for own in places)
    differ = any(old.get(k) != now.get(k) for k in POINTS)
    return "other features: its entries belong to other words or points" if differ else ""


def bit_equal(base: np.ndarray, new: np.ndarray) -> bool:
    """Whether two maps have the same type, shape and bits.

    >>> bit_equal(np.array([1.0, np.nan]), np.array([1.0, np.nan]))
    True
    >>> bit_equal(np.zeros(2), np.zeros(2, dtype=np.float32)), bit_equal(np.zeros(1), -np.zeros(1))
    (False, False)
    """
    alike = base.shape == new.shape and base.dtype == new.dtype
    return alike and base.tobytes() == new.tobytes()


def _moved(method: str, sample: str, base: np.ndarray, new: np.ndarray) -> MovedMap:
    far = relative_distance(base, new)
    return MovedMap(method, sample, base, new, far, rank_distance(base, new))


def rank_distance(base: np.ndarray, new: np.ndarray) -> float:
    """Rank distance 1 - rho of two maps, with Spearman's rank correlation rho of |base| and |new|.

    It is rounded to 12 decimals, so that equal orders have the distance 0.

    Args:
        base: Any shape.
        new: The same shape.

    Returns:
        From 0 to 2; NaN where a map is constant or not finite.

    >>> rank_distance(np.array([1.0, -2.0, 3.0]), np.array([2.0, 4.0, 5.0]))
    0.0
    """
    rho = float(map_ranks.correlations([base, new])[0, 1])
    return round(1.0 - rho, 12) + 0.0  # adding 0.0 turns -0.0 into 0.0


def distance_text(value: float) -> str:
    """A distance as it is shown, "–" for none.

    >>> distance_text(0.25), distance_text(math.inf), distance_text(math.nan)
    ('0.25', '∞', '–')
    """
    return "–" if math.isnan(value) else number(value).replace("inf", "∞")


def relative_distance(base: np.ndarray, new: np.ndarray) -> float:
    """Relative L2 distance ||new - base|| / ||base|| of two maps of the same shape.

    It is infinite where the base map is zero and the new one is not, and where an entry is finite
    in one map alone or infinite with another sign.  Entries that are equally not finite in both
    maps take no part.

    Args:
        base: Any shape.
        new: The same shape.

    >>> relative_distance(np.array([3.0, 4.0]), np.array([3.0, -4.0]))
    1.6
    >>> relative_distance(np.zeros(2), np.zeros(2)), relative_distance(np.zeros(2), np.ones(2))
    (0.0, inf)
    >>> relative_distance(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    inf
    """
    old, now = np.asarray(base, dtype=float), np.asarray(new, dtype=float)
    finite = np.isfinite(old) & np.isfinite(now)
    if not np.array_equal(old[~finite], now[~finite], equal_nan=True):
        return math.inf
    old, now = old[finite], now[finite]
    unit = max(np.abs(old).max(initial=0.0), np.abs(now).max(initial=0.0)) or 1.0
    length = float(np.linalg.norm(old / unit))  # of entries up to 1, whose squares are finite
    gap = float(np.linalg.norm(now / unit - old / unit))
    if gap == 0:
        return 0.0
    return gap / length if length > 0 else math.inf
