"""Mosaics of 2 x 2 images, two or one of them of the class that is explained, with masks.

A map that explains the class should put its positive relevance on the tiles of that class: which
these are is known without anybody's marks.  `relevance_mass` on mosaics is

- with two tiles of the class and two of another one, Focus (Arias-Duart et al. 2022, "Focus! Rating
  XAI methods and finding biases");
- with one tile of the class and three of three others, the localisation score of the grid pointing
  game (Boehle et al. 2021, "Convolutional dynamic alignment networks").

The class is that of the tiles, whatever the model predicts: run with target=label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.digits import digits
from igbench.errors import InputError, check_choice, check_positive, check_whole

PLACES = 4


@checked
def mosaic(
    data: Data,
    *,
    targets: Literal[1, 2] = 2,
    rounds: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Mosaics of the images of a data set, (C, 2 H, 2 W), as many as there are images in a round.

    In a round, every image is once the first tile of its class; the other tiles and all places are
    drawn by (seed, sample id, round).  There is no pool for baselines: none of the tiles is set
    aside.  Sample ids name the first tile, the round from the second on, and the four tiles in
    reading order: "a-in-b+a+c+d", "a-2-in-a+e+b+f".

    Args:
        data: Labelled images (C, H, W).
        targets: Tiles of the class that is explained: 2, beside 2 of one other class (Focus), or 1,
            beside 3 of three other classes (grid pointing game).
        rounds: Number of mosaics that begin with the same image.
        limit: Number of mosaics; None for all.
        seed: Of the draws.

    Raises:
        InputError: No images, no labels, or too few classes or images of a class.
    """
    check_choice("targets", str(targets), ("1", "2"))
    check_whole("rounds", rounds, least=1)
    if limit is not None:
        check_positive("limit", limit)
    if data.kind != "image" or len(data.shape) != 3 or None in data.labels or not data.labels:
        raise InputError(f"data {data.name!r} has no labelled images to make mosaics of.")
    firsts = [(i, k) for k in range(rounds) for i in range(len(data))][:limit]
    chosen = [_tiles(data, i, targets, seed, k) for i, k in firsts]
    own = tuple(data.labels[i] for i, _ in firsts)
    channels, height, width = data.shape
    return replace(
        data,
        name=f"mosaics of {data.name}",
        shape=(channels, 2 * height, 2 * width),
        sample_ids=tuple(
            f"{_name(data, i, k)}-in-{'+'.join(data.sample_ids[t] for t in tiles)}"
            for (i, k), tiles in zip(firsts, chosen, strict=True)
        ),
        labels=own,
        load=_Load(data.load, tuple(chosen)),
        reference=None,
        reference_labels=None,
        source=f"2 x 2 mosaics, {targets} tiles of the class, seed {seed}, of: {data.source}",
        mask=_Mask(data.labels, tuple(chosen), own, (height, width)),
        files=_Files(data.files, tuple(chosen)) if data.files else None,
    )


@checked
def mosaic_digits(
    model: Model, *, limit: int | None, targets: Literal[1, 2] = 2, seed: int = 0
) -> Data:
    """Mosaics of the held-out digits, (1, 16, 16) in [0, 1]; see `mosaic`."""
    return mosaic(digits(model, limit=None), targets=targets, limit=limit, seed=seed)


def _name(data: Data, first: int, round_: int) -> str:
    """The first tile, and the round from the second on."""
    return data.sample_ids[first] + (f"-{round_ + 1}" if round_ else "")


def _tiles(data: Data, first: int, targets: int, seed: int, round_: int) -> tuple[int, ...]:
    """Positions in the data of the four tiles of a mosaic, in reading order."""
    g = rng.generator(seed, "mosaic", data.sample_ids[first], round_)
    own = data.labels[first]
    same = [i for i, label in enumerate(data.labels) if label == own and i != first]
    others = sorted({label for label in data.labels if label is not None and label != own})
    each = targets  # two of one other class, or one of each of three
    members = {k: [i for i, label in enumerate(data.labels) if label == k] for k in others}
    classes = [k for k in others if len(members[k]) >= each]
    if len(same) < targets - 1 or len(classes) < (PLACES - targets) // each:
        raise InputError(
            f"data {data.name!r} has too few classes, or images of a class, for mosaics with "
            f"{targets} tiles of the class {own}; raise limit."
        )
    tiles = [first, *_draw(same, targets - 1, g)]
    for k in _draw(classes, (PLACES - targets) // each, g):
        tiles += _draw(members[k], each, g)
    return tuple(_draw(tiles, PLACES, g))


def _draw(items: list[int], count: int, g: torch.Generator) -> list[int]:
    """Some items, in random order."""
    return [items[i] for i in torch.randperm(len(items), generator=g)[:count].tolist()]


def joined(tiles: list[Tensor]) -> Tensor:
    """Four tiles (..., H, W) in reading order as one, (..., 2 H, 2 W)."""
    rows = [torch.cat(tiles[k : k + 2], dim=-1) for k in (0, 2)]
    return torch.cat(rows, dim=-2)


@dataclass(frozen=True, eq=False)
class _Load:
    load: Callable[[int], Tensor]
    tiles: tuple[tuple[int, ...], ...]

    def __call__(self, index: int) -> Tensor:
        return joined([self.load(i) for i in self.tiles[index]])


@dataclass(frozen=True, eq=False)
class _Files:
    files: Callable[[int], Sequence[Path]]
    tiles: tuple[tuple[int, ...], ...]

    def __call__(self, index: int) -> tuple[Path, ...]:
        return tuple(path for i in self.tiles[index] for path in self.files(i))


@dataclass(frozen=True, eq=False)
class _Mask:
    labels: tuple[int | None, ...]
    tiles: tuple[tuple[int, ...], ...]
    own: tuple[int | None, ...]
    shape: tuple[int, int]

    def __call__(self, index: int) -> Tensor:
        return joined(
            [torch.full(self.shape, self.labels[i] == self.own[index]) for i in self.tiles[index]]
        )
