"""Where along a path is the gradient taken, and with which weight?  Quadrature rules on [0, 1]."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from igbench.checks import InputError, known_name

RULES = ("left", "right", "middle", "trapezoid", "gauss_legendre")


@lru_cache(maxsize=256)
def nodes_and_weights(rule: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] in rising order and weights that sum to 1, both (n,) float64.

    | rule | nodes | weights | error for smooth functions |
    |---|---|---|---|
    | left | k/n, k = 0..n-1 | 1/n | O(1/n) |
    | right | k/n, k = 1..n (Sundararajan et al. 2017, eq. 3) | 1/n | O(1/n) |
    | middle | (k - 1/2)/n, k = 1..n | 1/n | O(1/n^2) |
    | trapezoid | k/(n-1), k = 0..n-1 | 1/(n-1), half at both ends | O(1/n^2) |
    | gauss_legendre | roots of Legendre's P_n | its weights / 2 | exact to degree 2n-1 |

    Captum's `riemann_trapezoid` has weights 1/n on the trapezoid's nodes, which sum to (n-1)/n;
    ours sum to 1.

    Raises:
        InputError: Unknown rule, or fewer nodes than it needs.
    """
    known_name("quadrature rule", rule, RULES)
    least = 2 if rule == "trapezoid" else 1
    if n < least:
        raise InputError(f"n_steps is {n}; the rule {rule!r} needs at least {least}.")
    nodes, weights = _TABLE[rule](n)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def _left(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n) / n, np.full(n, 1 / n)


def _right(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, n + 1) / n, np.full(n, 1 / n)


def _middle(n: int) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def _trapezoid(n: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return np.arange(n) / (n - 1), weights


def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (1 + nodes) / 2, weights / 2


_TABLE = {
    "left": _left,
    "right": _right,
    "middle": _middle,
    "trapezoid": _trapezoid,
    "gauss_legendre": _gauss_legendre,
}
