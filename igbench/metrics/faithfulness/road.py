"""ROAD: removal curves with removed pixels imputed from their neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.core.features import Features
from igbench.core.outputs import logits
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError, check_choice, check_positive
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.faithfulness import imputation
from igbench.metrics.faithfulness.erasure import Erased
from igbench.metrics.monte_carlo import averaged, mean_of, repeated
from igbench.schema import Direction

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
TITLES: dict[str, tuple[str, Direction]] = {
    "morf": ("ROAD, most relevant first", "lower"),
    "lerf": ("ROAD, least relevant first", "higher"),
    "both": ("ROAD, half of least minus most relevant first", "higher"),
}


@dataclass(frozen=True)
class Road(BaseMetric):
    """ROAD: mean of f over shares of removed pixels, with noisy linear imputation.

    Removed pixels are imputed from their neighbours (`igbench.metrics.faithfulness.imputation`),
    which reveals less of the shape of the mask than a constant does, plus independent noise of
    standard deviation `noise`, the same for all methods and both orders.

    - "morf": the most relevant pixels are removed, lower is better;
    - "lerf": the least relevant pixels are removed, higher is better;
    - "both": (lerf - morf) / 2, higher is better; a random order has expectation 0.

    With scalar="accuracy" f is 1 where the class with the largest output is the target and 0
    elsewhere, and the mean over samples is the accuracy of the paper.  On one sample that is
    coarse, so the default is the probability of the target.  Both lie in [0, 1], and in [-1/2, 1/2]
    for "both".  Undefined for flat maps, which rank nothing.

    The value is the mean over R repeats with other noise and other orders of ties; the standard
    error is that of this mean.  Cost: 1 model row for each sample, shared by all methods, and R B
    for each method and order (28 for "both" by default).  Without noise there are no repeats,
    except of tied orders.

    Source: Rong et al. 2022, remove and debias.

    Args:
        fractions: The B shares of pixels that are removed, fractions below 1 or whole numbers.
        order: "morf", "lerf" or "both".
        scalar: "probability", "accuracy", "logit" or "score" (what the attribution explains).
            None: probability; the score of a model with a single output.
        noise: Standard deviation of the noise, in units of the model's input.
        features: "pixel" or "patch:P".  None: pixels.
        repeats: Number R of repeats; 1 gives no standard error.

    Raises:
        InputError: Samples that are not images, features that split the channels, shares that leave
            nothing, accuracy of a model without classes, negative noise, fewer than one repeat.

    Example:
        The bright pixel, 2 among ones, is imputed as 1: the sum falls from 10 to 9.

        >>> import torch
        >>> from igbench.metrics import road
        >>> x = torch.ones(1, 1, 3, 3, dtype=torch.float64)
        >>> x[..., 1, 1] = 2
        >>> f = lambda x: x.sum(dim=(1, 2, 3))
        >>> road(f, x, x, fractions=(1,), order="morf", scalar="score", noise=0).tolist()
        [9.0]
    """

    name = "road"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "road_morf": (
            "fraction of pixels imputed, most relevant first",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
        "road_lerf": (
            "fraction of pixels imputed, least relevant first",
            "tracked output of the model (`scalar` in `metrics`)",
        ),
    }
    family = "faithfulness"
    ranks = True
    explains = (
        "Does the map rank pixels rightly when removed ones are imputed from their neighbours?"
    )
    reference = "Rong et al. 2022, remove and debias"
    undefined = REASON_FLAT_MAP
    min_effect = 0.005
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": "pixel", "scalar": "probability"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"scalar": "probability"}

    fractions: Sequence[float] = SHARES
    order: Literal["morf", "lerf", "both"] = "both"
    scalar: Literal["probability", "accuracy", "logit", "score"] | None = None
    noise: float = 0.01
    features: str | Tensor | None = None
    repeats: int = 2

    @property
    def direction(self) -> Direction:
        """Direction of better values, which depends on the order."""
        return TITLES[self.order][1]

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"{TITLES[self.order][0]} ({self.tracked})"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        if self.tracked not in ("probability", "accuracy"):
            return -math.inf, math.inf
        return (-0.5, 0.5) if self.order == "both" else (0.0, 1.0)

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar or "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fractions", feature_units.check_shares(self.fractions))
        check_choice("order", self.order, tuple(TITLES))
        check_choice("scalar", self.tracked, ("probability", "accuracy", "logit", "score"))
        check_positive("repeats", self.repeats)
        if self.noise < 0:
            raise InputError(f"noise is {self.noise}; it must not be negative.")

    @property
    def sharing_key(self) -> object:
        """Metrics that differ in the order alone share f(x)."""
        unit = content(self.features)
        return (Road, self.fractions, self.tracked, self.noise, unit, self.repeats)

    def observe(self, batch: Batch) -> list[Erased]:
        """The output f(x) of the clean samples, once for each repeat; all else depends on the maps.

        Raises:
            InputError: Samples that are not images, or features that split the channels.
        """
        shape = tuple(batch.x.shape[1:])
        if len(shape) != 3:
            raise NotDefinedError(f"road needs images, not samples of shape {shape}.")
        features = self.features_of(batch)
        if bool((features.index != features.index[:1]).any()):
            raise InputError(
                f"road removes pixels with all their channels; features {features.name!r} split "
                "them. Use features=pixel or features=patch:P."
            )
        score = self._score(batch.score)
        clean = score.evaluate(batch.x, batch.target).double()
        if self.noise == 0:  # ties alone differ from repeat to repeat
            refill = self._imputed(batch, features)
            return [Erased(batch, score, features, clean, refill, self.repeats)]
        return [
            Erased(own, score, features, clean, self._imputed(own, features))
            for own in repeated(batch, self.repeats)
        ]

    def _score(self, score: Score) -> Score:
        if self.tracked != "accuracy":
            return perturb.tracked(score, self.tracked)
        return score.sibling(_hits(score.model), "logit", score.quick.uncompiled())

    def _imputed(self, batch: Batch, features: Features) -> Callable[[int, Tensor, Tensor], Tensor]:
        def refill(i: int, gone: Tensor, point: Tensor) -> Tensor:
            x = batch.x[i]
            masks = feature_units.spread(gone, features)[:, 0]
            return torch.stack(
                [
                    imputation.linear(x, mask, self._noise(batch, i, k))
                    for mask, k in zip(masks, point.tolist(), strict=True)
                ]
            )

        return refill

    def _noise(self, batch: Batch, i: int, point: int) -> Tensor | None:
        if self.noise == 0:
            return None
        g = rng.generator(batch.metric_seed, "road", batch.sample_ids[i], point)
        return self.noise * torch.randn(batch.x.shape[1:], generator=g, dtype=torch.float64)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: list[Erased]
    ) -> dict[str, Measurement]:
        """Mean output over shares of every attribution; x of the curves is the fraction removed.

        Raises:
            InputError: A share that removes every pixel.
        """
        found = [self._means(attributions, erased) for erased in observation]
        return found[0] if len(found) == 1 else mean_of(found)

    def _means(
        self, attributions: Mapping[str, Attribution], observation: Erased
    ) -> dict[str, Measurement]:
        count = observation.features.count
        counts = feature_units.counts_of(self.fractions, count)
        if max(counts) == count:
            raise InputError("road with every pixel removed has nothing to impute from.")
        x = [k / count for k in counts]
        most, least = (
            observation.outputs(attributions, counts, "top") if self.order != "lerf" else {},
            observation.outputs(attributions, counts, "bottom") if self.order != "morf" else {},
        )
        result = {}
        for name in attributions:
            curves = {
                curve: (x, found[name])
                for curve, found in (("road_morf", most), ("road_lerf", least))
                if found
            }
            means = [y.mean(dim=-1) for _, y in curves.values()]
            value = (means[1] - means[0]) / 2 if self.order == "both" else means[0]
            result[name] = averaged(value, REASON_FLAT_MAP, curves)
        return result


def _hits(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A model whose outputs are 1 for the class with the largest output and 0 elsewhere."""

    def hits(x: Tensor) -> Tensor:
        out = logits(model(x), len(x))
        if out.dim() != 2 or out.shape[1] < 2:
            raise NotDefinedError(
                "road with scalar=accuracy needs a model with an output for each class; use "
                "scalar=score."
            )
        return torch.nn.functional.one_hot(out.argmax(dim=1), out.shape[1]).to(x.dtype)

    return hits
