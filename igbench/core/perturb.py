"""Perturbations of inputs: subset masks, rankings, and values in place of removed features.

Pure functions of their arguments; randomness comes in as keys (see `igbench.core.rng`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError, check_choice

OCCLUDERS = ("baseline", "zero", "mean", "blur")
"""Values in place of removed features that samples of any kind, or images, have."""
TEXT_OCCLUDERS = ("mask", "pad", "unk", "hide", "delete")
"""Those that texts have beside "baseline", "zero" and "mean" (of all word embeddings)."""


def occluded(batch: Batch, occluder: str) -> Tensor:
    """Values in place of removed features, (N, *F).

    Args:
        batch: Samples.
        occluder: "baseline" (the batch's own), "zero" (in the space of the model: the mean grey of
            normalised photographs), "mean" (of each channel of the sample) or "blur" (the blur of
            RISE: an 11 x 11 kernel that is nearly a box); or a name of `Batch.replacements`, as
            texts have them.

    Raises:
        InputError: Unknown occluder, or one that needs images.
    """
    if occluder == "baseline":
        return batch.baseline
    if occluder in batch.replacements:
        return batch.replacements[occluder]
    if occluder == "zero":
        return torch.zeros_like(batch.x)
    if occluder == "mean" and batch.x.dim() >= 3:
        axes = tuple(range(2, batch.x.dim()))
        return batch.x.mean(dim=axes, keepdim=True).expand_as(batch.x)
    if occluder == "blur" and batch.x.dim() == 4:
        return rise_blur(batch.x)
    raise NotDefinedError(
        f"occluder {occluder!r} does not fit inputs of shape {tuple(batch.x.shape)}; known: "
        f"{', '.join(dict.fromkeys((*OCCLUDERS, *batch.replacements)))} ('mean' and 'blur' need "
        "images)."
    )


def check_removal(scalar: str | None, occluder: str | None) -> None:
    """Raise on an unknown output to track, or an unknown occluder; None is decided later."""
    check_choice("scalar", scalar or "score", ("score", "logit", "probability"))
    check_choice("occluder", occluder or "baseline", (*OCCLUDERS, *TEXT_OCCLUDERS))


def tracked(score: Score, scalar: str | None) -> Score:
    """The output that a metric tracks: that which is explained ("score"), or another readout."""
    return score if scalar in (None, "score") else score.as_output(scalar)  # type: ignore[arg-type]


def rise_blur(x: Tensor) -> Tensor:
    """The blur of RISE (Petsiuk et al. 2018): kernel 11, sigma 5, zero padding; (N, C, H, W).

    Its kernel is a delta in an 11 x 11 window smoothed by a reflecting Gaussian of sigma 5, so the
    largest weight is only 1.14 times the smallest.
    """
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    kernel = torch.from_numpy(ndimage.gaussian_filter(delta, 5)).to(x)
    channels = x.shape[1]
    return torch.nn.functional.conv2d(
        x, kernel.expand(channels, 1, 11, 11), padding=5, groups=channels
    )


def remove(x: Tensor, fill: Tensor, removed: Tensor, features: Features) -> Tensor:
    """Replace the removed features of one sample, once for each mask.

    Args:
        x: (*F) the sample.
        fill: (*F) what replaces it.
        removed: (D, G), true where a feature is removed.
        features: The G features.

    Returns:
        (D, *F).

    >>> from igbench.core.features import resolve
    >>> gone = torch.tensor([[False, True]])
    >>> remove(torch.ones(3), torch.zeros(3), gone, resolve(torch.tensor([0, 1, 1]), (3,))).tolist()
    [[1.0, 0.0, 0.0]]
    """
    return torch.where(feature_units.spread(removed.to(x.device), features), fill, x)


def removals(
    x: Tensor, fill: Tensor, masks: Tensor, features: Features
) -> Callable[[Tensor], Tensor]:
    """Inputs of one sample for some of its masks: numbers of draws (rows,) to (rows, *F).

    The numbers are best on the device of the sample.

    Args:
        x: (*F) the sample.
        fill: (*F) what replaces removed features.
        masks: (D, G), true where a feature is removed.
        features: The G features.
    """
    masks = masks.to(x.device)  # once, and not again for each chunk
    features = feature_units.on(features, x.device)
    return lambda draw: remove(x, fill, masks[draw], features)


def drawn(
    make: Callable[[torch.Size], Tensor], shape: Sequence[int], still: Tensor | None
) -> Tensor:
    """Random numbers for the elements of a sample that noise may move, 0 for the others, (*F).

    Numbers of the others are not drawn, so that those of the rest do not depend on padding.

    Args:
        make: Draws numbers of a shape.
        shape: *F.
        still: (*F) boolean, true where noise leaves an element alone, see `Batch.still`.

    >>> drawn(torch.ones, (3,), torch.tensor([False, True, False])).tolist()
    [1.0, 0.0, 1.0]
    """
    if still is None:
        return make(torch.Size(shape))
    moving = ~still.cpu()
    numbers = make(torch.Size([int(moving.sum())]))
    return numbers.new_zeros(shape).masked_scatter_(moving, numbers)


def ranks(count: int, draws: int, seed: int, purpose: str, sample_id: str) -> Tensor:
    """D random orders of G features, as the rank 0..G-1 of every feature, (D, G) int32.

    `ranks < n` is a uniformly random subset of size n, and the subsets of one draw are nested.
    """
    g = rng.generator(seed, purpose, sample_id)
    found = torch.empty(draws, count, dtype=torch.int32)  # half the time of int64, same orders
    for order in found:
        torch.randperm(count, generator=g, out=order)
    return found


def all_subsets(count: int, size: int | None = None, limit: int = 20_000) -> Tensor:
    """Every subset of G features (of one size, or of all), (D, G) boolean.

    Raises:
        InputError: There are more than `limit` of them.

    >>> all_subsets(3, size=1).int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    n = math.comb(count, size) if size is not None else 2**count
    if n > limit:
        raise InputError(
            f"{n:,} subsets of {count} features are too many to enumerate; give a number of draws."
        )
    if size is None:
        return torch.tensor(list(itertools.product((False, True), repeat=count)))
    masks = torch.zeros(n, count, dtype=torch.bool)
    for i, chosen in enumerate(itertools.combinations(range(count), size)):
        masks[i, list(chosen)] = True
    return masks


def squares(
    shape: tuple[int, ...], draws: int, sides: tuple[int, int], g: torch.Generator
) -> Tensor:
    """Random axis-aligned squares that lie inside the image, as masks of its pixels, (D, H*W).

    Args:
        shape: (C, H, W).
        draws: D.
        sides: Smallest and largest side, in pixels, both included, equally likely.
        g: Generator.
    """
    _, h, w = shape
    low, high = sides
    if not 0 < low <= high <= min(h, w):
        raise InputError(f"squares with sides {sides} do not fit an image of {h} x {w} pixels.")
    side = torch.randint(low, high + 1, (draws,), generator=g)
    top = (torch.rand(draws, generator=g, dtype=torch.float32) * (h - side + 1)).long()
    left = (torch.rand(draws, generator=g, dtype=torch.float32) * (w - side + 1)).long()
    rows, columns = torch.arange(h), torch.arange(w)
    tall = (rows >= top[:, None]) & (rows < (top + side)[:, None])
    wide = (columns >= left[:, None]) & (columns < (left + side)[:, None])
    return (tall[:, :, None] & wide[:, None, :]).flatten(1)


def order(values: Tensor, seed: int, sample_id: str) -> Tensor:
    """Features by falling value, ties in a random order that is the same for all maps, (..., G).

    Args:
        values: (..., G) one value for each feature.
        seed: Seed of the tie-break.
        sample_id: Sample of the tie-break.

    >>> order(torch.tensor([0.5, 2.0, -1.0]), seed=0, sample_id="cat").tolist()
    [1, 0, 2]
    """
    g = rng.generator(seed, "ties", sample_id)
    shuffled = torch.randperm(values.shape[-1], generator=g).to(values.device)
    return shuffled[values[..., shuffled].argsort(dim=-1, descending=True, stable=True)]


def rankings(
    values: Tensor, seed: int, sample_id: str, orders: int, cuts: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Ranks of features by falling value, in R random orders of ties where a tie matters.

    Args:
        values: (M, G) one value for each feature.
        seed: Seed of the tie-breaks.
        sample_id: Sample of the tie-breaks.
        orders: R.
        cuts: Numbers of features from the top, each in 0..G, at which the order is cut in two; ties
            matter where one of these parts equal values.

    Returns:
        The distinct ranks, 0 for the largest value, (D, G), and which of them belongs to each order
        and map, (R, M).
    """
    maps, count = values.shape
    first = order(values, seed, sample_id)
    inner = torch.tensor([k for k in cuts if 0 < k < count], device=values.device).long()
    ranked = values.gather(1, first)
    tied = (ranked[:, inner - 1] == ranked[:, inner]).any(dim=1).nonzero()[:, 0]
    others = [order(values[tied], rng.repeat(seed, r), sample_id) for r in range(1, orders)]
    places = torch.arange(maps, device=values.device).repeat(orders, 1)
    for r in range(1, orders):
        places[r, tied] = torch.arange(len(tied), device=values.device) + maps + (r - 1) * len(tied)
    return _inverse(torch.cat([first, *others])), places


def distinct_sets(ranks: Tensor, cuts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Which of the sets of the first features, by D ranks and at C cuts, are the same set.

    Two sets are taken as one where their sums of random whole numbers of 64 bits, one for each
    feature, are equal, which different sets have with a probability of 5e-20 a pair.

    Args:
        ranks: (D, G), each a permutation of 0..G-1.
        cuts: C numbers of features from the top, each in 1..G.

    Returns:
        The place d * C + c at which each of U different sets comes first, in this order, (U,), and
        which of them every cut takes, (D, C).

    >>> distinct_sets(torch.tensor([[0, 1, 2], [1, 0, 2]]), [1, 2])
    (tensor([0, 1, 2]), tensor([[0, 1],
            [2, 1]]))
    """
    g = rng.generator(0, "distinct sets", "")
    codes = torch.randint(-(2**63), 2**63 - 1, (ranks.shape[1],), generator=g).to(ranks.device)
    in_order = torch.empty_like(ranks).scatter_(1, ranks, codes.expand_as(ranks))
    ends = torch.tensor(cuts, device=ranks.device) - 1
    sums = in_order.cumsum(dim=1)[:, ends].flatten()
    _, same = sums.unique(return_inverse=True)
    places = torch.arange(len(sums), device=ranks.device)
    first = places.new_full((int(same.max()) + 1,), len(sums))
    first = first.scatter_reduce(0, same, places, "amin")
    order = first.argsort()
    return first[order], _inverse(order[None])[0][same].view(len(ranks), len(cuts))


def _inverse(orders: Tensor) -> Tensor:
    """Place of each of 0..G-1 in every order of them, (D, G)."""
    at = torch.arange(orders.shape[1], device=orders.device).expand_as(orders)
    return torch.empty_like(orders).scatter_(1, orders, at)
