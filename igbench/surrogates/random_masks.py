"""Smooth random masks of images, and what f says of each pixel under them (RISE)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igbench.core import rng

F64 = torch.float64
BLOCK = 64
"""Masks that are in memory at once where they are summed."""


@dataclass(frozen=True)
class Masks:
    """N random masks of images (H, W), with values from 0 to 1, made when they are needed.

    Each is a grid of cells that are on or off, enlarged by linear interpolation to one cell more
    than the image has, from which a window at a random place is cut.

    Attributes:
        cells: (N, s + 1, s + 1) booleans.
        shifts: (N, 2) first row and column of the window.
        size: H and W.
    """

    cells: Tensor
    shifts: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    def to(self, device: torch.device) -> Masks:
        """The same masks on a device."""
        return Masks(self.cells.to(device), self.shifts.to(device), self.size)

    def __call__(self, numbers: Tensor) -> Tensor:
        """Some of the masks, (rows,) to (rows, H, W) in float64."""
        tall, wide = (
            enlarging(n, self.cells.shape[1] - 1).to(numbers.device)[self.shifts[numbers, k]]
            for k, n in enumerate(self.size)
        )
        return tall @ self.cells[numbers].to(F64) @ wide.transpose(1, 2)

    @property
    def area(self) -> float:
        """Pixels that share what is credited to one of them, on average.

        The sum of the covariances of a mask at one pixel and at all, as a multiple of p (1 - p),
        averaged over pixels and shifts: 1 for cells of single pixels.
        """
        cells = self.cells.shape[1] - 1
        return float(torch.stack([_reach(enlarging(n, cells)) for n in self.size]).prod())


def enlarging(size: int, cells: int) -> Tensor:
    """Weights of s + 1 cells in the pixels along one axis, for each shift, (shifts, size, s + 1).

    A cell has ceil(size / s) pixels, and so many shifts there are; pixels are interpolated linearly
    between the centres of cells.

    Args:
        size: Pixels.
        cells: s.

    >>> enlarging(3, cells=3).tolist()[0]
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    side = -(-size // cells)
    units = torch.eye(cells + 1, dtype=F64)[None]
    large = nn.functional.interpolate(units, size=side * (cells + 1), mode="linear")[0].T
    return torch.stack([large[shift : shift + size] for shift in range(side)])


def _reach(weights: Tensor) -> Tensor:
    """The mean, over pixels and shifts, of the pixels that share with one along an axis."""
    return weights.sum(dim=1).square().sum(dim=1).mean() / weights.shape[1]


def draw_masks(
    size: tuple[int, int], samples: int, cells: int, p: float, seed: int, sample_id: str
) -> Masks:
    """Draw the masks of one sample on the CPU: their grids, (s + 1)^2 booleans each.

    The first masks are the same for any number of them.

    Args:
        size: H and W.
        samples: N.
        cells: s, cells along each axis of an image.
        p: Probability that a cell is on.
        seed: Seed.
        sample_id: Sample.
    """
    g = rng.generator(seed, "rise.cells", sample_id)
    grids = [
        torch.rand(BLOCK, cells + 1, cells + 1, generator=g, dtype=torch.float32) < p
        for _ in range(-(-samples // BLOCK))
    ]
    g = rng.generator(seed, "rise.shifts", sample_id)
    places = torch.rand(samples, 2, generator=g, dtype=F64)
    sides = torch.tensor([-(-n // cells) for n in size])
    return Masks(torch.cat(grids)[:samples], (places * sides).long(), size)


@dataclass(frozen=True)
class Shown:
    """What f says of each pixel under random masks.

    Attributes:
        shown: (*P) whether any mask shows the pixel at all.
        mean: (*P) sum of f M over the sum of M: the mean of f where the pixel is shown.
        covariance: (*P) mean of (f - mean f) M.
        std_error: (*P) Monte Carlo standard error of `covariance`.
    """

    shown: Tensor
    mean: Tensor
    covariance: Tensor
    std_error: Tensor


def shown(values: Tensor, masks: Callable[[Tensor], Tensor], p: float) -> Shown:
    """Averages of f under masks, in float64, a block of masks at a time.

    Args:
        values: (N,) f under each mask.
        masks: Maps numbers of masks (rows,) to masks (rows, *P) in float64.
        p: Mean of the masks.

    >>> table = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=F64)
    >>> found = shown(torch.tensor([0.0, 2, 1, 3]), lambda numbers: table[numbers], p=0.5)
    >>> found.mean.tolist(), (found.covariance / 0.25).tolist()
    ([2.0, 2.5], [1.0, 2.0])
    """
    f = values.to(F64)
    centred = f - f.mean()
    weights = torch.stack([torch.ones_like(f), f, centred])
    sums: Tensor | float = 0.0
    for numbers in torch.arange(len(f), device=f.device).split(BLOCK):
        block = masks(numbers)
        part = torch.tensordot(weights[:, numbers], block, 1)
        square = torch.tensordot(centred[numbers].square(), (block - p).square(), 1)
        sums = torch.cat([part, square[None]]) + sums
    often, total, along, squares = torch.as_tensor(sums)
    covariance = along / len(f)
    variance = (squares / len(f) - covariance.square()).clamp(min=0)
    return Shown(often > 0, total / often, covariance, (variance / len(f)).sqrt())
