"""Prediction gaps: how far noise on the important, or on the other, features moves the output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.core.features import Features
from igbench.core.score import Score
from igbench.errors import check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.column_noise import noisy
from igbench.metrics.ranking import ranks_something

AXES = ("fraction of features called important", "mean |f(x) - f(noisy x)| (`scalar` in `metrics`)")


@dataclass(frozen=True)
class PredictionGap(BaseMetric):
    """Base of the prediction gaps: mean |f(x) - f(x')| with noise on some of the features.

    Features are ranked by falling |phi|, ties at random, alike for all methods.  The noise of a
    sample is drawn by its identifier, the same for all methods and shares, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        scale: Standard deviation sigma of the noise, in units of the model's input; OpenXAI has
            0.1 on columns scaled to [0, 1].
        draws: Number D of noisy inputs for each sample.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: What counts as one feature, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (columns of tables, elements by default).
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares, a scale or a number of draws that are not above zero, or an unknown
            scalar.
    """

    foldable = True
    family = "faithfulness"
    ranks = True
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    label: ClassVar[str] = ""
    top: ClassVar[bool] = True
    image_defaults: ClassVar[Mapping[str, Any]] = {"scalar": "probability", "features": "pixel"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"scalar": "score"}

    fractions: Sequence[float] = (0.25,)
    scale: float = 0.1
    draws: int = 100
    scalar: Literal["score", "logit", "probability"] | None = None
    features: str | Tensor | None = None
    tie_orders: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))
        for name in ("scale", "draws", "tie_orders"):
            check_positive(name, getattr(self, name))
        perturb.check_removal(self.scalar, None)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return (0, 1) if self.scalar == "probability" else (0, math.inf)

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "score"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        shares = ", ".join(f"{k:g}" for k in self.fractions)
        return f"{self.label} ({shares} of the features, noise {self.scale:g}, {self.draws} draws)"

    @property
    def sharing_key(self) -> object:
        """Metrics with the same output and features share f(x) and the noise."""
        return (
            PredictionGap, self.scalar, content(self.features), self.scale, self.draws,
        )  # fmt: skip

    def observe(self, batch: Batch) -> Noisy:
        """The output of the clean samples, and their noisy versions."""
        own = self.for_shape(batch.x.shape[1:])
        features = self.features_of(batch)
        score = perturb.tracked(batch.score, own.scalar)
        inputs = [
            noisy(
                batch.x[i],
                features,
                self.scale,
                self.draws,
                rng.generator(batch.metric_seed, "prediction gap", batch.sample_ids[i]),
                batch.still,
            )
            for i in range(len(batch))
        ]
        return Noisy(score, features, score.evaluate(batch.x, batch.target).double(), inputs)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Noisy
    ) -> dict[str, Measurement]:
        """The mean gap of every attribution; x of the curve is the fraction k / G."""
        count = observation.features.count
        counts = feature_units.counts_of(self.fractions, count, rounding="ceil")
        values = torch.stack(
            [
                feature_units.total(a.values, observation.features).abs()
                for a in attributions.values()
            ]
        )
        shape = (self.tie_orders, *values.shape[:2], len(counts), self.draws)
        gaps = torch.full(shape, math.nan).to(values)
        for i in range(len(batch)):
            ranked = [m for m in range(len(values)) if ranks_something(values[m, i])]
            if ranked:
                gaps[:, ranked, i] = self._gaps(batch, i, values[ranked, i], counts, observation)
        xs = [k / count for k in counts]
        return {name: _summarised(gaps[:, m], self.name, xs) for m, name in enumerate(attributions)}

    def _gaps(
        self, batch: Batch, i: int, values: Tensor, counts: Sequence[int], noise: Noisy
    ) -> Tensor:
        """Gaps of one sample for maps (m, G) that rank something, (R, m, P, D)."""
        ranks, places = perturb.rankings(
            values, batch.metric_seed, batch.sample_ids[i], self.tie_orders, counts
        )
        features = feature_units.on(noise.features, batch.x.device)
        many = torch.tensor(list(counts), device=ranks.device)
        important = ranks[:, None, :] < many[:, None]  # (orders, P, G)
        changed = important.flatten(0, 1) if self.top else ~important.flatten(0, 1)

        def build(draw: Tensor) -> Tensor:
            own = feature_units.spread(changed[draw // self.draws], features)
            return torch.where(own, noise.inputs[i][draw % self.draws], batch.x[i])

        out = noise.score.evaluate_draws(
            len(changed) * self.draws, batch.target_of(i), build, device=batch.x.device
        ).double()
        gaps = (out - noise.clean[i]).abs().view(len(ranks), len(counts), self.draws)
        return gaps.to(values)[places]


@dataclass(frozen=True, eq=False)
class Noisy:
    """Samples with noise on all of their features.

    Attributes:
        score: The tracked output.
        features: What has noise or has none as a whole.
        clean: (N,) float64 output without noise.
        inputs: N tensors (D, *F).
    """

    score: Score
    features: Features
    clean: Tensor
    inputs: Sequence[Tensor]


def _summarised(gaps: Tensor, name: str, xs: Sequence[float]) -> Measurement:
    """Mean over orders, shares and draws, (R, N, P, D), with the errors of draws and of orders."""
    by_order = gaps.mean(dim=(2, 3))
    variance = torch.zeros_like(by_order[0])
    orders, draws = gaps.shape[0], gaps.shape[3]
    if draws > 1:
        variance = gaps.mean(dim=(0, 2)).var(dim=1) / draws
    if orders > 1:
        variance = variance + by_order.var(dim=0) / orders
    error = variance.sqrt() if draws > 1 else None
    curve = gaps.mean(dim=(0, 3))
    return Measurement(by_order.mean(dim=0), error, REASON_FLAT_MAP, {name: (list(xs), curve)})


@dataclass(frozen=True)
class PredictionGapImportant(PredictionGap):
    """Prediction gap on important features (PGI): mean |f(x) - f(x')|, noise on the top k alone.

    Features are ranked by falling |phi|, ties at random, alike for all methods.  The noise of a
    sample is drawn by its identifier, the same for all methods and shares, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Higher is better, in [0, inf), or [0, 1] for probabilities.  Undefined for flat maps, which rank
    nothing.  The standard error is that of draws and of the orders of ties.  Cost: 1 model row for
    each sample, shared by all methods, and D for each method and share (100 by default), R times as
    many where ties matter.

    Source: Agarwal et al. 2022, "OpenXAI" (NeurIPS), section 3; the noise is seeded by the sample
    and not by its row, and acts on whole categories.

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        scale: Standard deviation sigma of the noise, in units of the model's input; OpenXAI has
            0.1 on columns scaled to [0, 1].
        draws: Number D of noisy inputs for each sample.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: What counts as one feature, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (columns of tables, elements by default).
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares, a scale or a number of draws that are not above zero, or an unknown
            scalar.

    Example:
        The gap of a linear model is sigma sqrt(2/pi) times the norm of the weights with noise:
        0.1 sqrt(2/pi) 3 = 0.2394 for the first one.

        >>> import torch
        >>> from igbench.metrics import pgi
        >>> w, x = torch.tensor([[3.0, -2.0, 1.0]]), torch.ones(1, 3)
        >>> found = pgi(lambda x: x @ w[0], x, w, fractions=(1,), draws=1000)
        >>> bool((found - 0.2394).abs() < 4 * found.std_error)
        True
    """

    name = "pgi"
    explains = "Does noise on the important features move the output?"
    direction = "higher"
    reference = "Agarwal et al. 2022, OpenXAI"
    label = "Prediction gap on important features"
    top = True
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {"pgi": AXES}


@dataclass(frozen=True)
class PredictionGapUnimportant(PredictionGap):
    """Prediction gap on unimportant features (PGU): mean |f(x) - f(x')|, noise outside the top k.

    Features are ranked by falling |phi|, ties at random, alike for all methods.  The noise of a
    sample is drawn by its identifier, the same for all methods and shares, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Lower is better, in [0, inf), or [0, 1] for probabilities.  Undefined for flat maps, which rank
    nothing.  The standard error is that of draws and of the orders of ties.  Cost: 1 model row for
    each sample, shared by all methods, and D for each method and share (100 by default), R times as
    many where ties matter.

    Source: Agarwal et al. 2022, "OpenXAI" (NeurIPS), section 3; the noise is seeded by the sample
    and not by its row, and acts on whole categories.

    Args:
        fractions: Shares k of the features: fractions of G below 1 (rounded up), or whole numbers;
            the value is the mean over them.
        scale: Standard deviation sigma of the noise, in units of the model's input; OpenXAI has
            0.1 on columns scaled to [0, 1].
        draws: Number D of noisy inputs for each sample.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images, "score" otherwise.
        features: What counts as one feature, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (columns of tables, elements by default).
        tie_orders: Number R of random orders of tied features.

    Raises:
        InputError: Shares, a scale or a number of draws that are not above zero, or an unknown
            scalar.

    Example:
        The gap of a linear model is sigma sqrt(2/pi) times the norm of the weights with noise:
        0.1 sqrt(2/pi) sqrt(4 + 1) = 0.1784 without the first one.

        >>> import torch
        >>> from igbench.metrics import pgu
        >>> w, x = torch.tensor([[3.0, -2.0, 1.0]]), torch.ones(1, 3)
        >>> found = pgu(lambda x: x @ w[0], x, w, fractions=(1,), draws=1000)
        >>> bool((found - 0.1784).abs() < 4 * found.std_error)
        True
    """

    name = "pgu"
    explains = "Does noise on the unimportant features leave the output alone?"
    direction = "lower"
    reference = "Agarwal et al. 2022, OpenXAI"
    label = "Prediction gap on unimportant features"
    top = False
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {"pgu": AXES}
