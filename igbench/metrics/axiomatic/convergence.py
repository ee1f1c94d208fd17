"""Convergence error: distance of an attribution to a finely resolved Integrated Gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import check_positive
from igbench.integration.integrate import path_integrals
from igbench.integration.paths import Line
from igbench.integration.quadrature import nodes_and_weights
from igbench.metrics.base import BaseMetric
from igbench.metrics.reexplain import relative_l1

ZERO = "the reference is zero everywhere"


@dataclass(frozen=True)
class ConvergenceError(BaseMetric):
    """Convergence error: |phi - IG|_1 / |IG|_1 with a finely resolved IG as the reference.

    IG is the path integral of the gradient on the straight line from the baseline of the batch.
    This is the error of a quadrature rule feature by feature.  The completeness gap measures only
    the sum of these errors, in which they cancel: for x1^2 - x2^2 the left rule is off by 1/n on
    both features and complete.  For methods other than Integrated Gradients it is the distance to
    them.

    Lower is better, in [0, inf).  Undefined where the reference is zero everywhere.  The reference
    has an error of its own, of the order of 1/n_reference for networks with kinks; smaller values
    than that mean nothing.  Cost: n_reference gradients for each sample, shared by all methods.

    Source: defined here, after Sundararajan, Taly and Yan 2017, eq. 1.

    Args:
        n_reference: Gradients of the reference, on nodes that are dense near the baseline (rule
            "log_middle" of `igbench.integration.quadrature`).

    Raises:
        InputError: Fewer than one gradient.

    Example:
        For f = x1^2 + x2^2 IG is (1, 4); the map (1, 3) is off by 1 of 5.

        >>> import torch
        >>> from igbench.metrics import convergence_error
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> phi = x.new_tensor([[1.0, 3.0]])
        >>> convergence_error(lambda x: (x**2).sum(dim=1), x, phi).round(decimals=3).tolist()
        [0.2]
    """

    foldable = True
    name = "convergence_error"
    family = "axiomatic"
    explains = "How far is the map from the integral that Integrated Gradients is defined as?"
    direction = "lower"
    reference = "defined here, after Sundararajan, Taly, Yan 2017, eq. 1"
    needs = "global signed"
    range = (0, math.inf)
    unit = "element"
    undefined = ZERO
    min_effect = 0.005

    n_reference: int = 512

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Convergence error (relative L1 distance to IG with {self.n_reference} steps)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("n_reference", self.n_reference)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same number of gradients share the reference."""
        return (ConvergenceError, self.n_reference)

    def observe(self, batch: Batch) -> Tensor:
        """The reference, (N, *F) float64."""
        nodes, weights = nodes_and_weights("log_middle", self.n_reference)
        path = Line(batch.x, batch.baseline)
        found = path_integrals(batch.score, path, batch.target, nodes, np.asarray(weights)[None])
        return found[0]

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """The distance of every attribution."""
        return {
            name: Measurement(relative_l1(a.values, observation), reason=ZERO)
            for name, a in attributions.items()
        }
