"""The ceiling of removal metrics: the order of patches that a greedy search finds best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import perturb
from igbench.core.batch import Batch
from igbench.core.features import Features
from igbench.core.players import players, unit_of
from igbench.errors import NotDefinedError, check_choice, check_whole
from igbench.methods.base import BaseMethod

Worth = Callable[[Tensor], Tensor]
"""Sets of features that come first, (D, G) boolean, to what they are worth, (D,)."""

ACROSS = 7
"""Patches along the short side of an image by default: 32 x 32 pixels each of 224 x 224."""


@dataclass(frozen=True)
class BestFound(BaseMethod):
    """The best order of patches that a greedy search finds: a ceiling for removal metrics.

    It explains nothing: it asks the model itself which patch to remove next, and its map holds the
    order, from 1 for the first element down to 1 / E for the last of E, with no two equal.  A
    removal metric of this map is what is reachable, as that of a random map is what is for free.
    With S_k the first k of G patches in the order, the search maximises the sum over k of

    - "deletion": -f(x without S_k), the area that `Deletion` measures;
    - "insertion": f(only S_k), the area that `Insertion` measures;
    - "srg": f(only S_k) - f(x without S_k), `SymmetricRelevanceGain` in steps of one patch.

    The order grows from both ends, in turn: the next patch at the front, and at the back, is the
    one with the largest term among all that remain.  This is the best order that was found, not the
    best there is: where patches matter only together, no first step shows it, and a map that ranks
    single pixels can beat every order of patches.  The order within a patch is that of its pixels.

    Patches of unequal size are ordered by their elements, so a metric that removes them as units
    may see another order.  Cost: G (G + 1) / 2 - 1 forwards for each sample, twice that for "srg".

    Args:
        criterion: "srg", "deletion" or "insertion".
        features: Patches, or other groups, see `igbench.core.players.players`.  None: the feature
            numbers of the batch where it has them, 7 x 7 patches of images, time steps or voxels
            of other samples with channels, and elements of vectors.
        occluder: Replacement of removed features, see `igbench.core.perturb.occluded`.  None: the
            default of the metric of that name: "zero" for images ("blur" for "insertion"),
            "baseline" otherwise.
        scalar: Output that is tracked: "score" (what is explained), "logit" or "probability".
            None: "probability" for images and a model of several outputs, "score" otherwise.
        max_features: Largest G; samples with more are not defined.

    Raises:
        InputError: An unknown criterion, occluder or scalar; fewer than two features.
        NotDefinedError: More features than `max_features`.

    Source: Wang and Wang 2024, "Benchmarking deletion metrics with the principled explanations"
    (ICML), who search for the explanation that deletion and insertion rate best.

    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, 3.0, 2.0])  # for a linear f the order is the best
    >>> (3 * explain(BestFound(), f, torch.ones(1, 3))).round().tolist()
    [[1.0, 3.0, 2.0]]
    """

    foldable = True

    criterion: Literal["srg", "deletion", "insertion"] = "srg"
    features: str | Tensor | None = None
    occluder: str | None = None
    scalar: Literal["score", "logit", "probability"] | None = None
    max_features: int = 256

    label = "Best order found ({criterion})"
    reference = "Wang, Wang 2024"
    kind = "local"
    signed = False
    role = "ceiling"
    needs_gradient = False
    explains_again: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("criterion", self.criterion, ("srg", "deletion", "insertion"))
        perturb.check_removal(self.scalar, self.occluder)
        check_whole("max_features", self.max_features, least=2)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        fill = perturb.occluded(batch, self._occluder(batch))
        return torch.stack([self._one(batch, i, fill[i]) for i in range(len(batch))]).to(batch.x)

    def _occluder(self, batch: Batch) -> str:
        images = "blur" if self.criterion == "insertion" else "zero"
        return self.occluder or (images if batch.x.dim() == 4 else "baseline")

    def _one(self, batch: Batch, i: int, fill: Tensor) -> Tensor:
        features = players(self._unit(batch), batch, i)
        if features.count > self.max_features:
            raise NotDefinedError(
                f"best_found tries every remaining feature at every step, which is too much for "
                f"{features.count} features; set features=patch:P with larger patches, or raise "
                f"max_features above {self.max_features}."
            )
        order = greedy(self._worth(batch, i, fill, features), features.count)
        return as_map(order, features)

    def _unit(self, batch: Batch) -> str | Tensor | None:
        if self.features is not None or isinstance(batch.features, Tensor):
            return self.features
        shape = tuple(batch.x.shape[1:])
        images = len(shape) == 3
        return f"patch:{max(1, round(min(shape[1:]) / ACROSS))}" if images else unit_of(shape)

    def _worth(self, batch: Batch, i: int, fill: Tensor, features: Features) -> Worth:
        single = batch.target is None or batch.x.dim() != 4
        score = perturb.tracked(batch.score, self.scalar or ("score" if single else "probability"))
        x = batch.x[i]

        def without(removed: Tensor) -> Tensor:
            build = perturb.removals(x, fill, removed, features)
            found = score.evaluate_draws(
                len(removed), batch.target_of(i), build, device=x.device, full=True
            )
            return found.double().cpu()

        if self.criterion == "deletion":
            return lambda first: -without(first)
        if self.criterion == "insertion":
            return lambda first: without(~first)
        return lambda first: without(~first) - without(first)


def greedy(worth: Worth, count: int) -> Tensor:
    """An order of G features that makes the sum of `worth` over its beginnings large, (G,).

    Grows from both ends in turn.  Of equals, the feature with the smaller number is taken.

    Args:
        worth: Maps beginnings of an order, as sets (D, G), to (D,).
        count: G.

    >>> c = torch.tensor([1.0, 3.0, 2.0])
    >>> greedy(lambda first: first.float() @ c, 3).tolist()
    [1, 2, 0]
    """
    ends: tuple[list[int], list[int]] = ([], [])  # from the front inwards, from the back inwards
    first, last = (torch.zeros(count, dtype=torch.bool) for _ in range(2))
    for step in range(count - 1):
        rest = (~(first | last)).nonzero()[:, 0]
        one = torch.nn.functional.one_hot(rest, count).bool()
        at_back = step % 2
        sets = ~(last | one) if at_back else first | one
        best = int(rest[worth(sets).argmax()])
        ends[at_back].append(best)
        (first, last)[at_back][best] = True
    middle = (~(first | last)).nonzero()[:, 0].tolist()
    return torch.tensor([*ends[0], *middle, *reversed(ends[1])])


def as_map(order: Tensor, features: Features) -> Tensor:
    """An order of features as a map without ties, (*F) float64: 1 for the first, 1 / E at last.

    Within a feature, positions fall in reading order and, within a position, channels do, so that
    sums over channels have the same order.

    >>> from igbench.core.features import resolve
    >>> as_map(torch.tensor([1, 0]), resolve("patch:1", (2, 1, 2))).tolist()
    [[[0.5, 1.0]], [[0.25, 0.75]]]
    """
    shape = features.index.shape
    place = torch.empty(features.count, dtype=torch.long)
    place[order] = torch.arange(features.count)
    each = place[features.index.cpu()].view(shape[0], -1).T.flatten()  # channels run fastest
    values = torch.empty(len(each), dtype=torch.float64)
    values[each.argsort(stable=True)] = torch.arange(len(each), 0, -1).double() / len(each)
    return values.view(-1, shape[0]).T.reshape(shape)
