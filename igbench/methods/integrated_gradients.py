"""Integrated Gradients by a fixed quadrature rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.integrate import integrated_gradients
from igbench.integration.quadrature import check_rule
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class IntegratedGradients(BaseMethod):
    """Integrated Gradients on the straight line from the baseline to the input.

    phi_i = (x_i - x'_i) * integral over a in [0, 1] of df/dx_i(x' + a (x - x')).  Entries sum to
    f(x) - f(x') up to the error of the rule.  Cost: `n_steps` gradients for each sample.

    Args:
        rule: Quadrature rule, one of `igbench.integration.quadrature.RULES`.
        n_steps: Gradients for each sample.

    Source: Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks" (ICML), eq.
    1.

    >>> import torch
    >>> from igbench.methods import explain
    >>> square = lambda x: (x**2).sum(dim=1)
    >>> explain(IntegratedGradients(n_steps=2), square, torch.tensor([[1.0, 3.0]])).tolist()
    [[1.0, 9.0]]
    """

    foldable = True

    rule: str = "gauss_legendre"
    n_steps: int = 50

    label = "Integrated Gradients ({rule}, {n_steps} steps)"
    reference = "Sundararajan, Taly, Yan 2017, eq. 1"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rule(self.rule, self.n_steps)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, rule=self.rule, n_steps=self.n_steps
        )
