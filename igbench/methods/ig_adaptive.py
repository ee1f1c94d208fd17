"""Integrated Gradients to a tolerance, with as many gradients as each sample needs."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.adaptive import adaptive_integrated_gradients, check_bounds
from igbench.methods.base import BaseMethod

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptiveIntegratedGradients(BaseMethod):
    """Integrated Gradients refined until each sample is within a tolerance.

    17 nodes, crowded near the baseline, and more where two levels of Simpson's rule differ most,
    until the relative completeness gap and an estimate of the relative L1 error of the map are both
    at most `tolerance`; see `igbench.integration.adaptive`.  The error is that of the sums per
    feature where the data number their features, as the words of a text, and of the elements
    otherwise.  Entries sum to f(x) - f(x') up to the tolerance.  Cost: 17 to `max_steps` gradients
    for each sample.  Samples that do not get there are named in the log.

    Args:
        tolerance: Bound on the relative completeness gap and on the error of the attribution.
        max_steps: Bound on the gradients of a sample.
        constrain: Adjust the weights of the nodes to completeness.

    Source: Sundararajan, Taly and Yan 2017, eq. 1, for the integral; the refinement is ours.

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: x[:, 0] * x[:, 1]
    >>> explain(AdaptiveIntegratedGradients(), f, torch.ones(1, 2)).numpy().round(4).tolist()
    [[0.5, 0.5]]
    """

    foldable = True

    tolerance: float = 0.05
    max_steps: int = 513
    constrain: bool = True

    label = "Integrated Gradients (to {tolerance:g}, at most {max_steps} steps)"
    reference = "Sundararajan, Taly, Yan 2017, eq. 1"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.tolerance, self.max_steps)

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
            features=batch.features if isinstance(batch.features, Tensor) else None,
        )
        for i in (~found.converged).nonzero()[:, 0].tolist():
            log.warning(
                "%s: Integrated Gradients has not converged to %g after %d gradients "
                "(gap %.3g, error %.3g); raise max_steps or tolerance",
                batch.sample_ids[i],
                self.tolerance,
                int(found.gradients[i]),
                float(found.gap[i]),
                float(found.error[i]),
            )
        return found.attribution
