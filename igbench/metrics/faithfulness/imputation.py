"""Noisy linear imputation of removed pixels from their neighbours, as in ROAD."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from igbench.errors import InputError

NEIGHBOURS = {
    (dy, dx): 1 / 6 if dy * dx == 0 else 1 / 12
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
    if dy or dx
}
"""Weight of every neighbour of a pixel by its offset: 1/6 along an edge, 1/12 across a corner."""


def linear(x: Tensor, removed: Tensor, noise: Tensor | None = None) -> Tensor:
    """Noisy linear imputation (Rong et al. 2022), (C, H, W) like `x`.

    Every removed pixel is the weighted mean of its 8 neighbours (1/6 for the four that share an
    edge, 1/12 for the four that share a corner; at the border of the image the weights of the
    neighbours that exist, divided by their sum), whether these are kept or removed themselves.
    That is one sparse linear system for each mask, solved directly in float64 for all channels
    together; `noise` is added to the removed pixels.  Multiplying each equation by its sum of
    weights makes the system symmetric and positive definite.

    Constant images, and linear ramps where no removed pixel touches the border, are restored
    exactly.

    Args:
        x: (C, H, W).
        removed: (H, W), true where a pixel is removed.
        noise: (C, H, W), already scaled; used where a pixel is removed.

    Raises:
        InputError: Not an image, a mask of another size, or no pixel left to start from.

    Example:
        >>> ramp = torch.arange(3.0).expand(1, 3, 3)
        >>> removed = torch.zeros(3, 3, dtype=torch.bool)
        >>> removed[1, 1] = True
        >>> linear(ramp, removed)[0, 1].tolist()
        [0.0, 1.0, 2.0]
    """
    if x.dim() != 3 or removed.shape != x.shape[1:]:
        raise InputError(
            f"linear imputation needs an image (C, H, W) and a mask (H, W), got {tuple(x.shape)} "
            f"and {tuple(removed.shape)}."
        )
    gone = removed.cpu().numpy().astype(bool)
    if gone.all():
        raise InputError("every pixel is removed, so there is nothing to impute from; remove less.")
    if not gone.any():
        return x.clone()
    image = x.detach().cpu().double().numpy()
    values = _solve(gone, image)
    if noise is not None:
        values = values + noise.detach().cpu().double().numpy()[:, gone]
    filled = image.copy()
    filled[:, gone] = values
    result = torch.from_numpy(filled).to(x)
    return torch.where(removed.to(x.device), result, x)


def _solve(gone: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Values of the U removed pixels, (C, U)."""
    count = int(gone.sum())
    number = np.full(gone.shape, -1)
    number[gone] = np.arange(count)
    diagonal, known = np.zeros(count), np.zeros((count, len(image)))
    rows, columns, entries = [], [], []
    for offset, weight in NEIGHBOURS.items():
        here, there = _pairs(gone.shape, offset)
        me, other = number[here], number[there]
        inside, kept = me >= 0, (me >= 0) & (other < 0)
        # Every pixel has at most one neighbour at an offset, so plain indexing adds once.
        diagonal[me[inside]] += weight
        known[me[kept]] += weight * image[(slice(None), *there)][:, kept].T
        both = inside & ~kept
        rows.append(me[both])
        columns.append(other[both])
        entries.append(np.full(int(both.sum()), -weight))
    every = np.arange(count)
    matrix = sparse.csc_matrix(
        (
            np.concatenate([diagonal, *entries]),
            (np.concatenate([every, *rows]), np.concatenate([every, *columns])),
        ),
        shape=(count, count),
    )
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    solved: np.ndarray = factors.solve(known)
    return solved.T


def _pairs(
    shape: tuple[int, ...], offset: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels with a neighbour at an offset, and of these neighbours."""
    here, there = [], []
    for length, step in zip(shape, offset, strict=True):
        here.append(slice(max(0, -step), length - max(0, step)))
        there.append(slice(max(0, step), length - max(0, -step)))
    return (here[0], here[1]), (there[0], there[1])
