"""Integrated Gradients to a tolerance, as a method."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.schema import MethodSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptiveIntegratedGradients:
    """As many gradients as each example needs, see `igbench.integration.adaptive`.

    Examples that are not within the tolerance at `max_steps` are named in the log; their gap is in
    the completeness metric, their cost in the rows.

    Args:
        tolerance: Bound on the relative completeness gap and on the change of the attribution.
        max_steps: Bound on the gradients of an example.
        constrain: Adjust the weights of the nodes to completeness.
    """

    tolerance: float = 0.05
    max_steps: int = 513
    constrain: bool = True

    @property
    def spec(self) -> MethodSpec:
        """Global and signed."""
        return MethodSpec(
            f"Integrated Gradients (to {self.tolerance:g}, at most {self.max_steps} steps)",
            "Sundararajan, Taly, Yan 2017, eq. 1",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        found = adaptive_integrated_gradients(
            batch.score,
            batch.x,
            batch.baseline,
            batch.target,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            constrain=self.constrain,
        )
        for i, sample_id in enumerate(batch.sample_ids):
            if not bool(found.converged[i]):
                log.warning(
                    "%s: Integrated Gradients has not converged to %g after %d gradients "
                    "(gap %.3g, change %.3g); raise max_steps or tolerance",
                    sample_id,
                    self.tolerance,
                    int(found.gradients[i]),
                    float(found.gap[i]),
                    float(found.change[i]),
                )
        return found.attribution
