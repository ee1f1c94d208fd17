"""Dummy axiom: attribution on features that the model ignores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.features import Features
from igbench.core.score import Score, Wrapped
from igbench.errors import InputError, NotDefinedError, check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged, jackknife, repeated
from igbench.metrics.reexplain import explained, l1, method_of_batch
from igbench.metrics.units import patches

REASONS = {
    "plant": "the map is zero or not finite",
    "detect": "the model ignores no feature, or the map is zero",
}


@dataclass(frozen=True)
class Dummy(BaseMetric):
    """Dummy: share of |phi| on features that the model ignores, 0 by the dummy axiom.

    Per sample, with the set I of ignored features, sum over I of |phi_i| / sum of |phi_i|.

    - "plant": a random share of the features, drawn by (seed, sample id), is made ignored: the
      method explains f(x with I at the baseline), which does not depend on I at all.  Every model
      has such a variant, so every sample has a value; a map that is independent of the model has
      about `share`.  The value is the mean over R such parts, with its standard error.
    - "detect": the map is scored as it is, and I is found by perturbation.  Draw d = 1 takes x,
      every further one a mixture in which each feature is that of x or noise, at even odds; then
      each feature in turn is replaced by other noise.  Noise is uniform from the least to the
      greatest element of x and the baseline.  I holds the features whose replacement changes f by
      no more than rounding (64 machine epsilons of the largest |f|) in all D draws: more draws can
      only shrink it.  The standard error is the jackknife's over draws: 0 where no single draw
      decides on a feature.

    Lower is better, in [0, 1].  Undefined where the map is zero; "detect" also where I is empty, as
    it is for most networks.  Cost: "plant": R explanations for each method; "detect": D (G + 1)
    model rows for each sample, shared by all methods.

    Source: Sundararajan, Taly and Yan 2017, section 2, sensitivity (b); Friedman 2004, dummy.

    Args:
        mode: "plant" or "detect".
        share: Share of the features that is planted, in (0, 1).
        draws: Number D of draws of "detect"; 1 gives no standard error.
        features: Unit that is ignored, see `igbench.core.features.resolve`.  None: 7 patches along
            the short side of images, otherwise the unit of the data (elements by default).
        repeats: Number R of parts of "plant"; 1 gives no standard error.

    Raises:
        InputError: Unknown mode, a share outside (0, 1), fewer than one draw or repeat, fewer than
            two features, or no method to explain with ("plant").

    Example:
        f = 3 x1 ignores x2, which has 1 of 4.

        >>> import torch
        >>> from igbench.metrics import dummy
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> dummy(lambda x: 3 * x[:, 0], x, x.new_tensor([[3.0, 1.0]]), mode="detect").tolist()
        [0.25]
    """

    name = "dummy"
    family = "axiomatic"
    explains = "Does a feature that the model ignores get any attribution?"
    direction = "lower"
    reference = "Sundararajan, Taly, Yan 2017, sensitivity (b)"
    range = (0, 1)
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(7)}

    mode: Literal["plant", "detect"] = "plant"
    share: float = 0.5
    draws: int = 4
    features: str | Tensor | None = None
    repeats: int = 2

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = f"{self.share:g} planted" if self.mode == "plant" else f"found, {self.draws} draws"
        return f"Dummy (share of |phi| on ignored features, {how})"

    @property
    def needs_method(self) -> bool:
        """Whether it explains again: ignored features that are planted change the model."""
        return self.mode == "plant"

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return REASONS[self.mode]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("mode", self.mode, tuple(REASONS))
        check_positive("draws", self.draws)
        check_positive("repeats", self.repeats)
        if not 0 < self.share < 1:
            raise InputError(f"share is {self.share}; it must be between 0 and 1.")

    @property
    def sharing_key(self) -> object:
        """Metrics with equal parameters share an observation."""
        return self

    def observe(self, batch: Batch) -> Tensor:
        """Mask of ignored features, boolean.

        "plant": (R, N, G), for each repeat.  "detect": (D, N, G), as found by each draw alone.

        Raises:
            InputError: Fewer than two features.
        """
        features = self._features(batch)
        if self.mode == "plant":
            parts = [self._planted(own, features) for own in repeated(batch, self.repeats)]
            return torch.stack(parts)
        found = [self._detected(batch, i, features) for i in range(len(batch))]
        return torch.stack(found, dim=1)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """Share of every attribution on ignored features."""
        measure = self._of_planted if self.mode == "plant" else self._of_detected
        features = self._features(batch)
        return {
            name: measure(name, attribution, batch, observation, features)
            for name, attribution in attributions.items()
        }

    def _of_planted(
        self,
        name: str,
        attribution: Attribution,
        batch: Batch,
        planted: Tensor,
        features: Features,
    ) -> Measurement:
        found = []
        for own in planted:
            values = self._again(name, attribution, batch, own, features)
            found.append(share_on(values, own, features))
        return averaged(torch.stack(found), REASONS["plant"])

    def _of_detected(
        self,
        name: str,
        attribution: Attribution,
        batch: Batch,
        seen: Tensor,
        features: Features,
    ) -> Measurement:
        def share(ignored: Tensor) -> Tensor:
            return share_on(attribution.values, ignored, features)

        every = seen.all(dim=0)
        value = share(every).where(every.any(dim=1), math.nan)
        if self.draws == 1:
            return Measurement(value, reason=REASONS["detect"])
        others = [torch.cat([seen[:d], seen[d + 1 :]]) for d in range(self.draws)]
        without = torch.stack([share(other.all(dim=0)) for other in others], dim=1)
        error = jackknife(without).where(value.isfinite(), math.nan)
        return Measurement(value, error, REASONS["detect"])

    def _features(self, batch: Batch) -> Features:
        features = self.features_of(batch)
        if features.count < 2:
            raise NotDefinedError(
                f"features {features.name!r} make one feature of the whole sample; dummy needs two "
                "or more. Choose smaller ones, for example features=pixel."
            )
        return features

    def _planted(self, batch: Batch, features: Features) -> Tensor:
        many = min(max(1, round(self.share * features.count)), features.count - 1)
        rows = []
        for sample_id in batch.sample_ids:
            g = rng.generator(batch.metric_seed, "dummy", sample_id)
            rows.append(torch.randperm(features.count, generator=g) < many)
        return torch.stack(rows).to(batch.x.device)

    def _again(
        self,
        name: str,
        attribution: Attribution,
        batch: Batch,
        planted: Tensor,
        features: Features,
    ) -> Tensor:
        """Maps of the functions that ignore the planted features, one sample at a time."""
        method_of_batch(name, attribution)
        masks = feature_units.spread(planted, features)
        maps = []
        for i in range(len(batch)):
            score = Ignoring(batch.score, masks[i], batch.baseline[i])
            part = replace(batch.select(slice(i, i + 1)), score=score)
            own = replace(attribution, values=attribution.values[i : i + 1])
            maps.append(explained(name, own, part))
        return torch.cat(maps)

    def _detected(self, batch: Batch, i: int, features: Features) -> Tensor:
        """Features of one sample that each draw shows to be ignored, (D, G)."""
        mixtures, noise = self._draws(batch, i, features)
        index, count = features.index.to(batch.x.device), features.count

        def build(draw: Tensor) -> Tensor:
            # Row 0 of each draw is the mixture itself: no feature has the number -1.
            number = (draw % (count + 1) - 1).view(-1, *[1] * index.dim())
            d = draw // (count + 1)
            return torch.where(index == number, noise[d], mixtures[d])

        rows = self.draws * (count + 1)
        out = batch.score.evaluate_draws(
            rows, batch.target_of(i), build, device=index.device
        ).double()
        table = out.view(self.draws, count + 1)
        rounding = 64 * torch.finfo(batch.x.dtype).eps * out.abs().amax()
        return (table[:, 1:] - table[:, :1]).abs() <= rounding

    def _draws(self, batch: Batch, i: int, features: Features) -> tuple[Tensor, Tensor]:
        """Mixtures of x and noise, and noise to replace single features, (D, *F) both."""
        x = batch.x[i]
        still = torch.zeros_like(x, dtype=torch.bool) if batch.still is None else batch.still
        low, high = torch.stack([x, batch.baseline[i]])[:, ~still].aminmax()
        mixtures, noise = [x], []
        for d in range(self.draws):
            g = rng.generator(batch.metric_seed, "dummy", batch.sample_ids[i], d)
            first, second = (
                low + (high - low) * torch.rand(x.shape, generator=g, dtype=torch.float64).to(x)
                for _ in range(2)
            )
            first, second = x.where(still, first), x.where(still, second)
            coin = torch.rand(1, features.count, generator=g, dtype=torch.float32) < 0.5
            if d:
                mixtures.append(
                    torch.where(feature_units.spread(coin.to(x.device), features)[0], x, first)
                )
            noise.append(second)
        return torch.stack(mixtures), torch.stack(noise)


def share_on(values: Tensor, ignored: Tensor, features: Features) -> Tensor:
    """Share of |phi| on some features, (N, *F) and (N, G) boolean to (N,).

    Args:
        values: (N, *F) maps.
        ignored: (N, G) which features count.
        features: What each of the G features covers.
    """
    inside = feature_units.spread(ignored, features).to(values.device)
    return l1(values.where(inside, 0.0)) / l1(values)


class Ignoring(Wrapped):
    """Scalar f(x with some elements at fixed values), which ignores these elements.

    Args:
        score: f.
        ignored: (*F) boolean.
        value: (*F) fixed values.
    """

    def __init__(self, score: Score, ignored: Tensor, value: Tensor) -> None:
        super().__init__(score)
        self.ignored = ignored
        self.value = value

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Scalar of every row, (N,)."""
        return super().forward(torch.where(self.ignored, self.value, x), target)
