"""Efficient MPRT: does the map become more disordered when all weights are random?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench import checks
from igbench import features as feature_units
from igbench.metrics.again import explained, method_of_batch, rescored
from igbench.metrics.errors import averaged, repeated
from igbench.metrics.randomise import Init, Network, network
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement

FLAT = "a map is flat or not finite: its histogram has no entropy"


@dataclass(frozen=True)
class EfficientMprt:
    """(H(phi_r) - H(phi)) / H(phi), with phi_r the map of the fully randomised network.

    Hedstroem et al. 2023, section 4.2.  H is the entropy of the histogram of the map, in equal bins
    from its least to its greatest value.  No layer by layer cascade and no measure of similarity is
    needed, so R further explanations are the cost.  0 for a map that ignores the model; positive
    where a random network has a less ordered map.  Range [-1, inf).

    Weights are those of the last stage of `igbench.metrics.mprt.Mprt`.  The value is the mean over
    R networks, and the standard error is that of this mean; the networks are those of all samples,
    so that the errors of samples do not average out.

    Args:
        bins: Number of bins.
        init: See `Mprt`.
        features: What one feature is; None for the default of the data.
        repeats: Number R of random networks; no standard error for 1.

    Raises:
        InputError: Fewer than two bins, no network, an unknown init, a model that is no torch
            module.
    """

    bins: int = 100
    init: Init = "scale"
    features: str | None = None
    repeats: int = 2

    def __post_init__(self) -> None:
        checks.positive("repeats", self.repeats)
        checks.known_name("init", self.init, ("scale", "torch"))
        if self.bins < 2:
            raise checks.InputError(f"bins is {self.bins}; an entropy needs at least 2.")

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Efficient MPRT (rise of the entropy, {self.bins} bins)",
            "higher",
            -1,
            math.inf,
            1,
            "Hedstroem et al. 2023, 4.2",
            unit=self.features or "as the data",
            undefined=FLAT,
            min_effect=0.01,
            shared_draws=True,
        )

    @property
    def observation_key(self) -> object:
        """Everything matters."""
        return self

    def observe(self, batch: Batch) -> Network:
        """A copy of the network."""
        return network(batch, self.init)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        """Relative rise of the entropy of every attribution."""
        spec = batch.features if self.features is None else self.features
        features = feature_units.resolve(spec, tuple(batch.x.shape[1:]))
        changed = replace(batch, score=rescored(batch.score, observation.copy))
        found: dict[str, list[Tensor]] = {name: [] for name in attributions}
        for own in repeated(batch, self.repeats):
            network_of_draw = observation.drawn_by(own.draws_seed)
            for layer in observation.layers:
                network_of_draw.randomise(layer)
            for name, attribution in attributions.items():
                method_of_batch(name, attribution)
                again = explained(name, attribution, changed)
                before, after = (
                    entropy(feature_units.total(v, features), self.bins)
                    for v in (attribution.values, again)
                )
                found[name].append((after - before) / before)
        return {name: averaged(torch.stack(rises), FLAT) for name, rises in found.items()}


def entropy(values: Tensor, bins: int) -> Tensor:
    """Entropy (nats) of the histogram of every row, (N, G) to (N,); NaN where a row is flat.

    Bins have equal width from the least to the greatest value of the row, the last one closed.

    Args:
        values: (N, G).
        bins: Number of bins.
    """
    low, high = values.aminmax(dim=1, keepdim=True)
    place = (values - low) / (high - low) * bins
    # Rounding must not decide on which side of an edge a value falls.
    place = torch.where((place - place.round()).abs() < 1e-6, place.round(), place)
    defined = torch.isfinite(place).all(dim=1)
    index = place.nan_to_num(0).long().clamp(0, bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    counts.scatter_add_(1, index, torch.ones_like(place, dtype=torch.float64))
    share = counts / values.shape[1]
    return -torch.special.xlogy(share, share).sum(dim=1).where(defined, math.nan)
