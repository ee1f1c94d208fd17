"""Integrated Gradients averaged over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_positive, check_whole
from igbench.integration.expected import smooth_integrated_gradients
from igbench.integration.quadrature import check_rule
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class SmoothIG(BaseMethod):
    """SmoothGrad on Integrated Gradients: mean over normal noise e of IG(x + e) from x'.

    Entries sum to mean f(x + e) - f(x').  Cost: `draws` x `n_steps` gradients for each sample.

    Args:
        draws: Noisy copies of each sample.
        noise: Standard deviation of the noise, as a share of max - min of each sample.
        rule: Quadrature rule, one of `igbench.integration.quadrature.RULES`.
        n_steps: Gradients for each copy.

    Source: Smilkov et al. 2017, "SmoothGrad", applied to Sundararajan, Taly and Yan 2017.
    """

    foldable = True

    draws: int = 10
    noise: float = 0.15
    rule: str = "gauss_legendre"
    n_steps: int = 20

    label = "SmoothGrad of IG ({draws} draws x {n_steps} steps, noise {noise:g})"
    reference = "Smilkov et al. 2017, on Sundararajan, Taly, Yan 2017"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("draws", self.draws, least=1)
        check_positive("noise", self.noise)
        check_rule(self.rule, self.n_steps)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return smooth_integrated_gradients(
            batch.score,
            batch.x,
            batch.baseline,
            batch.target,
            sample_ids=batch.sample_ids,
            draws=self.draws,
            noise=self.noise,
            rule=self.rule,
            n_steps=self.n_steps,
            seed=batch.seed,
            still=batch.still,
        )
