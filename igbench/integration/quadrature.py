"""Quadrature rules on [0, 1]: where along a path the gradient is taken, and with which weight."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np

from igbench.errors import InputError, check_choice

NEAR = 0.1
"""Share of the path, next to the baseline, where the logarithmic rules put most nodes."""

MOST_GAUSS = 4096
"""Nodes of Gauss and Legendre at most: they are eigenvalues of a matrix with n x n entries."""

_LEAST = {"trapezoid": 2, "simpson": 3, "clenshaw_curtis": 2, "captum_trapezoid": 2}


Rule: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Nodes and weights, (n,) each."""


@lru_cache(maxsize=256)
def nodes_and_weights(rule: str, n: int) -> Rule:
    """Nodes in [0, 1] in rising order and weights that sum to 1, both (n,) float64.

    | rule | nodes | weights | exact for gradients of degree |
    |---|---|---|---|
    | left | k/n, k = 0..n-1 | 1/n | 0 |
    | right | k/n, k = 1..n (Sundararajan et al. 2017, eq. 3) | 1/n | 0 |
    | middle | (k - 1/2)/n, k = 1..n | 1/n | 1 |
    | trapezoid | k/(n-1), k = 0..n-1 | 1/(n-1), half at both ends | 1 |
    | simpson | k/(n-1), n odd | 1, 4, 2, 4, ..., 4, 1 times 1/(3(n-1)) | 3 |
    | gauss_legendre | roots of Legendre's P_n | its weights / 2 | 2n - 1 |
    | clenshaw_curtis | (1 - cos(k pi/(n-1)))/2 | integrals of the interpolant | n - 1 |
    | log_middle | middles of cells that grow geometrically from the baseline | their widths | 0 |
    | captum_trapezoid | k/(n-1) | 1/n, half at both ends: they sum to (n-1)/n | none |

    `log_middle` takes a = c((1 + 1/c)^u - 1) with c = 0.1 and the middle rule in u: most activation
    patterns of a network change near the baseline, with a density that falls like 1/(a + c)^2.

    `captum_trapezoid` is Captum's `riemann_trapezoid`, kept for comparison: on a linear model it
    loses a share 1/n of every attribution.

    Args:
        rule: One of `RULES`.
        n: Number of nodes.

    Raises:
        InputError: Unknown rule, or a number of nodes that it does not have.

    >>> nodes, weights = nodes_and_weights("simpson", 3)
    >>> nodes.tolist(), (6 * weights).round(6).tolist()
    ([0.0, 0.5, 1.0], [1.0, 4.0, 1.0])
    >>> float(weights @ nodes**3)  # the integral of a^3, exactly
    0.25
    """
    check_rule(rule, n)
    nodes, weights = _TABLE[rule](n)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def check_rule(rule: str, n: int) -> None:
    """Raise unless a rule exists for a number of nodes.

    Args:
        rule: One of `RULES`.
        n: Number of nodes.

    Raises:
        InputError: Unknown rule, or a number of nodes that it does not have.

    >>> check_rule("simpson", 4)
    Traceback (most recent call last):
    igbench.errors.InputError: n_steps is 4; Simpson's rule needs an odd number, say 5.
    """
    check_choice("quadrature rule", rule, RULES)
    least = _LEAST.get(rule, 1)
    if n < least:
        raise InputError(f"n_steps is {n}; the rule {rule!r} needs at least {least}.")
    if rule == "simpson" and n % 2 == 0:
        raise InputError(f"n_steps is {n}; Simpson's rule needs an odd number, say {n + 1}.")
    if rule == "gauss_legendre" and n > MOST_GAUSS:
        raise InputError(
            f"n_steps is {n}; the nodes of gauss_legendre are found for {MOST_GAUSS} at most; set "
            "another rule, as middle."
        )


def _left(n: int) -> Rule:
    return np.arange(n) / n, np.full(n, 1 / n)


def _right(n: int) -> Rule:
    return np.arange(1, n + 1) / n, np.full(n, 1 / n)


def _middle(n: int) -> Rule:
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def _trapezoid(n: int) -> Rule:
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return np.arange(n) / (n - 1), weights


def _captum_trapezoid(n: int) -> Rule:
    nodes, weights = _trapezoid(n)
    return nodes, weights * (n - 1) / n


def log_warp(u: np.ndarray) -> np.ndarray:
    """The map a(u) = c((1 + 1/c)^u - 1) with c = `NEAR`: [0, 1] to itself, dense near 0."""
    return NEAR * np.expm1(u * np.log1p(1 / NEAR))


def log_warp_slope(u: np.ndarray) -> np.ndarray:
    """Derivative da/du of `log_warp`."""
    return NEAR * np.log1p(1 / NEAR) * np.exp(u * np.log1p(1 / NEAR))


def _log_middle(n: int) -> Rule:
    widths = np.diff(log_warp(np.arange(n + 1) / n))
    return log_warp((np.arange(n) + 0.5) / n), widths / widths.sum()


def _simpson(n: int) -> Rule:
    weights = np.full(n, 2.0)
    weights[1::2] = 4
    weights[[0, -1]] = 1
    return np.arange(n) / (n - 1), weights / (3 * (n - 1))


def _clenshaw_curtis(n: int) -> Rule:
    """Weights by Waldvogel 2006, eq. 2.5: the inverse Fourier transform of known moments."""
    intervals = n - 1
    nodes = (1 - np.cos(np.pi * np.arange(n) / intervals)) / 2
    if intervals == 1:
        return nodes, np.array([0.5, 0.5])
    k = np.arange(1, intervals // 2 + 1)
    b = np.where(2 * k == intervals, 1.0, 2.0)
    angles = 2 * np.pi * np.outer(np.arange(n), k) / intervals
    weights = (1 - (b / (4 * k**2 - 1) * np.cos(angles)).sum(axis=1)) / intervals
    weights[[0, -1]] /= 2
    return nodes, weights


def _gauss_legendre(n: int) -> Rule:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (1 + nodes) / 2, weights / 2


_TABLE = {
    "left": _left,
    "right": _right,
    "middle": _middle,
    "trapezoid": _trapezoid,
    "simpson": _simpson,
    "gauss_legendre": _gauss_legendre,
    "clenshaw_curtis": _clenshaw_curtis,
    "log_middle": _log_middle,
    "captum_trapezoid": _captum_trapezoid,
}
RULES = tuple(_TABLE)
"""Names of the rules."""
