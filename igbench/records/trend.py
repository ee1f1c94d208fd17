"""Change points of the means over releases, by Pelt with the squared error (`ruptures`)."""

from __future__ import annotations

import itertools
import math

import numpy as np

LEAST = 8
"""Releases below which there are no change points: neighbours are compared instead."""
FACTOR = 4.0
"""Of the penalty; at 4, white noise has a change point in 6 % of series of 8 and 2 % of 20."""


def penalty(means: np.ndarray, min_effect: float) -> float:
    """What a further change point must explain, in squared units of the metric.

    max(4 s^2 ln n, min_effect^2 / 2): s^2 is half the mean squared difference between neighbours
    (von Neumann 1941), which a step moves little; the second is what a step of `min_effect` between
    two releases explains, for scores that repeat to the last bit.

    Args:
        means: (n,) mean of each release.
        min_effect: Smallest difference of means that is worth a verdict.

    >>> penalty(np.array([0.0, 0.0, 0.0, 0.0]), 0.2)
    0.02...
    """
    noise = float(np.mean(np.diff(means) ** 2)) / 2
    return max(FACTOR * noise * math.log(len(means)), min_effect**2 / 2)


def change_points(means: np.ndarray, min_effect: float) -> list[int]:
    """Places of the first releases after a change of the level, ascending.

    The segmentation with the least sum of squared errors plus `penalty` times the number of its
    change points (Killick, Fearnhead and Eckley 2012), without steps smaller than `min_effect`.
    None of fewer than `LEAST` releases, and none where `min_effect` is infinite.

    Args:
        means: (n,) finite mean of each release.
        min_effect: Smallest difference of means that is worth a verdict.

    >>> change_points(np.array([1.0, 1, 1, 1, 1, 3, 3, 3]), 0.1), change_points(np.ones(9), 0.1)
    ([5], [])
    """
    if len(means) < LEAST or not math.isfinite(min_effect) or not np.ptp(means) >= min_effect:
        return []
    import ruptures

    # The linear kernel is the squared error; this search is Pelt, in C.
    search = ruptures.KernelCPD(kernel="linear", min_size=1).fit(means[:, None] - means[0])
    places = [int(i) for i in search.predict(pen=penalty(means, min_effect))[:-1]]
    while places:
        levels = [means[a:b].mean() for a, b in itertools.pairwise([0, *places, len(means)])]
        steps = np.abs(np.diff(levels))
        least = int(np.argmin(steps))
        if steps[least] >= min_effect:
            break
        del places[least]
    return places
