"""Infidelity: squared error of an attribution as a prediction of output changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.core.features import Features
from igbench.errors import InputError, NotDefinedError, check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.sequential import (
    AUTO,
    DRAWS_AXES,
    Growing,
    Look,
    check_bound,
    described,
    grown,
    in_blocks,
    ladder,
    stops,
    until,
)
from igbench.metrics.units import describe_unit
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

    With draws="auto", D is the least of 16, 32, 64, ... at which the standard error of the mean of
    (f(x) - f(x_p))^2 over draws, the score of a map that predicts nothing, is at most `error` times
    this mean; or `most`.  So D depends on the sample and not on the map, and all methods are scored
    with the same draws: if each stopped by its own standard error, those would be lucky that stop
    early (8 methods on 6 photographs: a bias of 12 % in place of 5 %, and twice the error in the
    differences of methods, for the same rows).  See `igbench.metrics.sequential`.  The draws are
    other ones than those of a fixed D.

    Source: Yeh et al. 2019, definition 2.1.

    Args:
        perturbation: "square", "subset" or "gaussian".  None: "square" for images, "subset"
            otherwise.
        draws: Number D of perturbations for each sample; "all" enumerates every subset, "auto"
            takes as many as `error` needs.
        scale: Standard deviation of the noise, in units of the input.
        sides: Smallest and largest side of the squares, as fractions of the shorter image side (Yeh
            et al.: 1 to 10 of 28 pixels).
        normalize: Multiply phi by the factor that fits best for each sample, sum(dot * diff) /
            sum(dot^2), as Yeh et al.'s experiments do.
        features: Unit of "subset", see `igbench.core.features.resolve`; None for the unit of the
            data (pixels of images, elements otherwise, by default).
        error: Bound of the standard error of the mean squared change with "auto", relative to it.
        most: Largest number of draws with "auto".

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
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {"infidelity_draws": DRAWS_AXES}
    image_defaults: ClassVar[Mapping[str, Any]] = {"perturbation": "square"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"perturbation": "subset"}

    perturbation: Literal["square", "subset", "gaussian"] | None = None
    draws: int | Literal["all", "auto"] = 64
    scale: float = 0.1
    sides: tuple[float, float] = (1 / 28, 10 / 28)
    normalize: bool = True
    features: str | Tensor | None = None
    error: float = 0.25
    most: int = 256

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        scaled = ", best scale" if self.normalize else ""
        draws = described(self.draws, self.error, self.most)
        return f"Infidelity, Yeh 2019 ({self.perturbation} x {draws}{scaled})"

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
        check_bound(self.error, self.most, least=2)
        if not isinstance(self.draws, str) and self.draws < 2:
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
            self.draws == AUTO and self.most,
        )

    def at_most(self) -> Infidelity:
        """The same metric with the largest number of draws that it may take."""
        return replace(self, draws=self.most) if self.draws == AUTO else self

    def observe(self, batch: Batch) -> Tensor | Growing:
        """Changes f(x) - f(x_p) for every draw, (N, D) float64; with "auto", as far as needed.

        Raises:
            InputError: Squares on samples that are not images, or too many subsets to enumerate.
        """
        if self.perturbation is None:
            return self.for_shape(batch.x.shape[1:]).observe(batch)
        clean = batch.score.evaluate(batch.x, batch.target).double()
        if self.draws == AUTO:
            return grown(clean, lambda i, part: clean[i] - self._scores(batch, i, part), self.most)
        rows = [self._scores(batch, i) for i in range(len(batch))]
        return clean[:, None] - torch.stack(rows)

    def _scores(self, batch: Batch, i: int, part: slice | None = None) -> Tensor:
        """Outputs f(x_p) of all draws of one sample, or of some with "auto", (D,) float64."""
        if self.perturbation == "gaussian":
            noise = self._noise(batch, i, part)
            return batch.score.evaluate_draws(
                len(noise),
                batch.target_of(i),
                lambda draw: batch.x[i] + noise[draw],
                device=batch.x.device,
            ).double()
        masks, features = self._masks(batch, i, part)
        build = perturb.removals(batch.x[i], batch.baseline[i], masks, features)
        return batch.score.evaluate_draws(
            len(masks), batch.target_of(i), build, device=batch.x.device
        ).double()

    def _noise(self, batch: Batch, i: int, part: slice | None = None) -> Tensor:
        def make(draws: int, g: torch.Generator) -> Tensor:
            shape = (draws, *batch.x.shape[1:])
            return self.scale * torch.randn(shape, generator=g, dtype=torch.float64)

        noise = self._drawn(batch, i, make, part).to(batch.x)
        return noise if batch.still is None else noise.masked_fill(batch.still, 0)

    def _masks(self, batch: Batch, i: int, part: slice | None = None) -> tuple[Tensor, Features]:
        shape = tuple(batch.x.shape[1:])
        if self.perturbation == "square":
            if len(shape) != 3:
                raise NotDefinedError(f"square removal needs images, not samples of shape {shape}.")
            short = min(shape[1:])
            sides = (max(1, round(self.sides[0] * short)), max(1, round(self.sides[1] * short)))
            pixels = feature_units.resolve("pixel", shape)
            squares = self._drawn(batch, i, lambda n, g: perturb.squares(shape, n, sides, g), part)
            return squares, pixels
        features = self.features_of(batch)
        if self.draws == "all":
            return perturb.all_subsets(features.count), features

        def coins(draws: int, g: torch.Generator) -> Tensor:
            return torch.rand((draws, features.count), generator=g, dtype=torch.float32) < 0.5

        return self._drawn(batch, i, coins, part), features

    def _drawn(
        self,
        batch: Batch,
        i: int,
        make: Callable[[int, torch.Generator], Tensor],
        part: slice | None,
    ) -> Tensor:
        """What `make` draws for one sample: all of it, or some draws of "auto"."""
        key = (batch.metric_seed, "infidelity", batch.sample_ids[i])
        if part is not None:
            return in_blocks(make, part, *key)
        assert not isinstance(self.draws, str)
        return make(self.draws, rng.generator(*key))

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor | Growing
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
        maps = list(attributions.values())
        if isinstance(observation, Growing):
            return self._sequential(batch, names, maps, observation)
        dots = torch.stack(
            [self._dots(batch, i, self._weights(batch, i, maps)) for i in range(len(batch))]
        )  # (N, M, D)
        return {name: self._score(dots[:, m], observation) for m, name in enumerate(names)}

    def _sequential(
        self, batch: Batch, names: Sequence[str], maps: Sequence[Attribution], growing: Growing
    ) -> dict[str, Measurement]:
        """Mean squared error of every attribution over as many draws as its error needs."""
        rungs = ladder(self.most)
        found = []
        for i in range(len(batch)):
            weights = self._weights(batch, i, maps)

            def drawn(
                part: slice, maps: Tensor, i: int = i, weights: Tensor = weights
            ) -> tuple[Tensor, Tensor]:
                return self._dots(batch, i, weights[maps], part), growing.outputs(i, part)

            nothing = torch.zeros(len(maps), dtype=torch.bool, device=weights.device)
            found.append(until(rungs, drawn, self._look, nothing))
        return {
            name: Measurement(
                torch.stack([own.values[m, 0] for own in found]),
                torch.stack([own.error[m] for own in found]),
                curves={"infidelity_draws": (rungs, torch.stack([own.trace[m] for own in found]))},
            )
            for m, name in enumerate(names)
        }

    def _look(self, dots: Tensor, difference: Tensor) -> Look:
        """Scores of m maps of one sample, (m, D) and (D,)."""
        found = self._score(dots, difference.expand_as(dots))
        assert found.std_error is not None
        power = difference**2
        done = stops(power.std() / math.sqrt(len(power)), self.error * power.mean())
        return Look(found.value[:, None], found.std_error, done.expand(len(dots)))

    def _weights(self, batch: Batch, i: int, attributions: Sequence[Attribution]) -> Tensor:
        """What is multiplied with the masks or the noise of one sample, (M, G) float64."""
        if self.perturbation == "gaussian":
            # x_p = x + noise, so I = x - x_p = -noise
            return -torch.stack([a.values[i].flatten().double() for a in attributions])
        change = (batch.x[i] - batch.baseline[i]).double()
        contributions = torch.stack(
            [a.values[i].double() * (change if a.spec.kind == "local" else 1) for a in attributions]
        )
        pixels = self.perturbation == "square"
        shape = tuple(batch.x.shape[1:])
        unit = feature_units.resolve("pixel", shape) if pixels else self.features_of(batch)
        return feature_units.total(contributions, unit)

    def _dots(self, batch: Batch, i: int, weights: Tensor, part: slice | None = None) -> Tensor:
        """I . phi of one sample for every map and draw, (M, D) float64."""
        if self.perturbation == "gaussian":
            return weights @ self._noise(batch, i, part).flatten(1).double().T
        masks, _ = self._masks(batch, i, part)
        return weights @ masks.to(weights).T

    def _score(self, dot: Tensor, difference: Tensor) -> Measurement:
        if self.normalize:
            power = (dot**2).sum(dim=1, keepdim=True)
            fit = (dot * difference).sum(dim=1, keepdim=True) / power
            dot = dot * fit.where(power > 0, 1.0)
        squared = (dot - difference) ** 2
        exact = self.draws == "all"
        error = None if exact else squared.std(dim=1) / math.sqrt(squared.shape[1])
        return Measurement(squared.mean(dim=1), error)
