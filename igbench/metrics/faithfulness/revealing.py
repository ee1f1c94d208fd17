"""Partly revealed images: their file sizes and the outputs of the model, for AIC and SIC."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch
from igbench.core.outputs import logits
from igbench.core.score import Score
from igbench.metrics.faithfulness.images import Levels, filled, size
from igbench.metrics.ranking import ranks_something

SIZE, PROBABILITY, ACCURACY = range(3)
"""Columns of what is known of a partly revealed image."""


@dataclass(frozen=True)
class Images:
    """Images of one batch and their starts, revealed once for each method.

    Attributes:
        batch: The samples.
        score: Probability of the target and whether it is the largest output.
        levels: Conversion between inputs and 8 bits.
        images: N of (H, W, C) uint8.
        known: N of (H, W), the pixels that are known from the start.
        ends: (N, 2, 3) size, probability and accuracy at the start and at the image.
        points: The same at each threshold, by method, (N, T, 3).
    """

    batch: Batch
    score: TargetReadings
    levels: Levels
    images: list[np.ndarray]
    known: list[np.ndarray]
    ends: np.ndarray
    points: dict[str, np.ndarray] = field(default_factory=dict)

    def revealed(
        self, name: str, attribution: Attribution, thresholds: Sequence[float], absolute: bool
    ) -> np.ndarray:
        """Size, probability and accuracy at each threshold, (N, T, 3); NaN for flat maps.

        Args:
            name: Name of the method.
            attribution: Its maps.
            thresholds: T shares of pixels that are revealed.
            absolute: Rank pixels by magnitude.
        """
        if name not in self.points:
            features = feature_units.resolve("pixel", tuple(self.batch.x.shape[1:]))
            values = feature_units.total(attribution.values, features)
            values = values.abs() if absolute else values
            found = np.full((len(values), len(thresholds), 3), math.nan)
            for i, own in enumerate(values):
                if ranks_something(own):
                    found[i] = self._reveal(i, own, thresholds)
            self.points[name] = found
        return self.points[name]

    def _reveal(self, i: int, values: Tensor, thresholds: Sequence[float]) -> np.ndarray:
        """Reveal one sample by one ranking of its pixels, (G,) to (T, 3)."""
        count = len(values)
        order = (
            perturb.order(values, self.batch.metric_seed, self.batch.sample_ids[i]).cpu().numpy()
        )
        found = np.zeros((len(thresholds), 3))

        def image(point: int) -> Tensor:
            shown = self.known[i].copy()
            shown.reshape(-1)[order[: max(1, round(thresholds[point] * count))]] = True
            picture = filled(self.images[i], shown)
            found[point, SIZE] = size(picture)
            return self.levels.to_input(picture, self.batch.x)

        def build(draw: Tensor) -> Tensor:
            return torch.stack([image(k) for k in draw.tolist()])

        out = self.score.evaluate_draws(len(thresholds), self.batch.target_of(i), build)
        found[:, PROBABILITY:] = out.double().cpu().numpy()
        return found


class TargetReadings(Score):
    """Probability of the target, and 1 where the target has the largest output, (N, 2) float64.

    Columns in the order of `PROBABILITY` and `ACCURACY`, without that of `SIZE`.  One pass of the
    model gives both, so AIC and SIC share it.  A model with a single output has the sigmoid of it
    as its probability, and is right where that is above one half.

    Args:
        score: The scalar whose model is evaluated; settings and counters are shared.
    """

    def __init__(self, score: Score) -> None:
        super().__init__(
            score.model,
            "probability",
            score.batch_size,
            score.channels_last,
            score.quick.uncompiled(),
        )
        self.share(score)

    def _through(
        self, model: Callable[[Tensor], Tensor], x: Tensor, target: Tensor | None
    ) -> Tensor:
        seen: list[Tensor] = []

        def outputs(rows: Tensor) -> Tensor:
            seen.append(logits(model(rows), len(rows)).double())
            return seen[0]

        p = super()._through(outputs, x, target)
        if target is None or seen[0].dim() == 1 or seen[0].shape[1] == 1:
            right = p > 0.5
        else:
            right = seen[0].argmax(dim=1) == target.to(p.device).reshape(-1)
        return torch.stack([p, right.to(p)], dim=1)
