"""Monotonicity correlation: rank agreement of attributions with single-feature effects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.errors import InputError, check_choice
from igbench.metrics.base import BaseMetric
from igbench.metrics.faithfulness.pearson import pearson
from igbench.metrics.monte_carlo import jackknife
from igbench.metrics.similarity import ranks
from igbench.metrics.units import patches


@dataclass(frozen=True)
class MonotonicityCorrelation(BaseMetric):
    """Monotonicity correlation: Spearman over features of |phi_i| with E[(f(x) - f(x_i -> u))^2].

    The expectation e_i is over the values u that replace feature i.  They are uniform between the
    least and the greatest value of the sample's own channel (of the whole sample where there are no
    channels), or they are the baseline.  The factor 1 / f(x)^2 of the paper is the same for all
    features and leaves the ranks as they are.  Changes of f that differ by less than its rounding
    count as equal, and ties share their average rank.

    Higher is better, in [-1, 1].  Undefined where all |phi_i| or all e_i are equal.  e_i is a mean
    over D draws that all methods share; the standard error is the jackknife's over draws, which is
    too large (by up to a half) where there are few features and many draws.  Noise in e_i biases
    the correlation towards 0, equally for all methods.  Cost: D G + 1 model rows for each sample,
    shared by all methods.

    Source: Nguyen and Rodriguez Martinez 2020, On quantitative aspects of model interpretability.

    Args:
        fill: "uniform" (random values) or "baseline" (a single draw, exact).
        draws: Number D of random values for each feature.
        span: Least and greatest random value, in units of the input; None for the sample's own.
        features: Unit that is replaced, see `igbench.core.features.resolve`.  None: 7 patches along
            the short side of images, otherwise the unit of the data (elements by default).

    Raises:
        InputError: Unknown fill, fewer than 2 draws, or an empty span.

    Example:
        The effects are 9, 4, 1; the map swaps the last two ranks.

        >>> import torch
        >>> from igbench.metrics import monotonicity_correlation
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> f = lambda x: x @ x.new_tensor([3.0, 2.0, 1.0])
        >>> phi = x.new_tensor([[3.0, 1.0, 2.0]])
        >>> monotonicity_correlation(f, x, phi, fill="baseline").round(decimals=6).tolist()
        [0.5]
    """

    foldable = True
    name = "monotonicity_correlation"
    family = "faithfulness"
    explains = "Does the output depend more on features with larger attributions?"
    direction = "higher"
    reference = "Nguyen, Rodriguez Martinez 2020, monotonicity"
    range = (-1, 1)
    undefined = "all attributions or all effects on the output are equal (flat map)"
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(7)}

    fill: Literal["uniform", "baseline"] = "uniform"
    draws: int = 8
    span: tuple[float, float] | None = None
    features: str | Tensor | None = None

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = f"uniform x {self.draws}" if self.fill == "uniform" else "baseline"
        return f"Monotonicity correlation ({how})"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("fill", self.fill, ("uniform", "baseline"))
        if self.fill == "uniform" and self.draws < 2:
            raise InputError(
                f"monotonicity_correlation has draws={self.draws}; it needs at least 2."
            )
        if self.span is not None and not self.span[0] < self.span[1]:
            raise InputError(f"span is {self.span}; its first value must be the smaller.")

    @property
    def sharing_key(self) -> object:
        """Metrics with equal parameters share an observation."""
        return self

    def observe(self, batch: Batch) -> Tensor:
        """|f(x) - f(x, feature i at u)| to within rounding, (N, D, G) float64."""
        features = self.features_of(batch)
        clean = batch.score.evaluate(batch.x, batch.target).double()
        return torch.stack([self._changes(batch, i, clean[i], features) for i in range(len(batch))])

    def _changes(self, batch: Batch, i: int, clean: Tensor, features: Features) -> Tensor:
        x, count = batch.x[i], features.count
        fills = self._fills(batch, i)
        index = features.index.to(x.device)

        def build(draw: Tensor) -> Tensor:
            feature = (draw % count).view(-1, *[1] * x.dim())
            return torch.where(index == feature, fills[draw // count], x)

        rows = len(fills) * count
        out = batch.score.evaluate_draws(rows, batch.target_of(i), build, device=x.device).double()
        grid = 64 * torch.finfo(x.dtype).eps * torch.maximum(out.abs().amax(), clean.abs())
        steps = ((out - clean).abs() / grid).round() if float(grid) > 0 else torch.zeros_like(out)
        return (steps * grid).view(len(fills), count)

    def _fills(self, batch: Batch, i: int) -> Tensor:
        """(D, *F) values that replace features of one sample."""
        if self.fill == "baseline":
            return batch.baseline[i : i + 1]
        x = batch.x[i]
        g = rng.generator(batch.metric_seed, "monotonicity", batch.sample_ids[i])
        unit = torch.stack(
            [torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(self.draws)]
        ).to(x)
        if self.span is not None:
            low, high = (torch.full_like(x, v) for v in self.span)
        else:
            axes = tuple(range(1, x.dim())) if x.dim() > 1 else (0,)
            marks = torch.zeros_like(x, dtype=torch.bool) if batch.still is None else batch.still
            low = x.masked_fill(marks, math.inf).amin(dim=axes, keepdim=True)
            high = x.masked_fill(marks, -math.inf).amax(dim=axes, keepdim=True)
        fills = low + (high - low) * unit
        return fills if batch.still is None else torch.where(batch.still, x, fills)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """The rank correlation of every attribution."""
        squared = observation**2
        draws = squared.shape[1]
        means = squared.mean(dim=1, keepdim=True)
        if draws > 1:
            without = (squared.sum(dim=1, keepdim=True) - squared) / (draws - 1)
            means = torch.cat([means, without], dim=1)
        effects = ranks(means).unbind(dim=1)
        features = self.features_of(batch)
        result = {}
        for name, attribution in attributions.items():
            sizes = feature_units.total(attribution.values, features).abs()
            own = ranks(sizes.where(sizes.isfinite(), math.nan))
            r = torch.stack([_correlation(own, e) for e in effects], dim=1)  # (N, 1 + D)
            error = None
            if draws > 1:
                error = jackknife(r[:, 1:])
            result[name] = Measurement(
                r[:, 0], error, "all attributions or all effects on the output are equal"
            )
        return result


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([pearson(x, y, torch.float64) for x, y in zip(a, b, strict=True)])
