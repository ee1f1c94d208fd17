"""Performance information curves: the output as an image regains its information (AIC, SIC)."""

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
from igbench.errors import InputError, NotDefinedError, check_positive
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
"""Number of cells of the x axis for the area."""
KEPT = 20
"""Every so many cells there is a point of the recorded curve."""
UNDEFINED = (
    "the map is flat, the output at the image is below `least`, or the blurred image has no "
    "smaller output or no smaller size"
)


@dataclass(frozen=True)
class Information(BaseMetric):
    """Base of AIC and SIC, the performance information curves of Kapishnikov et al. 2019.

    Start from an image of which a random share `start` of the pixels is known and the rest
    interpolated.  For each threshold t, reveal the top share t of the pixels by the map,
    interpolate the rest again, and record the size as a lossless WebP file and the output of the
    model.

    - x: (size - size of the start) / (size of the image - size of the start), clipped to [0, 1];
    - y: likewise for the output, clipped to [0, 1], then its running maximum over thresholds.

    The ends (0, 0) and (1, 1) are added, the points sorted by x and joined by lines; the value is
    the area below.

    The paper joins samples by the median of their curves and takes the area of that; here every
    sample has its own area, on 1000 cells, and the curves are recorded.  The value and the curve
    are means over R repeats with other pixels known from the start, and other orders of ties; the
    standard error is that of this mean.

    Images are rounded to 8 bits before the model evaluates them.  The random pixels are drawn by
    (seed, sample id), the same for all methods, as is the order of ties.  Sizes depend slightly on
    the version of libwebp.

    Args:
        thresholds: Shares of the pixels that are revealed, rising, in (0, 1).
        start: Share of the pixels that is known from the start, in [0, 1).
        least: Smallest output at the image; samples below are undefined.
        normalise: Scale y as above.  Otherwise y is the output itself, from that of the start to
            that of the image, and the output at the start may be anything.
        absolute: Rank pixels by the magnitude of their sum over channels.
        data: Data with black and white, in units of the model's input; in an experiment its own.
        repeats: Number R of repeats; 1 gives no standard error.

    Raises:
        InputError: Thresholds that do not rise in (0, 1), a start outside [0, 1), data without
            8-bit images, fewer than one repeat.
    """

    family = "faithfulness"
    ranks = True
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
        """Title, with the parameters that define the number."""
        return f"{self.label} (area{'' if self.normalise else ', not normalised'})"

    def __post_init__(self) -> None:
        super().__post_init__()
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
        """Metrics with the same thresholds, start and ranking share their images and outputs."""
        return (Information, self.thresholds, self.start, self.absolute, self.repeats)

    def observe(self, batch: Batch) -> list[Images]:
        """Images, their starts, and sizes and outputs of both, for each repeat.

        Raises:
            InputError: Data without black and white, samples that are not grey or colour images,
                or a single output that nobody calls the logit of a class.
        """
        _check_probability(batch)
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
            observation: Images of each repeat.
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
    """Heights of the line through points, sorted by x, then y, at the positions of the grid.

    Args:
        x: (T,) positions.
        y: (T,) heights.
        grid: (P,) positions to evaluate.

    Example:
        >>> polyline(np.array([0.0, 1.0]), np.array([0.0, 2.0]), np.array([0.25])).tolist()
        [0.5]
    """
    order = np.lexsort((y, x))
    return np.interp(grid, x[order], y[order])


@dataclass(frozen=True)
class Aic(Information):
    """AIC: area under the accuracy information curve, accuracy over the size of the image.

    Start from an image of which a random share `start` of the pixels is known and the rest
    interpolated.  For each threshold t, reveal the top share t of the pixels by the map,
    interpolate the rest again, and record the size as a lossless WebP file and the output of the
    model.

    - x: (size - size of the start) / (size of the image - size of the start), clipped to [0, 1];
    - y: likewise for the output, clipped to [0, 1], then its running maximum over thresholds.

    The ends (0, 0) and (1, 1) are added, the points sorted by x and joined by lines; the value is
    the area below.

    The output is 1 where the target has the largest output of the model and 0 elsewhere.  Coarse on
    one sample: compare means.  Higher is better, in [0, 1].

    Undefined where the map is flat, the output at the image is below `least`, or the start has no
    smaller output or size than the image.  Cost: 2 R model rows for each sample, shared by all
    methods, and R for each threshold and method (26 by default), shared by AIC and SIC.

    Source: Kapishnikov et al. 2019, section 4.

    Args:
        thresholds: Shares of the pixels that are revealed, rising, in (0, 1).
        start: Share of the pixels that is known from the start, in [0, 1).
        least: Smallest output at the image; samples below are undefined.
        normalise: Scale y as above.  Otherwise y is the output itself, from that of the start to
            that of the image, and the output at the start may be anything.
        absolute: Rank pixels by the magnitude of their sum over channels.
        data: Data with black and white, in units of the model's input; in an experiment its own.
        repeats: Number R of repeats; 1 gives no standard error.

    Raises:
        InputError: Thresholds that do not rise in (0, 1), a start outside [0, 1), data without
            8-bit images, fewer than one repeat.

    Example:
        A model with the constant probability 0.9 of its only class is always right.

        >>> import torch
        >>> from igbench.metrics import aic
        >>> from igbench.core.dataset import Data
        >>> facts = ("grey", "image", (1, 8, 8), ("0",), (None,), None, "pixel", None, (0.0,))
        >>> data = Data(*facts, reference=None, source="random", white=(1.0,))
        >>> x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        >>> f = lambda x: torch.full((len(x),), 9.0).log()
        >>> given = {"output": "probability", "data": data, "normalise": False}
        >>> aic(f, x, x, **given).round(decimals=6).tolist()
        [1.0]
    """

    name = "aic"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "aic": (
            "share of the information (size of the image), 0 to 1",
            "1 where the target is the largest output, 0 elsewhere, mean over repeats",
        ),
    }
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
    """SIC: area under the softmax information curve, probability over the size of the image.

    Start from an image of which a random share `start` of the pixels is known and the rest
    interpolated.  For each threshold t, reveal the top share t of the pixels by the map,
    interpolate the rest again, and record the size as a lossless WebP file and the output of the
    model.

    - x: (size - size of the start) / (size of the image - size of the start), clipped to [0, 1];
    - y: likewise for the output, clipped to [0, 1], then its running maximum over thresholds.

    The ends (0, 0) and (1, 1) are added, the points sorted by x and joined by lines; the value is
    the area below.

    The output is the probability of the target.  Higher is better, in [0, 1].

    Undefined where the map is flat, the output at the image is below `least`, or the start has no
    smaller output or size than the image.  Cost: 2 R model rows for each sample, shared by all
    methods, and R for each threshold and method (26 by default), shared by AIC and SIC.

    Source: Kapishnikov et al. 2019, section 4.

    Args:
        thresholds: Shares of the pixels that are revealed, rising, in (0, 1).
        start: Share of the pixels that is known from the start, in [0, 1).
        least: Smallest output at the image; samples below are undefined.
        normalise: Scale y as above.  Otherwise y is the output itself, from that of the start to
            that of the image, and the output at the start may be anything.
        absolute: Rank pixels by the magnitude of their sum over channels.
        data: Data with black and white, in units of the model's input; in an experiment its own.
        repeats: Number R of repeats; 1 gives no standard error.

    Raises:
        InputError: Thresholds that do not rise in (0, 1), a start outside [0, 1), data without
            8-bit images, fewer than one repeat.

    Example:
        A model with the constant probability 0.9 has the area 0.9 if y is not normalised.

        >>> import torch
        >>> from igbench.metrics import sic
        >>> from igbench.core.dataset import Data
        >>> facts = ("grey", "image", (1, 8, 8), ("0",), (None,), None, "pixel", None, (0.0,))
        >>> data = Data(*facts, reference=None, source="random", white=(1.0,))
        >>> x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        >>> f = lambda x: torch.full((len(x),), 9.0).log()
        >>> given = {"output": "probability", "data": data, "normalise": False}
        >>> sic(f, x, x, **given).round(decimals=6).tolist()
        [0.9]
    """

    name = "sic"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "sic": (
            "share of the information (size of the image), 0 to 1",
            "probability of the target, normalised as the metric is",
        ),
    }
    explains = "How fast does the probability come back as the image regains its information?"
    tracked = "probability"
    label = "Softmax information curve"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Images]
    ) -> dict[str, Measurement]:
        """Area of every attribution; x of the curve is the share of the information."""
        return self.areas(attributions, observation, PROBABILITY, "sic")


def _check_probability(batch: Batch) -> None:
    """Raise where the single output of a model may be any number."""
    with torch.no_grad():
        outputs = batch.score.outputs(batch.x[:1])
    if outputs.numel() == 1 and batch.score.output == "logit":
        raise NotDefinedError(
            "the model has a single output, which may be any number, and this metric follows a "
            "probability; set output=probability if it is the logit of a class."
        )
