"""Integrated Gradients averaged over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.expected import smooth_integrated_gradients
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class SmoothIG:
    """SmoothGrad on Integrated Gradients: mean over noise e of IG(x + e) from x'.

    Entries sum to mean f(x + e) - f(x').

    Args:
        draws: Noisy copies of each sample.
        noise: Standard deviation of the noise, as a share of max - min of each sample.
        rule: Quadrature rule, see `igbench.integration.quadrature`.
        n_steps: Gradients for each copy; a sample costs draws x n_steps.
    """

    draws: int = 10
    noise: float = 0.15
    rule: str = "gauss_legendre"
    n_steps: int = 20

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to mean f(x + e) - f(x')."""
        return MethodSpec(
            f"SmoothGrad of IG ({self.draws} draws x {self.n_steps} steps, noise {self.noise:g})",
            "Smilkov et al. 2017, on Sundararajan, Taly, Yan 2017",
            kind="global",
            signed=True,
        )

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
        )
