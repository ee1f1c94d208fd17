"""What does the model say of an image that is revealed bit by bit, and how large is it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch
from igbench.core.score import Score
from igbench.metrics.faithfulness.images import Levels, filled, size
from igbench.metrics.faithfulness.removal import ranks_something


@dataclass(frozen=True)
class Images:
    """Images of one batch, revealed once for each method, then remembered as numbers.

    Attributes:
        batch: The samples.
        score: Marked outputs, see `marked`.
        levels: Between inputs and 8 bits.
        images: N of (H, W, C) uint8.
        known: N of (H, W), the pixels that are known from the start.
        ends: (N, 2, 2) size and marked output of start and image.
        points: Sizes and marked outputs so far, by method, (N, T, 2).
    """

    batch: Batch
    score: Score
    levels: Levels
    images: list[np.ndarray]
    known: list[np.ndarray]
    ends: np.ndarray
    points: dict[str, np.ndarray] = field(default_factory=dict)

    def revealed(
        self, name: str, attribution: Attribution, thresholds: Sequence[float], absolute: bool
    ) -> np.ndarray:
        """Size and marked output at each threshold, (N, T, 2); NaN where the map is flat."""
        if name not in self.points:
            features = feature_units.resolve("pixel", tuple(self.batch.x.shape[1:]))
            values = feature_units.total(attribution.values, features)
            values = values.abs() if absolute else values
            found = np.full((len(values), len(thresholds), 2), math.nan)
            for i, own in enumerate(values):
                if ranks_something(own):
                    found[i] = self._reveal(i, own, thresholds)
            self.points[name] = found
        return self.points[name]

    def _reveal(self, i: int, values: Tensor, thresholds: Sequence[float]) -> np.ndarray:
        """One sample by one ranking of its pixels (G,), (T, 2)."""
        count = len(values)
        order = (
            perturb.order(values, self.batch.metric_seed, self.batch.sample_ids[i]).cpu().numpy()
        )
        found = np.zeros((len(thresholds), 2))

        def image(point: int) -> Tensor:
            shown = self.known[i].copy()
            shown.reshape(-1)[order[: max(1, round(thresholds[point] * count))]] = True
            picture = filled(self.images[i], shown)
            found[point, 0] = size(picture)
            return self.levels.to_input(picture, self.batch.x)

        def build(draw: Tensor) -> Tensor:
            return torch.stack([image(k) for k in draw.tolist()])

        out = self.score.evaluate_draws(len(thresholds), self.batch.target_of(i), build)
        found[:, 1] = out.double().cpu().numpy()
        return found


def marked(score: Score) -> Score:
    """The probability of the target, plus 2 where the target has the largest output, float64.

    One pass of the model so serves AIC and SIC; `probability` and `accuracy` take it apart.  The
    class of a model with a single output is whether its probability is above one half.
    """

    def outputs(x: Tensor) -> Tensor:
        raw = score.model(x).double()
        if raw.dim() == 1 or raw.shape[1] == 1:
            p = raw.reshape(len(raw)).sigmoid()
            return p + 2 * (p > 0.5)
        best = torch.nn.functional.one_hot(raw.argmax(dim=1), raw.shape[1])
        return raw.softmax(dim=1) + 2 * best

    return score.sibling(outputs, "logit", score.quick.uncompiled())


def accuracy(marked_outputs: np.ndarray) -> np.ndarray:
    """1 where the target has the largest output, 0 elsewhere."""
    return (marked_outputs >= 2).astype(float)


def probability(marked_outputs: np.ndarray) -> np.ndarray:
    """The probability of the target."""
    return marked_outputs - 2 * accuracy(marked_outputs)
