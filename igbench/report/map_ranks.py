"""Rank correlation of maps: how alike two methods put the features of a sample in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def correlations(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Spearman's rank correlation of |a| between every pair of maps of a sample.

    Magnitudes are compared, so that maps without a sign take part; ties get their mean rank.

    Args:
        maps: K maps of one sample, of any shapes.

    Returns:
        (K, K), 1 on the diagonal; NaN where a map is constant or not finite, or shapes differ.

    >>> correlations([np.array([1.0, -2.0, 3.0]), np.array([3.0, 2.0, 1.0])]).round(2).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    ranks = [_ranks(np.asarray(a)) for a in maps]
    found = np.full((len(maps), len(maps)), math.nan)
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks):
            if maps[i].shape == maps[j].shape:
                found[i, j] = float(np.clip(a @ b, -1.0, 1.0))
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of |a|, centred and of length 1, so that a product is a correlation; NaN if flat."""
    flat = np.abs(values.astype(float)).ravel()
    if not np.isfinite(flat).all():
        return np.full(flat.shape, math.nan)
    centred = pd.Series(flat).rank().to_numpy() - (flat.size + 1) / 2
    size = float(np.linalg.norm(centred))
    return centred / size if size > 0 else np.full(flat.shape, math.nan)


def mean_correlation(maps: Sequence[np.ndarray]) -> float:
    """Mean of `correlations` over the pairs where it exists; NaN where there is none.

    >>> round(mean_correlation([np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.zeros(2)]), 9)
    -1.0
    """
    found = correlations(maps)
    pairs = found[np.triu_indices(len(maps), 1)]
    known = pairs[np.isfinite(pairs)]
    return float(known.mean()) if known.size else math.nan


def between(
    maps: Sequence[Mapping[str, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over samples of `correlations` between K sets of maps.

    Args:
        maps: For each of K, sample id to map.

    Returns:
        (K, K) means over the samples where a pair has a value, NaN for none; and (K, K) the numbers
        of these samples.
    """
    shared = [s for s in (maps[0] if maps else ()) if all(s in own for own in maps)]
    stack = [correlations([own[s] for own in maps]) for s in shared]
    if not stack:
        return np.full((len(maps),) * 2, math.nan), np.zeros((len(maps),) * 2, dtype=int)
    whole = np.array(stack)
    known = np.isfinite(whole)
    counts = known.sum(axis=0)
    total = np.where(known, whole, 0.0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), math.nan), counts
