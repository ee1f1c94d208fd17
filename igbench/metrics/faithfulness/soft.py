"""Soft comprehensiveness and sufficiency: every number of the input is kept with some odds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.errors import InputError
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.ranking import ranks_something
from igbench.metrics.sequential import (
    AUTO,
    DRAWS_AXES,
    Look,
    Stopped,
    check_bound,
    described,
    ladder,
    stops,
    until,
)
from igbench.schema import Direction

REASON = f"{REASON_FLAT_MAP}, or removing everything does not lower the output"


@dataclass(frozen=True)
class Soft(BaseMetric):
    """Base of the soft metrics: x~ keeps element e of feature i with odds q_i, drawn anew for each.

    a is phi summed over each feature, scaled to [0, 1] by its smallest and largest value.  What is
    not kept takes the value of the occluder.  All methods use the same draws.

    Args:
        draws: Number D of draws; the authors' code has one.  "auto" takes as many as `error` needs.
        normalise: Compare with the output where everything is removed, as in the paper; otherwise
            the value is the mean of f(x) - f(x~).
        occluder: Replacement of what is not kept: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", see `igbench.core.perturb.occluded`.  None: "zero"
            for images and texts, as in the paper, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit of the attributions, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        error: Bound of the standard error with "auto", as a share of |f(x) - f(nothing)|.
        most: Largest number of draws with "auto".

    Raises:
        InputError: Fewer than two draws, or an unknown occluder or scalar.
    """

    foldable = True
    family = "faithfulness"
    reference = "Zhao, Aletras 2023, section 4"
    label: ClassVar[str] = ""
    keeps: ClassVar[bool] = True
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "occluder": "zero",
        "scalar": "probability",
        "features": "pixel",
    }
    other_defaults: ClassVar[Mapping[str, Any]] = {"occluder": "baseline", "scalar": "score"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "text": {"occluder": "zero", "scalar": "probability"}
    }

    draws: int | Literal["auto"] = 64
    normalise: bool = True
    occluder: str | None = None
    scalar: Literal["score", "logit", "probability"] | None = None
    features: str | Tensor | None = None
    error: float = 0.02
    most: int = 256

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "score"

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return REASON if self.normalise else REASON_FLAT_MAP

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = "normalised" if self.normalise else "mean change"
        draws = described(self.draws, self.error, self.most)
        return f"{self.label} ({how}, {draws} draws, {self.occluder} occluder)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bound(self.error, self.most, least=2)
        if not isinstance(self.draws, str) and self.draws < 2:
            raise InputError(f"{self.name} needs at least 2 draws, got {self.draws}.")
        perturb.check_removal(self.scalar, self.occluder)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same occluder, output and features share f(x) and f(nothing)."""
        return (Soft, self.occluder, self.scalar, content(self.features))

    def at_most(self) -> Self:
        """The same metric with the largest number of draws that it may take."""
        return replace(self, draws=self.most) if self.draws == AUTO else self

    def observe(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """f(x), and f where everything is removed, (N,) float64 both.

        Raises:
            InputError: Features or an occluder that do not fit the shape of the samples.
        """
        own = self.for_shape(batch.x.shape[1:])
        score, fill = perturb.tracked(batch.score, own.scalar), self._fill(batch)
        return (
            score.evaluate(batch.x, batch.target).double(),
            score.evaluate(fill, batch.target).double(),
        )

    def _fill(self, batch: Batch) -> Tensor:
        own = self.for_shape(batch.x.shape[1:])
        return perturb.occluded(batch, own.occluder or "baseline")

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: tuple[Tensor, Tensor],
    ) -> dict[str, Measurement]:
        """The score of every attribution, with the standard error over draws."""
        clean, empty = observation
        if self.draws == AUTO:
            return self._sequential(batch, attributions, clean, empty)
        span = self._span(clean, empty, batch.x.dtype)
        result = {}
        for name, out in self._outputs(batch, attributions).items():
            values = self._values(clean[:, None], out, span[:, None])
            error = values.std(dim=1) / math.sqrt(values.shape[1])
            result[name] = Measurement(values.mean(dim=1), error, self.undefined)
        return result

    def _span(self, clean: Tensor, empty: Tensor, dtype: torch.dtype) -> Tensor:
        """f(x) - f(nothing), NaN where removing everything does not lower the output."""
        span, eps = clean - empty, torch.finfo(dtype).eps
        return span.where(span > 64 * eps * torch.maximum(clean.abs(), empty.abs()), math.nan)

    def _values(self, clean: Tensor, out: Tensor, span: Tensor) -> Tensor:
        """Scores of draws."""
        values = clean - out
        return self.normalised(values.clamp(min=0) / span) if self.normalise else values

    def normalised(self, share: Tensor) -> Tensor:
        """Score of the share of f(x) - f(nothing) that is lost, at least 0."""
        raise NotImplementedError

    def _outputs(self, batch: Batch, attributions: Mapping[str, Attribution]) -> dict[str, Tensor]:
        """f(x~) for every draw, (N, D) float64 each; NaN for flat maps, which cost nothing."""
        assert not isinstance(self.draws, str)
        values = self._totals(batch, attributions)
        found = values.new_full((*values.shape[:2], self.draws), math.nan)
        for i in range(len(batch)):
            ranked = [m for m in range(len(values)) if ranks_something(values[m, i])]
            if ranked:
                found[ranked, i] = self._drawn(batch, i, values[ranked, i], slice(0, self.draws))
        return {name: found[m] for m, name in enumerate(attributions)}

    def _totals(self, batch: Batch, attributions: Mapping[str, Attribution]) -> Tensor:
        """Maps summed over each feature, (M, N, G)."""
        features = self.features_of(batch)
        return torch.stack([feature_units.total(a.values, features) for a in attributions.values()])

    def _drawn(self, batch: Batch, i: int, values: Tensor, part: slice) -> Tensor:
        """f(x~) of one sample for maps (m, G) and some draws, (m, D) float64."""
        own = self.for_shape(batch.x.shape[1:])
        score, fill = perturb.tracked(batch.score, own.scalar), self._fill(batch)
        features = feature_units.on(self.features_of(batch), batch.x.device)
        odds = scaled(values)
        odds = feature_units.spread(odds if self.keeps else 1 - odds, features)
        maps, count = len(values), part.stop - part.start

        def build(row: Tensor) -> Tensor:  # all maps with the same dice, one after the other
            draws, which = (part.start + row // maps).unique(return_inverse=True)
            dice = torch.stack([self._dice(batch, i, int(d)) for d in draws])[which]
            kept = dice.to(odds.device) < odds[(row % maps).to(odds.device)]
            return torch.where(kept, batch.x[i], fill[i])

        out = score.evaluate_draws(maps * count, batch.target_of(i), build)
        return out.double().view(count, maps).T

    def _sequential(
        self, batch: Batch, attributions: Mapping[str, Attribution], clean: Tensor, empty: Tensor
    ) -> dict[str, Measurement]:
        """The score of every attribution over as many draws as its error needs."""
        totals, rungs = self._totals(batch, attributions), ladder(self.most)
        values, errors = (clean.new_full(totals.shape[:2], math.nan) for _ in range(2))
        traces = clean.new_full((*totals.shape[:2], len(rungs)), math.nan)
        for i in range(len(batch)):
            ranked = [m for m in range(len(totals)) if ranks_something(totals[m, i])]
            if ranked:
                found = self._until(batch, i, totals[ranked, i], clean[i], empty[i])
                values[ranked, i], errors[ranked, i] = found.values[:, 0], found.error
                traces[ranked, i] = found.trace
        curve = f"{self.name}_draws"
        return {
            name: Measurement(values[m], errors[m], self.undefined, {curve: (rungs, traces[m])})
            for m, name in enumerate(attributions)
        }

    def _until(self, batch: Batch, i: int, maps: Tensor, clean: Tensor, empty: Tensor) -> Stopped:
        """Scores of maps (m, G) of one sample over as many draws as the error of each needs."""
        span = self._span(clean, empty, batch.x.dtype)
        unit = 1.0 if self.normalise else (clean - empty).abs()

        def drawn(part: slice, numbers: Tensor) -> tuple[Tensor, Tensor]:
            out = self._drawn(batch, i, maps[numbers], part)
            return out, out[0]

        def look(out: Tensor, _: Tensor) -> Look:
            values = self._values(clean, out, span)
            error = values.std(dim=1) / math.sqrt(values.shape[1])
            bound = error.new_tensor(self.error) * unit
            return Look(values.mean(dim=1)[:, None], error, stops(error, bound))

        nothing = span.isnan() if self.normalise else torch.zeros_like(span).bool()
        return until(ladder(self.most), drawn, look, nothing.expand(len(maps)))

    def _dice(self, batch: Batch, i: int, draw: int) -> Tensor:
        """Numbers in [0, 1) for every element of a sample, (*F) float64."""
        g = rng.generator(batch.metric_seed, "soft", batch.sample_ids[i], draw)
        return torch.rand(batch.x.shape[1:], generator=g, dtype=torch.float64)


def scaled(values: Tensor) -> Tensor:
    """Values from 0 to 1 by the smallest and the largest of each row, (M, G) to (M, G).

    Example:
        >>> scaled(torch.tensor([[4.0, 1.0, -2.0]]))
        tensor([[1.0000, 0.5000, 0.0000]])
    """
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return (values - low) / (high - low)


@dataclass(frozen=True)
class SoftComprehensiveness(Soft):
    """Soft comprehensiveness: the loss where elements are kept the less, the larger phi is.

    Element e of feature i is kept with the odds 1 - a_i, where a is phi summed over each feature,
    scaled to [0, 1] by its smallest and largest value.  What is not kept takes the value of the
    occluder.  With d = max(0, f(x) - f(x~)) and d0 = f(x) - f(nothing), the value is the mean of d
    / d0 over draws; without `normalise`, the mean of f(x) - f(x~).  All methods use the same draws.

    How much is kept depends on how even the map is, and not on its order alone: compare methods
    whose maps are alike in that.  The authors' released wrapper draws once, and also masks special
    tokens and positions.

    Higher is better, in [0, inf); without `normalise` in the units of f.  Undefined for flat maps,
    and where removing everything does not lower the output.  Cost: 2 model rows for each sample,
    shared by all methods, and D for each method (64 by default).

    With draws="auto", D is the least of 16, 32, 64, ... at which the standard error of a sample's
    score is at most `error` times |f(x) - f(nothing)|; or `most`, and then the error on the record
    may be larger.  The score is that of this fixed D; see `igbench.metrics.sequential` for what
    stopping does to a mean.

    Source: Zhao and Aletras 2023, Incorporating attribution importance for improving faithfulness
    metrics, section 4.

    Args:
        draws: Number D of draws; the authors' code has one.  "auto" takes as many as `error` needs.
        normalise: Compare with the output where everything is removed, as in the paper; otherwise
            the value is the mean of f(x) - f(x~).
        occluder: Replacement of what is not kept: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", see `igbench.core.perturb.occluded`.  None: "zero"
            for images and texts, as in the paper, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit of the attributions, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        error: Bound of the standard error with "auto", as a share of |f(x) - f(nothing)|.
        most: Largest number of draws with "auto".

    Raises:
        InputError: Fewer than two draws, or an unknown occluder or scalar.

    Example:
        The first feature is never kept and the second always: 3 of 4 are lost in every draw.

        >>> import torch
        >>> from igbench.metrics import soft_comprehensiveness
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 1.0]])
        >>> soft_comprehensiveness(lambda x: x @ phi[0], x, phi).tolist()
        [0.75]
    """

    name = "soft_comprehensiveness"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "soft_comprehensiveness_draws": DRAWS_AXES
    }
    explains = "How much of the output is lost when important elements are likely to go?"
    direction = "higher"
    label = "Soft comprehensiveness"
    keeps = False

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return (0, math.inf) if self.normalise else (-math.inf, math.inf)

    def normalised(self, share: Tensor) -> Tensor:
        """The share that is lost."""
        return share


@dataclass(frozen=True)
class SoftSufficiency(Soft):
    """Soft sufficiency: what is left where elements are kept the more, the larger phi is.

    Element e of feature i is kept with the odds a_i, which is phi summed over each feature, scaled
    to [0, 1] by its smallest and largest value.  What is not kept takes the value of the occluder.
    With d = max(0, f(x) - f(x~)) and d0 = f(x) - f(nothing), the value is the mean of max(0, 1 - d
    / d0) over draws; without `normalise`, the mean of f(x) - f(x~), where lower is better.  All
    methods use the same draws.

    How much is kept depends on how even the map is, and not on its order alone: compare methods
    whose maps are alike in that.  The authors' released wrapper for BERT keeps with the odds 1 -
    a_i, against the paper, draws once, and also masks special tokens and positions.

    Higher is better, in [0, 1]; without `normalise` lower is better, in the units of f.  Undefined
    for flat maps, and where removing everything does not lower the output.  Cost: 2 model rows for
    each sample, shared by all methods, and D for each method (64 by default).

    With draws="auto", D is the least of 16, 32, 64, ... at which the standard error of a sample's
    score is at most `error` times |f(x) - f(nothing)|; or `most`, and then the error on the record
    may be larger.  The score is that of this fixed D; see `igbench.metrics.sequential` for what
    stopping does to a mean.

    Source: Zhao and Aletras 2023, Incorporating attribution importance for improving faithfulness
    metrics, section 4.

    Args:
        draws: Number D of draws; the authors' code has one.  "auto" takes as many as `error` needs.
        normalise: Compare with the output where everything is removed, as in the paper; otherwise
            the value is the mean of f(x) - f(x~).
        occluder: Replacement of what is not kept: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask", see `igbench.core.perturb.occluded`.  None: "zero"
            for images and texts, as in the paper, "baseline" otherwise.
        scalar: Tracked output f: "score" (what the attribution explains), "logit" or "probability".
            None: "probability" for images and texts, "score" otherwise, and where a model has a
            single output.
        features: Unit of the attributions, see `igbench.core.features.resolve`.  None: pixels of
            images, otherwise the unit of the data (elements by default).
        error: Bound of the standard error with "auto", as a share of |f(x) - f(nothing)|.
        most: Largest number of draws with "auto".

    Raises:
        InputError: Fewer than two draws, or an unknown occluder or scalar.

    Example:
        The first feature is always kept and the second never: 3 of 4 are left in every draw.

        >>> import torch
        >>> from igbench.metrics import soft_sufficiency
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 1.0]])
        >>> soft_sufficiency(lambda x: x @ phi[0], x, phi).tolist()
        [0.75]
    """

    name = "soft_sufficiency"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {"soft_sufficiency_draws": DRAWS_AXES}
    explains = "How much of the output is left when important elements are likely to stay?"
    label = "Soft sufficiency"

    @property
    def direction(self) -> Direction:
        """Direction of better values: a mean change is a loss."""
        return "higher" if self.normalise else "lower"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return (0, 1) if self.normalise else (-math.inf, math.inf)

    def normalised(self, share: Tensor) -> Tensor:
        """The share that is left."""
        return (1 - share).clamp(min=0)
