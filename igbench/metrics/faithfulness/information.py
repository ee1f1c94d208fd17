"""How does the output come back as an image regains its information?  What AIC and SIC share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.dataset import Data
from igbench.errors import InputError, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.faithfulness.images import filled, levels_of, size
from igbench.metrics.faithfulness.revealing import (
    ACCURACY,
    PROBABILITY,
    SIZE,
    Images,
    TargetReadings,
)
from igbench.metrics.monte_carlo import averaged, repeated

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
CELLS = 1000
"""Cells of the x axis for the area."""
KEPT = 20
"""Every how many of them become points of the curve on the record."""
UNDEFINED = (
    "the map is flat, the output at the image is below `least`, or the blurred image has no "
    "smaller output or no smaller size"
)


@dataclass(frozen=True)
class Information(BaseMetric):
    """Performance information curves (Kapishnikov et al. 2019, section 4); the base of two metrics.

    Start from an image of which a random `start` of the pixels is known and the rest interpolated.
    Reveal the top share t of the pixels by the map, for each threshold t, interpolate the rest
    again, and note how large the image is as a lossless WebP file and what the model says of it.

    - x: (size - size of the start) / (size of the image - size of the start), cut to [0, 1];
    - y: likewise for the output, cut to [0, 1], then its running maximum over thresholds.

    The ends (0, 0) and (1, 1) are added, the points sorted by x and joined by lines; the value is
    the area below, on 1000 cells, in [0, 1].  The paper joins samples by the median of their curves
    and takes the area of that; here every sample has its own area, and the curves are on record.

    The value and the curve are means over R repeats with other pixels known from the start, and
    other orders of ties; the standard error is that of this mean.

    Images are rounded to 8 bits before the model sees them.  The random pixels are drawn by (seed,
    sample id), the same for all methods.  Pixels are ranked by the sum over channels, or by its
    magnitude; ties are broken at random, alike for all methods.  Sizes depend on the version of
    libwebp, by little.

    Args:
        thresholds: Shares of the pixels that are revealed, rising, in (0, 1).
        start: Share of the pixels that is known from the start.
        least: Smallest output at the image; samples below are undefined.
        normalise: Scale y as above.  Otherwise y is the output itself, from that of the start to
            that of the image, and the output at the start may be anything.
        absolute: Rank pixels by magnitude.
        data: Where black and white are defined; an experiment gives its own.
        repeats: R; no standard error for 1.

    Raises:
        InputError: Thresholds that do not rise in (0, 1), a start outside [0, 1), no 8-bit images,
            no repeats.
    """

    family = "faithfulness"
    direction = "higher"
    reference = "Kapishnikov et al. 2019, section 4"
    range = (0, 1)
    unit = "pixel"
    undefined = UNDEFINED
    label: ClassVar[str] = ""

    thresholds: Sequence[float] = THRESHOLDS
    start: float = 0.01
    least: float = 0.8
    normalise: bool = True
    absolute: bool = True
    data: Data | None = field(default=None, repr=False, compare=False)
    repeats: int = 2

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"{self.label} (area{'' if self.normalise else ', not normalised'})"

    def __post_init__(self) -> None:
        check_positive("repeats", self.repeats)
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        levels = (0.0, *self.thresholds, 1.0)
        if not self.thresholds or any(a >= b for a, b in itertools.pairwise(levels)):
            raise InputError(
                f"thresholds = {list(self.thresholds)} does not fit; give rising numbers between 0 "
                "and 1."
            )
        if not 0 <= self.start < 1:
            raise InputError(f"start is {self.start}; it must be at least 0 and below 1.")

    @property
    def sharing_key(self) -> object:
        """Metrics that reveal alike share their images and outputs."""
        return (Information, self.thresholds, self.start, self.absolute, self.repeats)

    def observe(self, batch: Batch) -> list[Images]:
        """The images, their starts, and sizes and outputs of both, for each repeat."""
        return [self._observe(own) for own in repeated(batch, self.repeats)]

    def _observe(self, batch: Batch) -> Images:
        levels = levels_of(self.data, tuple(batch.x.shape[1:]))
        images = [levels.to_bytes(x) for x in batch.x]
        known = [self._known(batch, i) for i in range(len(batch))]
        starts = [filled(image, mask) for image, mask in zip(images, known, strict=True)]
        score = TargetReadings(batch.score)
        ends = np.zeros((len(batch), 2, 3))
        for i, pair in enumerate(zip(starts, images, strict=True)):
            rows = torch.stack([levels.to_input(image, batch.x) for image in pair])
            target = batch.target_of(i)
            found = score.evaluate(rows, None if target is None else target.expand(2))
            ends[i, :, SIZE] = [size(image) for image in pair]
            ends[i, :, PROBABILITY:] = found.double().cpu().numpy()
        return Images(batch, score, levels, images, known, ends)

    def _known(self, batch: Batch, i: int) -> np.ndarray:
        """Pixels of one sample that are known from the start, (H, W)."""
        count = batch.x[0, 0].numel()
        g = rng.generator(batch.metric_seed, "information", batch.sample_ids[i])
        mask = torch.randperm(count, generator=g) < int(self.start * count)
        known: np.ndarray = mask.view(batch.x.shape[2:]).numpy()
        return known

    def areas(
        self,
        attributions: Mapping[str, Attribution],
        observation: list[Images],
        column: int,
        curve: str,
    ) -> dict[str, Measurement]:
        """Area and curve of every attribution.

        Args:
            attributions: Maps by name.
            observation: What was seen of the images in each repeat.
            column: `PROBABILITY` or `ACCURACY`, what is tracked.
            curve: Name of the curve.
        """
        result = {}
        grid = np.arange(CELLS + 1) / CELLS
        for name, attribution in attributions.items():
            y = np.stack(
                [
                    self._curves(
                        images.revealed(name, attribution, self.thresholds, self.absolute),
                        images.ends,
                        column,
                        grid,
                    )
                    for images in observation
                ]
            )  # (R, N, P)
            device = attribution.values.device
            kept = torch.from_numpy(y[..., ::KEPT].copy()).to(device)
            area = torch.from_numpy(np.trapezoid(y, grid, axis=-1)).to(device)
            result[name] = averaged(area, UNDEFINED, {curve: (grid[::KEPT].tolist(), kept)})
        return result

    def _curves(
        self, points: np.ndarray, ends: np.ndarray, column: int, grid: np.ndarray
    ) -> np.ndarray:
        """The curves of N samples, (N, T, 3) and (N, 2, 3) to (N, P)."""
        pairs = zip(points, ends, strict=True)
        return np.array([self.curve(own, ends_of, column, grid) for own, ends_of in pairs])

    def curve(
        self, points: np.ndarray, ends: np.ndarray, column: int, grid: np.ndarray
    ) -> np.ndarray:
        """The curve of one sample on a grid; NaN where it is undefined.

        Args:
            points: (T, 3) sizes, probabilities and accuracies at the thresholds.
            ends: (2, 3) those of the start and of the image.
            column: `PROBABILITY` or `ACCURACY`, what is tracked.
            grid: (P,) x.
        """
        (low, bottom), (high, top) = ends[:, [SIZE, column]]
        worse = bottom < top or not self.normalise
        if np.isnan(points).any() or top < self.least or not worse or low >= high:
            return np.full(len(grid), math.nan)
        x = ((points[:, SIZE] - low) / (high - low)).clip(0, 1)
        y = points[:, column]
        if self.normalise:
            y, bottom, top = ((y - bottom) / (top - bottom)).clip(0, 1), 0.0, 1.0
        y = np.maximum.accumulate(np.concatenate([[bottom], y]))[1:]
        return polyline(
            np.concatenate([[0.0], x, [1.0]]), np.concatenate([[bottom], y, [top]]), grid
        )


def polyline(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Points joined by lines in the order of x, then y, at the positions of the grid."""
    order = np.lexsort((y, x))
    return np.interp(grid, x[order], y[order])


@dataclass(frozen=True)
class Aic(Information):
    """Area under the accuracy information curve; see `Information`.

    Kapishnikov et al. 2019, section 4.  The output is 1 where the target has the largest output of
    the model and 0 elsewhere.  Coarse on one sample: compare means.
    """

    name = "aic"
    explains = "How fast does the right class come back as the image regains its information?"
    tracked = "accuracy"
    label = "Accuracy information curve"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Images]
    ) -> dict[str, Measurement]:
        """Area of every attribution; x of the curve is the share of the information."""
        return self.areas(attributions, observation, ACCURACY, "aic")


@dataclass(frozen=True)
class Sic(Information):
    """Area under the softmax information curve; see `Information`.

    Kapishnikov et al. 2019, section 4.  The output is the probability of the target.
    """

    name = "sic"
    explains = "How fast does the probability come back as the image regains its information?"
    tracked = "probability"
    label = "Softmax information curve"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Images]
    ) -> dict[str, Measurement]:
        """Area of every attribution; x of the curve is the share of the information."""
        return self.areas(attributions, observation, PROBABILITY, "sic")
