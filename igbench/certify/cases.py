"""On which models is the answer of a metric known?  One entry for each model, map and answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from igbench.certify.models import Function, Map
from igbench.core.batch import Batch

EXACT = 1e-12
"""Relative to the larger of 1 and the answer: a sum of at most 1,000 terms of this size, each
rounded to 1.1e-16, is off by less than 1.2e-13, a quotient or root of such sums by a few times."""

FLOAT32 = 2e-6
"""The same for models that get float32: 16 roundings of 6e-8, and 1e-7 that Quantus adds."""


@dataclass(frozen=True)
class Case:
    """A model, one sample, a map, and what a metric must say of it.

    Attributes:
        metric: Name in conf/metric.
        title: The model, the map and the answer in words.
        model: (N, *F) to (N,), or to (N, K) with a target.
        x: (1, *F) float64.
        phi: The map, (1, *F), or a method.
        expected: The answer.
        arguments: What is changed of the file in conf/metric.
        baseline: What absence is.
        kind: Of the map.
        beside: Other maps, by the name of their method.
        target: The class, for models with several.
        drawn: The answer is an expectation; the metric's own standard error is the tolerance.
        tolerance: Otherwise, relative to the larger of 1 and the answer.
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
"""Metrics without a case, and why; their tests are identities and independent implementations."""
