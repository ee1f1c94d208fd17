"""Gradients along lines, kept in files, and replayed to any rule that uses their nodes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from lines import KeptLine, lines

from igbench.integration.quadrature import NEAR, log_warp, log_warp_slope

DEEP = 2.0**20
"""Nodes are multiples of this fraction of u; those of Gauss are not."""

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values (n,), slopes (n,) and contributions (n, K)."""


@dataclass(frozen=True)
class Kept:
    """What is known of one line.

    Attributes:
        model: Name of the model.
        sample: Name of the sample.
        width: Elements of a feature.
        elements: Elements of the input; K of them are kept.
        positions: (n,) where gradients were taken, rising.
        values: (n,).
        slopes: (n,).
        vectors: (n, K), gradient times displacement.
    """

    model: str
    sample: str
    width: int
    elements: int
    positions: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    vectors: np.ndarray

    @cached_property
    def place(self) -> dict[float, int]:
        """Position to its number."""
        return {a: i for i, a in enumerate(self.positions.tolist())}

    @property
    def rise(self) -> float:
        """f(x) - f(x')."""
        return float(self.values[-1] - self.values[0])

    @property
    def share(self) -> float:
        """All elements over those that are kept."""
        return self.elements / self.vectors.shape[1]

    def sums(self, elements: np.ndarray) -> np.ndarray:
        """Sums per feature."""
        return elements.reshape(-1, self.width).sum(axis=1)

    def at(self, a: np.ndarray) -> Found:
        """What was found at positions; KeyError where nothing was computed."""
        rows = [self.place[v] for v in a.tolist()]
        return self.values[rows], self.slopes[rows], self.vectors[rows].astype(np.float64)

    def in_u(self, u: np.ndarray) -> Found:
        """The same as functions of the warped position u."""
        values, slopes, vectors = self.at(log_warp(u))
        density = log_warp_slope(u)
        return values, slopes * density, vectors * density[:, None]

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Simpson's rule and the trapezoid rule on all nodes but those of Gauss, (K,) each.

        The difference is the error of the trapezoid rule, and more than that of Simpson's.
        """
        scaled = np.log1p(self.positions / NEAR) / np.log1p(1 / NEAR) * DEEP
        chosen = np.flatnonzero(np.abs(scaled - scaled.round()) < 1e-3)
        u = scaled[chosen].round() / DEEP
        density = log_warp_slope(u)
        simpson, trapezoid = np.zeros(len(u)), np.zeros(len(u))
        here = {v: i for i, v in enumerate(u.tolist())}

        def add(left: float, right: float) -> bool:
            """Add an interval, and say whether it has a node inside."""
            middle, h = (left + right) / 2, right - left
            if middle not in here:
                return False
            inside = [add(left, middle), add(middle, right)]
            ends = [here[left], here[middle], here[right]]
            if not any(inside):
                simpson[ends] += np.array([1, 4, 1]) * h / 6
            for side, deeper in enumerate(inside):
                if not deeper:
                    trapezoid[ends[side : side + 2]] += h / 4
                    if any(inside):
                        simpson[ends[side : side + 2]] += h / 4
            return True

        add(0.0, 1.0)
        vectors = self.vectors[chosen].astype(np.float64)
        return (simpson * density) @ vectors, (trapezoid * density) @ vectors


def load(path: Path) -> Kept:
    """A line from its file."""
    with np.load(path) as found:
        return Kept(
            str(found["model"]),
            str(found["sample"]),
            int(found["width"]),
            int(found["elements"]),
            *(found[name] for name in ("positions", "values", "slopes", "vectors")),
        )


def gather(
    kind: str, count: int, intervals: int, folder: Path, device: str
) -> Iterator[tuple[str, Kept]]:
    """Names and lines of a kind that were not replayed: a grid in u, and what refinements ask for.

    Gradients that lie in the folder are not computed again, and lines that were replayed, whose
    NAME.csv lies there, not even read.
    """

    def keep(line: KeptLine, path: Path) -> None:
        positions = sorted(line.known)
        values, slopes, vectors = line.at(np.array(positions))
        np.savez(
            path,
            model=line.model,
            sample=line.sample,
            width=line.width,
            elements=line.line.x.numel(),
            positions=positions,
            values=values,
            slopes=slopes,
            vectors=vectors.astype(np.float32),
        )

    paths = [folder / f"{kind}-{i:03d}.npz" for i in range(count)]
    paths = [path for path in paths if not path.with_suffix(".csv").is_file()]
    if not all(path.is_file() for path in paths):
        for i, line in enumerate(lines(kind, count, device)):
            path = folder / f"{kind}-{i:03d}.npz"
            if path not in paths or path.is_file():
                continue
            line.at(log_warp(np.arange(intervals + 1) / intervals))
            if kind in ("decoder", "smollm"):
                _refine(line, 700 if kind == "decoder" else 400)
            if kind not in ("photographs", "minilm"):
                _bisect(line, 300)
            keep(line, path)
    for path in paths:
        yield path.stem, load(path)


def _refine(line: KeptLine, most: int) -> None:
    """Halve the intervals of u where three nodes are farthest from a straight line."""

    def bend(left: float, right: float) -> tuple[float, float, float]:
        u = np.array([left, (left + right) / 2, right])
        vectors = line.at(log_warp(u))[2] * log_warp_slope(u)[:, None]
        bent = np.abs(vectors[0] - 2 * vectors[1] + vectors[2]).sum() * (right - left)
        return -float(bent), left, right

    heap = [bend(k / 8, (k + 1) / 8) for k in range(8)]
    heapq.heapify(heap)
    for _ in range(most // 2):
        _, left, right = heapq.heappop(heap)
        if right - left > 4 / DEEP:
            middle = (left + right) / 2
            heapq.heappush(heap, bend(left, middle))
            heapq.heappush(heap, bend(middle, right))


def _bisect(line: KeptLine, most: int) -> None:
    """Take the nodes of bisection by the residual of f, see `error_control.bisection`."""
    x, w = np.polynomial.legendre.leggauss(4)

    def piece(left: float, right: float) -> tuple[float, float, float]:
        slopes = line.at((left + right) / 2 + (right - left) / 2 * x)[1]
        ends = line.at(np.array([left, right]))[0]
        return -abs(float(w @ slopes) * (right - left) / 2 - (ends[1] - ends[0])), left, right

    heap, spent = [piece(0.0, 1.0)], 4
    while spent <= most:
        _, left, right = heapq.heappop(heap)
        middle = (left + right) / 2
        heapq.heappush(heap, piece(left, middle))
        heapq.heappush(heap, piece(middle, right))
        spent += 8
