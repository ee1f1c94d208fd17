"""Model parameter randomisation: does the map change when the weights that it explains do?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench import checks
from igbench.metrics.again import explained, method_of_batch, rescored
from igbench.metrics.errors import mean_of, repeated
from igbench.metrics.randomise import Init, Network, Order, network, stages
from igbench.metrics.similarity import FLAT, Similarity
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement

ORDERS: dict[str, str] = {
    "top_down": "cascading from the output",
    "bottom_up": "cascading from the input",
    "independent": "layer by layer",
}


@dataclass(frozen=True)
class Mprt:
    """Mean over stages of the similarity of the map to that of a network with random weights.

    Adebayo et al. 2018, sections 3.1 and 3.2.  In the cascading orders, stage k has the first
    ceil(k L / S) of L layers at random and the others as learnt; in "independent" one layer alone.
    The curve over stages is what the paper shows; the value is its mean, so that a map that follows
    the model all the way is near 0 and one that ignores it, as edges do, is 1.

    Weights are drawn by (seed, name of layer and parameter) alone: every layer differently, the
    same for all samples and methods.  Batch normalisation keeps its statistics and parameters.

    The value and the curve are means over R networks, and the standard error is that of this mean;
    the networks are those of all samples, so that the errors of samples do not average out.

    Undefined where any of the maps is flat.

    Args:
        order: "top_down" (the paper's cascade), "bottom_up" or "independent".
        similarity: "spearman" or "ssim", see `igbench.metrics.similarity.Similarity`.
        absolute: Compare magnitudes; otherwise signs count (the paper shows both).
        stages: Number S of stages; None for one for each layer.  The cost is R S explanations.
        init: "scale" (normal, as large as the learnt weights) or "torch" (PyTorch's own start).
        features: What one feature is, for "spearman"; None for the default of the data.
        window: Side of the window of "ssim".
        repeats: Number R of random networks; no standard error for 1.

    Raises:
        InputError: Unknown words, a number of stages or networks below one, a model that is no
            torch module.
    """

    order: Order = "top_down"
    similarity: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    stages: int | None = None
    init: Init = "scale"
    features: str | None = None
    window: int = 7
    repeats: int = 2

    def __post_init__(self) -> None:
        checks.positive("repeats", self.repeats)
        checks.known_name("order", self.order, tuple(ORDERS))
        checks.known_name("init", self.init, ("scale", "torch"))
        if self.stages is not None:
            checks.positive("stages", self.stages)
        self.compare()

    def compare(self) -> Similarity:
        """How maps are compared."""
        return Similarity(self.similarity, self.absolute, self.features, self.window)

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition("MPRT", "Adebayo et al. 2018, section 3")

    def definition(self, title: str, reference: str) -> MetricSpec:
        """The definition of this metric or of its smooth variant."""
        return MetricSpec(
            f"{title} ({ORDERS[self.order]}, {self.compare().words()})",
            "lower",
            -1,
            1,
            1,
            reference,
            unit="pixel" if self.similarity == "ssim" else self.features or "as the data",
            undefined=FLAT,
            min_effect=0.01,
            shared_draws=True,
        )

    @property
    def observation_key(self) -> object:
        """Everything matters."""
        return self

    def observe(self, batch: Batch) -> Network:
        """The copy of the network that is made random, and the order of its layers."""
        return network(batch, self.init)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        """Mean similarity of every attribution; x of the curve is the fraction of layers."""
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
        return mean_of(
            [
                self._once(own, attributions, observation.drawn_by(own.draws_seed))
                for own in repeated(batch, self.repeats)
            ]
        )

    def _once(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        first = {n: self.map_of(n, a, batch, known=True) for n, a in attributions.items()}
        x: list[float] = []
        found: dict[str, list[Tensor]] = {name: [] for name in attributions}
        changed = replace(batch, score=rescored(batch.score, observation.copy))
        for fraction, layers in stages(observation.layers, self.order, self.stages):
            observation.restore()
            for layer in layers:
                observation.randomise(layer)
            x.append(fraction)
            for name, attribution in attributions.items():
                again = self.map_of(name, attribution, changed)
                found[name].append(self.compare().between(first[name], again, batch))
        return {name: self._measurement(x, torch.stack(y, dim=1)) for name, y in found.items()}

    def map_of(
        self, name: str, attribution: Attribution, batch: Batch, *, known: bool = False
    ) -> Tensor:
        """The maps that are compared, (N, *F).

        Args:
            name: Name of the method.
            attribution: Its maps of the user's network, and itself.
            batch: The samples, with the score to explain.
            known: Whether that score is the user's.
        """
        return attribution.values if known else explained(name, attribution, batch)

    def _measurement(self, x: list[float], curve: Tensor) -> Measurement:
        defined = torch.isfinite(curve).all(dim=1)
        value = curve.mean(dim=1).where(defined, math.nan)
        return Measurement(value, reason=FLAT, curves={self.curve: (x, curve)})

    @property
    def curve(self) -> str:
        """Name of the curve."""
        return f"mprt_{self.order}"
