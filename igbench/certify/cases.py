"""Cases for certificates: a model, a sample, a map, and the exact value of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from igbench.certify.models import Function, Map
from igbench.core.batch import Batch

EXACT = 1e-12
"""Tolerance relative to the larger of 1 and the answer.  A sum of at most 1,000 terms of this size,
each rounded to 1.1e-16, is off by less than 1.2e-13; a quotient or root by a few times that."""

FLOAT32 = 2e-6
"""Tolerance for models in float32: 16 roundings of 6e-8, and 1e-7 that Quantus adds."""


@dataclass(frozen=True)
class Case:
    """A model, one sample, a map, and the exact value of a metric.

    Attributes:
        metric: Name in conf/metric.
        title: Description of the model, the map and the answer.
        model: (N, *F) to (N,), or to (N, K) with a target.
        x: (1, *F) float64.
        phi: The map, (1, *F), or a method.
        expected: The exact value.
        arguments: Arguments that differ from the file in conf/metric.
        baseline: The baseline.
        kind: Kind of the map.
        beside: Other maps, by the name of their method.
        target: The class, for models with several.
        drawn: Whether the value is an expectation; the tolerance is then a multiple of the
            metric's own standard error.
        tolerance: Tolerance otherwise, relative to the larger of 1 and the answer.
    """

    metric: str
    title: str
    model: Function
    x: Tensor
    phi: Tensor | Map
    expected: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    baseline: float | Tensor = 0.0
    kind: Literal["global", "local"] = "global"
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    target: int | None = None
    drawn: bool = False
    tolerance: float = EXACT

    def map_of(self, batch: Batch) -> Tensor:
        """The maps of a batch, (N, *F)."""
        return self.phi.expand_as(batch.x) if isinstance(self.phi, Tensor) else self.phi(batch)


NO_CLOSED_FORM: dict[str, str] = {
    "aic": "the sizes of lossless image files follow no formula",
    "sic": "the sizes of lossless image files follow no formula",
}
"""Metrics without a case, and the reason; their tests use identities and other implementations."""
