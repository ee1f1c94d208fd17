"""Integrated Gradients with our own engine."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.integrate import integrated_gradients
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated Gradients (Sundararajan, Taly and Yan 2017, eq. 1) on the straight line.

    Args:
        rule: Quadrature rule, see `igbench.integration.quadrature`.
        n_steps: Gradients for each sample.
    """

    rule: str = "gauss_legendre"
    n_steps: int = 50

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - f(x')."""
        return MethodSpec(
            f"Integrated Gradients ({self.rule}, {self.n_steps} steps)",
            "Sundararajan, Taly, Yan 2017, eq. 1",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return integrated_gradients(
            batch.score,
            batch.x,
            batch.baseline,
            batch.target,
            rule=self.rule,
            n_steps=self.n_steps,
        )
