"""Smooth MPRT: does the map, freed of its noise, change when the weights do?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench import checks, keyed
from igbench.metrics.again import explained
from igbench.metrics.mprt import Mprt
from igbench.metrics.randomise import Order
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch


@dataclass(frozen=True)
class SmoothMprt(Mprt):
    """`Mprt` of maps that are averaged over noisy inputs (Hedstroem et al. 2023, section 4.1).

    phi is replaced, for the network and for each of its randomised copies, by the mean of phi(x +
    e) over D draws of e ~ N(0, s^2) with s = `noise` times the range of the sample.  Noise in maps
    lowers similarities whatever the model does; the mean takes it out.  Draws are keyed by the
    sample and are the same for all methods and stages.

    Args:
        order: As in `Mprt`; "bottom_up" as in the paper.
        draws: Number D of noisy inputs.
        noise: s as a share of the range of the sample.

    Raises:
        InputError: As in `Mprt`; no draws, or noise that is not above zero.
    """

    order: Order = "bottom_up"
    draws: int = 50
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("draws", self.draws)
        checks.positive("noise", self.noise)

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return self.definition(
            f"Smooth MPRT, {self.draws} draws of noise {self.noise:g}", "Hedstroem et al. 2023, 4.1"
        )

    @property
    def curve(self) -> str:
        """Name of the curve."""
        return f"smooth_mprt_{self.order}"

    def map_of(
        self, name: str, attribution: Attribution, batch: Batch, *, known: bool = False
    ) -> Tensor:
        """The mean map over the noisy inputs, (N, *F)."""
        low, high = batch.x.flatten(1).aminmax(dim=1)
        size = (self.noise * (high - low)).view(-1, *[1] * (batch.x.dim() - 1))
        total = torch.zeros_like(attribution.values, dtype=torch.float64)
        for draw in range(self.draws):
            unit = torch.stack(
                [
                    torch.randn(
                        batch.x.shape[1:],
                        generator=keyed.generator(batch.draws_seed, "smooth_mprt", s, draw),
                        dtype=torch.float64,
                    )
                    for s in batch.sample_ids
                ]
            )
            noisy = replace(batch, x=batch.x + size * unit.to(batch.x))
            total += explained(name, attribution, noisy)
        return (total / self.draws).to(attribution.values.dtype)
