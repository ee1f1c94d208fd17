"""Testing with concept activation vectors (TCAV): does a concept move the output of a class?

A *vector* of a concept is the unit normal of a linear classifier between the activations of n
pictures of the concept and n random ones, and points to the concept.  The derivative of a sample's
output along it says whether more of the concept raises the output; the *score* is the share of
samples where it does, the *magnitude* its mean.  Both are means over many random sets.

The test.  All vectors of a concept share its pictures, so that they say the same again and again,
however little that is: a test that takes them as independent, against vectors of random sets
(Welch's, say), finds most sets of arbitrary pictures to be significant concepts.  The unit here is
the set of pictures.  Random sets take the place of the concept, each against random sets of its
own; exchanging both sides of a classifier turns its vector around, so the magnitudes of random sets
are symmetric about 0, and the magnitude of the concept is compared with their root mean square s in
a two-sided t-test.  Its degrees of freedom, 1 / (1 / sets + 1 / (pool - 1)), count that sets come
from one pool.  The magnitude is tested and not the score, which saturates: where only pooling and a
linear layer follow, all samples have the same derivative, and the score of a vector is 0 or 1.

`captum.concept` is not what computes this: it finds activations again by the *name* of a model in a
folder, so that a second model of that name gets those of the first, and its classifier and its
split draw from unseeded global generators.

Source: Kim et al. 2018, "Interpretability Beyond Feature Attribution: Quantitative Testing with
Concept Activation Vectors (TCAV)" (ICML), sec. 3.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from igbench.concepts.activations import Positions, activations, derivatives, find_layer
from igbench.concepts.vectors import Vector, make_space, vector
from igbench.core import rng
from igbench.core.score import Score
from igbench.errors import InputError, check_choice, check_whole
from igbench.schema import ConceptScore

log = logging.getLogger(__name__)

LEAST_SETS = 30
LEAST_PICTURES = 10
"""Smallest number of pictures of a concept, and of a set."""
LEAST_ACCURACY = 0.7
"""Below this accuracy on held-out pictures the layer does not hold the concept as a direction."""
OPPONENTS = 5
"""Random sets against which a random set is compared.  A concept is compared with more, which makes
the magnitudes of random sets a little larger than those of a random concept, and never smaller."""


@dataclass(frozen=True, eq=False)
class Subjects:
    """Samples of one class.

    Attributes:
        name: Of the class.
        x: (S, *F).
        target: (S,) the class of each that is explained; None for a model with a single output.
    """

    name: str
    x: Tensor
    target: Tensor | None


@dataclass(frozen=True, eq=False)
class Vectors:
    """What vectors of one set, or of several, say of the samples.

    Attributes:
        slopes: (V, S) derivatives of S samples along V vectors.
        accuracy: (V,) on held-out pictures.
    """

    slopes: np.ndarray
    accuracy: np.ndarray

    def scores(self, part: slice) -> np.ndarray:
        """Share of the samples in a part with a positive derivative, (V,)."""
        return (self.slopes[:, part] > 0).mean(axis=1)

    def magnitudes(self, part: slice) -> np.ndarray:
        """Mean derivative of the samples in a part, (V,)."""
        return self.slopes[:, part].mean(axis=1)


def concept_scores(
    score: Score,
    layer: str,
    subjects: Sequence[Subjects],
    concepts: Mapping[str, Tensor],
    pool: Tensor,
    *,
    sets: int = LEAST_SETS,
    positions: Positions = "mean",
    seed: int = 0,
) -> list[ConceptScore]:
    """Score every concept for every class; p-values are not corrected for their number.

    Nothing of the numbers of a concept depends on the other concepts, nor on the batch size beyond
    rounding.  Cost: one forward for each picture, one gradient for each sample.

    Args:
        score: The explained output.
        layer: Name of a layer of its model.
        subjects: Samples of each class.
        concepts: Pictures (n, *F) of each concept, as the model takes them.
        pool: (P, *F) random pictures, among which random sets are drawn; see `random_pool`.
        sets: Random sets for each concept, and in the place of a concept.
        positions: "mean": a picture has one activation for each channel, its mean over the places;
            "all": every number of the layer is a feature, as in the paper.
        seed: Of the draws.

    Raises:
        InputError: Too few pictures or sets, no samples, or an unsuitable layer.
    """
    check_whole("sets", sets, least=LEAST_SETS)
    check_choice("positions", positions, ("mean", "all"))
    check_pictures({name: len(x) for name, x in concepts.items()}, len(pool))
    if not subjects or not all(len(s.x) for s in subjects):
        raise InputError("there are no samples of the class to explain.")
    module = find_layer(score.model, layer)
    gradients = [derivatives(score, module, s.x, s.target, positions) for s in subjects]
    stacked, ends = np.concatenate(gradients), np.cumsum([len(g) for g in gradients])
    parts = [slice(end - len(g), end) for g, end in zip(gradients, ends, strict=True)]
    _report_constant(stacked, parts, layer)
    drawn = activations(score, module, pool, positions)
    null: dict[int, Vectors] = {}
    found = []
    for name, pictures in concepts.items():
        own = activations(score, module, pictures, positions)
        size = set_size(len(own), len(drawn))
        if size not in null:
            null[size] = random_vectors(drawn, stacked, size, sets=sets, seed=seed)
        vectors = concept_vectors(name, own, drawn, stacked, size, sets=sets, seed=seed)
        for one, part in zip(subjects, parts, strict=True):
            line = summary(vectors, null[size], part, len(drawn))
            line = replace(
                line, concept=name, target=one.name, layer=layer, n_samples=len(one.x),
                n_pictures=len(own), n_random=len(drawn), n_set=size,
            )  # fmt: skip
            found.append(with_interval(line))
    return found


def check_pictures(counts: Mapping[str, int], pool: int) -> None:
    """Raise unless there are enough pictures of every concept, and random ones.

    Args:
        counts: Pictures of each concept.
        pool: Pictures in the random pool.

    Raises:
        InputError: Too few; the message says how many there are.

    >>> check_pictures({"dots": 3}, 100)
    Traceback (most recent call last):
    igbench.errors.InputError: concept 'dots' has 3 pictures; at least 10 are needed, and 50 or more
    make the vector steadier.
    """
    if not counts:
        raise InputError("no concept is given; set concept=DIR to a folder with pictures of it.")
    for name, count in counts.items():
        if count < LEAST_PICTURES:
            raise InputError(
                f"concept {name!r} has {count} pictures; at least {LEAST_PICTURES} are needed, and "
                "50 or more make the vector steadier."
            )
    if pool < 2 * LEAST_PICTURES:
        raise InputError(
            f"there are {pool} random pictures, beside those of the concepts; at least "
            f"{2 * LEAST_PICTURES} are needed for two sets that share none. Set random=DIR to a "
            "folder with more."
        )


def set_size(pictures: int, pool: int) -> int:
    """Pictures of a set: all of the concept, or half of the pool, so that two sets share none.

    >>> set_size(40, 100), set_size(40, 50)
    (40, 25)
    """
    return min(pictures, pool // 2)


def random_pool(pool: Tensor, concepts: Mapping[str, Tensor]) -> Tensor:
    """The pictures of a pool that are none of a concept, and none twice.

    Args:
        pool: (P, *F).
        concepts: Pictures (n, *F) by concept.
    """
    seen = {_content(x) for pictures in concepts.values() for x in pictures}
    kept = []
    for i, x in enumerate(pool):
        if _content(x) not in seen:
            seen.add(_content(x))
            kept.append(i)
    return pool[kept]


def digest(pictures: Tensor) -> str:
    """SHA-256 over pictures as the model takes them, 64 hexadecimal digits."""
    return hashlib.sha256(_content(pictures)).hexdigest()


def _content(x: Tensor) -> bytes:
    return x.detach().cpu().contiguous().numpy().tobytes()


def concept_vectors(
    name: str,
    concept: np.ndarray,
    pool: np.ndarray,
    gradients: np.ndarray,
    size: int,
    *,
    sets: int,
    seed: int,
) -> Vectors:
    """Vectors of a concept against random sets, one for each.

    Args:
        name: Of the concept, the key of its draws.
        concept: (n, D) activations.
        pool: (P, D) activations of the random pool.
        gradients: (S, D) derivatives of the samples by the activations.
        size: Pictures of a set.
        sets: Number of random sets.
        seed: Of the draws.
    """
    space = make_space(np.concatenate([concept, pool]), pool, gradients)
    vectors = []
    for draw in range(sets):
        own = _order(seed, "tcav concept", name, draw, len(concept))[:size]
        others = _order(seed, "tcav random", name, draw, len(pool))[:size] + len(concept)
        vectors.append(vector(space, own, others))
    return _stacked(vectors)


def random_vectors(
    pool: np.ndarray, gradients: np.ndarray, size: int, *, sets: int, seed: int
) -> Vectors:
    """What vectors of random sets say, each the mean over opponents that share no picture with it.

    Args:
        pool: (P, D) activations of the random pool.
        gradients: (S, D) derivatives of the samples by the activations.
        size: Pictures of a set.
        sets: Number of random sets in the place of a concept.
        seed: Of the draws.

    Returns:
        Slopes (sets * OPPONENTS, S), those of one set together.
    """
    space = make_space(pool, pool, gradients)
    vectors = []
    for number in range(sets):
        order = _order(seed, "tcav null", "", number, len(pool))
        own, rest = order[:size], order[size:]
        for draw in range(OPPONENTS):
            shuffled = own[_order(seed, "tcav null own", str(number), draw, size)]
            others = rest[_order(seed, "tcav null random", str(number), draw, len(rest))[:size]]
            vectors.append(vector(space, shuffled, others))
    return _stacked(vectors)


def _order(seed: int, purpose: str, name: str, draw: int, n: int) -> np.ndarray:
    return torch.randperm(n, generator=rng.generator(seed, purpose, name, draw)).numpy()


def _stacked(vectors: Sequence[Vector]) -> Vectors:
    return Vectors(np.stack([v.slopes for v in vectors]), np.array([v.accuracy for v in vectors]))


def summary(vectors: Vectors, null: Vectors, part: slice, pool: int) -> ConceptScore:
    """The line of one concept and class, without the names and counts of pictures.

    Args:
        vectors: Of the concept, one for each random set.
        null: From `random_vectors`.
        part: Samples of the class.
        pool: Pictures in the random pool.
    """
    sets = len(vectors.accuracy)
    scores, magnitude = vectors.scores(part), float(vectors.magnitudes(part).mean())
    of_sets = null.magnitudes(part).reshape(-1, OPPONENTS).mean(axis=1)
    null_scores = null.scores(part).reshape(-1, OPPONENTS).mean(axis=1)
    spread = float(np.sqrt(np.mean(of_sets**2)))
    freedom = 1 / (1 / len(of_sets) + 1 / (pool - 1))
    p = float(2 * stats.t.sf(abs(magnitude) / spread, freedom)) if spread > 0 else math.nan
    accuracy = float(vectors.accuracy.mean())
    low, high = np.quantile(scores, (0.025, 0.975))
    null_low, null_high = np.quantile(null_scores, (0.025, 0.975))
    line = ConceptScore(
        concept="", target="", layer="",
        score=float(scores.mean()), score_low=float(low), score_high=float(high),
        null_low=float(null_low), null_high=float(null_high),
        magnitude=magnitude, null_magnitude=spread,
        critical=float(stats.t.ppf(0.975, freedom)) * spread,
        accuracy=accuracy, accuracy_low=math.nan, accuracy_high=math.nan,
        p_value=p, p_holm=math.nan,
        n_samples=0, n_sets=sets, n_pictures=0, n_random=pool, n_set=0,
    )  # fmt: skip
    if accuracy < LEAST_ACCURACY:
        return _undefined(
            line,
            f"the classifiers are right on {accuracy:.0%} of held-out pictures, less than "
            f"{LEAST_ACCURACY:.0%}: this layer does not hold the concept as a direction",
        )
    if not spread > 0:
        return _undefined(line, "the output has no derivative by this layer for these samples")
    return line


def with_interval(line: ConceptScore) -> ConceptScore:
    """The same with the interval of its accuracy, as if of every picture of two sets once.

    Wilson's interval at 95 %; pictures are the unit, however many classifiers they take part in.
    """
    n = 2 * line.n_set
    found = stats.binomtest(round(line.accuracy * n), n).proportion_ci(method="wilson")
    return replace(line, accuracy_low=float(found.low), accuracy_high=float(found.high))


def _undefined(line: ConceptScore, reason: str) -> ConceptScore:
    nothing = math.nan
    return replace(
        line, score=nothing, score_low=nothing, score_high=nothing, magnitude=nothing,
        p_value=nothing, status="undefined", reason=reason,
    )  # fmt: skip


def _report_constant(gradients: np.ndarray, parts: Sequence[slice], layer: str) -> None:
    """Say where a score can be 0 or 1 alone."""
    for part in parts:
        own = gradients[part]
        if len(own) > 1 and np.abs(own - own[0]).max() <= 1e-6 * np.abs(own).max():
            log.warning(
                "all samples of a class have the same derivative by %r, so that the score of one "
                "vector is 0 or 1, and the magnitude says the rest; an earlier layer tells samples "
                "apart",
                layer,
            )
            return
