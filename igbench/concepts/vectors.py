"""Concept activation vectors: linear classifiers of activations, by their inner products alone.

A classifier with an L2 penalty is a sum of its examples, so that all that is needed of D
activations are the inner products of N examples, however large D is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.linear_model import LogisticRegression

HELD_OUT = 3
"""One of so many pictures of a set is held out, to measure the accuracy of the vector."""


@dataclass(frozen=True, eq=False)
class Space:
    """Inner products of N examples.

    Attributes:
        gram: (N, N) of the standardised activations.
        lengths: (N, N) of what they add to a vector in the space of the activations themselves.
        slopes: (S, N) derivatives of the output of S samples along what each example adds.
    """

    gram: np.ndarray
    lengths: np.ndarray
    slopes: np.ndarray


@dataclass(frozen=True, eq=False)
class Vector:
    """One concept activation vector.

    Attributes:
        slopes: (S,) directional derivatives along it, per unit of length.
        accuracy: Share of the held-out examples on the right side, both sides counting the same.
    """

    slopes: np.ndarray
    accuracy: float


def make_space(examples: np.ndarray, pool: np.ndarray, gradients: np.ndarray) -> Space:
    """Inner products of examples, standardised by the mean and deviation of the random pool.

    Features that never vary in the pool are centred alone.

    Args:
        examples: (N, D) activations.
        pool: (P, D) activations of the random pool.
        gradients: (S, D) derivatives by the activations.
    """
    centre, scale = pool.mean(axis=0), pool.std(axis=0)
    scale = np.where(scale > 1e-10 * np.abs(pool).max(initial=0.0), scale, 1.0)
    standard = (examples - centre) / scale
    raw = standard / scale  # the gradient of a decision function by the activations themselves
    return Space(standard @ standard.T, raw @ raw.T, gradients @ raw.T)


def train(gram: np.ndarray, positive: np.ndarray, penalty: float = 1.0) -> tuple[np.ndarray, float]:
    """Logistic regression with an L2 penalty, scikit-learn's, as weights of its examples.

    Args:
        gram: (n, n) inner products.
        positive: (n,) whether an example belongs to the concept.
        penalty: The parameter C of scikit-learn: a larger one penalises less.

    Returns:
        Weights (n,) of the examples, and the intercept: the decision for an example with the inner
        products k (n,) is k . weights + intercept.

    >>> weights, intercept = train(np.diag([4.0, 4.0]), np.array([True, False]))
    >>> bool(np.allclose(weights[0], -weights[1])), abs(round(intercept, 6))
    (True, 0.0)
    """
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-10 * values[-1]
    if not kept.any():
        return np.zeros(len(gram)), 0.0
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    model = LogisticRegression(C=penalty, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        model.fit(vectors * roots, positive)
    return vectors @ (model.coef_[0] / roots), float(model.intercept_[0])


def vector(space: Space, concept: np.ndarray, random: np.ndarray) -> Vector:
    """The vector that points from random examples to those of a concept.

    The last third of both is held out.

    Args:
        space: Inner products of all examples.
        concept: (n,) positions of examples of the concept.
        random: (n,) positions of random examples.
    """
    held = max(1, len(concept) // HELD_OUT)
    rows = np.concatenate([concept[:-held], random[:-held]])
    tested = np.concatenate([concept[-held:], random[-held:]])
    half = len(rows) // 2
    weights, intercept = train(space.gram[np.ix_(rows, rows)], np.arange(len(rows)) < half)
    decision = space.gram[np.ix_(tested, rows)] @ weights + intercept
    right = np.where(np.arange(len(tested)) < held, decision, -decision)
    length = float(np.sqrt(max(0.0, weights @ space.lengths[np.ix_(rows, rows)] @ weights)))
    slopes = space.slopes[:, rows] @ weights
    return Vector(
        slopes / length if length > 0 else np.zeros_like(slopes),
        float(np.mean((right > 0) + 0.5 * (right == 0))),
    )
