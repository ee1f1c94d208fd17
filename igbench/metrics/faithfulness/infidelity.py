"""Infidelity: squared error of an attribution as a prediction of output changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.core.features import Features
from igbench.errors import InputError, NotDefinedError, check_choice, check_positive
from igbench.metrics.base import BaseMetric, describe_unit
from igbench.schema import AS_DATA


@dataclass(frozen=True)
class Infidelity(BaseMetric):
    """Infidelity: mean over perturbations I of (I . phi - (f(x) - f(x - I)))^2.

    The meaning of I depends on the kind of the attribution.  A *local* map (a sensitivity for each
    unit of input) is multiplied by I = x - x_p, the change of the input itself.  A *global* map (a
    contribution of each feature) is multiplied by the 0/1 indicator of what was removed.

    Perturbed inputs x_p, the same for all methods:

    - "square": pixels in a random square go to the baseline (Yeh et al.'s square removal);
    - "subset": each feature goes to the baseline with probability 1/2;
    - "gaussian": independent noise N(0, scale^2) on every element; local maps only, since nothing
      is removed.

    Lower is better, in [0, inf), in squared units of f; always defined.  The standard error is that
    of the mean of squared errors over draws.  Cost: 1 + D model rows for each sample (65 by
    default), shared by all methods.

    Source: Yeh et al. 2019, definition 2.1.

    Args:
        perturbation: "square", "subset" or "gaussian".  None: "square" for images, "subset"
            otherwise.
        draws: Number D of perturbations for each sample; "all" enumerates every subset.
        scale: Standard deviation of the noise, in units of the input.
        sides: Smallest and largest side of the squares, as fractions of the shorter image side (Yeh
            et al.: 1 to 10 of 28 pixels).
        normalize: Multiply phi by the factor that fits best for each sample, sum(dot * diff) /
            sum(dot^2), as Yeh et al.'s experiments do.
        features: Unit of "subset", see `igbench.core.features.resolve`; None for the unit of the
            data (pixels of images, elements otherwise, by default).

    Raises:
        InputError: Unknown perturbation, fewer than 2 draws, "all" without "subset", squares on
            samples that are not images, "gaussian" with a global map.

    Example:
        f = x1 x2 at (2, 3) with IG (3, 3): each single removal changes f by 6 and not by 3, none
        and both fit, so the mean over the 4 subsets is (9 + 9) / 4.

        >>> import torch
        >>> from igbench.metrics import infidelity
        >>> x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 3.0]])
        >>> infidelity(lambda x: x.prod(dim=1), x, phi, draws="all", normalize=False).tolist()
        [4.5]
    """

    foldable = True
    name = "infidelity"
    family = "faithfulness"
    explains = "Does the map predict how the output moves under perturbations?"
    direction = "lower"
    reference = "Yeh et al. 2019, definition 2.1"
    needs = "signed"
    range = (0, math.inf)
    image_defaults: ClassVar[Mapping[str, Any]] = {"perturbation": "square"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"perturbation": "subset"}

    perturbation: Literal["square", "subset", "gaussian"] | None = None
    draws: int | Literal["all"] = 64
    scale: float = 0.1
    sides: tuple[float, float] = (1 / 28, 10 / 28)
    normalize: bool = True
    features: str | Tensor | None = None

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        scaled = ", best scale" if self.normalize else ""
        return f"Infidelity, Yeh 2019 ({self.perturbation} x {self.draws}{scaled})"

    @property
    def unit(self) -> str:
        """Unit of the features."""
        own = {"square": "pixel", "gaussian": "element"}.get(self.perturbation or "")
        return own or (AS_DATA if self.features is None else describe_unit(self.features))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws == "all" and self.perturbation is None:
            object.__setattr__(self, "perturbation", "subset")
        if self.perturbation is not None:
            check_choice("perturbation", self.perturbation, ("square", "subset", "gaussian"))
        if self.draws == "all" and self.perturbation != "subset":
            raise InputError("draws='all' enumerates subsets; it needs perturbation='subset'.")
        if not 0 < self.sides[0] <= self.sides[1] <= 1:
            raise InputError(
                f"sides is {list(self.sides)}; give the smallest and the largest side of a square "
                "as shares of the image, above 0 and at most 1."
            )
        check_positive("scale", self.scale)
        if self.draws != "all" and self.draws < 2:
            raise InputError(f"infidelity needs at least 2 draws, got {self.draws}.")

    @property
    def sharing_key(self) -> object:
        """Metrics with the same perturbations share an observation, normalised or not."""
        return (
            Infidelity,
            self.perturbation,
            self.draws,
            self.scale,
            self.sides,
            content(self.features),
        )

    def observe(self, batch: Batch) -> Tensor:
        """Changes f(x) - f(x_p) for every draw, (N, D) float64.

        Raises:
            InputError: Squares on samples that are not images, or too many subsets to enumerate.
        """
        if self.perturbation is None:
            return self.for_shape(batch.x.shape[1:]).observe(batch)
        clean = batch.score.evaluate(batch.x, batch.target).double()
        rows = [self._perturbed_scores(batch, i) for i in range(len(batch))]
        return clean[:, None] - torch.stack(rows)

    def _perturbed_scores(self, batch: Batch, i: int) -> Tensor:
        if self.perturbation == "gaussian":
            noise = self._noise(batch, i)
            return batch.score.evaluate_draws(
                len(noise),
                batch.target_of(i),
                lambda draw: batch.x[i] + noise[draw],
                device=batch.x.device,
            ).double()
        masks, features = self._masks(batch, i)
        build = perturb.removals(batch.x[i], batch.baseline[i], masks, features)
        return batch.score.evaluate_draws(
            len(masks), batch.target_of(i), build, device=batch.x.device
        ).double()

    def _noise(self, batch: Batch, i: int) -> Tensor:
        assert not isinstance(self.draws, str)
        g = rng.generator(batch.metric_seed, "infidelity", batch.sample_ids[i])
        shape = (self.draws, *batch.x.shape[1:])
        noise = self.scale * torch.randn(shape, generator=g, dtype=torch.float64).to(batch.x)
        return noise if batch.still is None else noise.masked_fill(batch.still, 0)

    def _masks(self, batch: Batch, i: int) -> tuple[Tensor, Features]:
        shape = tuple(batch.x.shape[1:])
        g = rng.generator(batch.metric_seed, "infidelity", batch.sample_ids[i])
        if self.perturbation == "square":
            if len(shape) != 3:
                raise NotDefinedError(f"square removal needs images, not samples of shape {shape}.")
            assert not isinstance(self.draws, str)
            short = min(shape[1:])
            low, high = (max(1, round(side * short)) for side in self.sides)
            pixels = feature_units.resolve("pixel", shape)
            return perturb.squares(shape, self.draws, (low, high), g), pixels
        features = self.features_of(batch)
        if self.draws == "all":
            return perturb.all_subsets(features.count), features
        coins = torch.rand((self.draws, features.count), generator=g, dtype=torch.float32)
        return coins < 0.5, features

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """Mean squared error of every attribution over draws.

        Raises:
            InputError: "gaussian" with a global map.
        """
        if self.perturbation is None:
            return self.for_shape(batch.x.shape[1:]).measure(batch, attributions, observation)
        if self.perturbation == "gaussian":
            wrong = [n for n, a in attributions.items() if a.spec.kind != "local"]
            if wrong:
                raise InputError(
                    f"gaussian perturbations remove nothing, so the global map {wrong[0]!r} has no "
                    "indicator to be multiplied with; use perturbation=square or subset."
                )
        names = list(attributions)
        dots = torch.stack(
            [self._dots(batch, i, list(attributions.values())) for i in range(len(batch))]
        )  # (N, M, D)
        return {name: self._score(dots[:, m], observation) for m, name in enumerate(names)}

    def _dots(self, batch: Batch, i: int, attributions: list[Attribution]) -> Tensor:
        """I . phi of one sample for every map and draw, (M, D) float64."""
        if self.perturbation == "gaussian":
            # x_p = x + noise, so I = x - x_p = -noise
            maps = torch.stack([a.values[i].flatten().double() for a in attributions])
            return -maps @ self._noise(batch, i).flatten(1).double().T
        masks, features = self._masks(batch, i)
        change = (batch.x[i] - batch.baseline[i]).double()
        contributions = torch.stack(
            [a.values[i].double() * (change if a.spec.kind == "local" else 1) for a in attributions]
        )
        grouped = feature_units.total(contributions, features)
        return grouped @ masks.to(grouped).T

    def _score(self, dot: Tensor, difference: Tensor) -> Measurement:
        if self.normalize:
            power = (dot**2).sum(dim=1, keepdim=True)
            fit = (dot * difference).sum(dim=1, keepdim=True) / power
            dot = dot * fit.where(power > 0, 1.0)
        squared = (dot - difference) ** 2
        exact = self.draws == "all"
        error = None if exact else squared.std(dim=1) / math.sqrt(squared.shape[1])
        return Measurement(squared.mean(dim=1), error)
