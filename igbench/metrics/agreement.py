"""How far is a map from the map of another method, ours beside Captum's for instance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.metrics.base import BaseMetric


@dataclass(frozen=True)
class Difference(BaseMetric):
    """Relative L1 difference |phi - phi_r|_1 / |phi_r|_1 to the map of a reference method.

    Args:
        to: Name of the reference method in the same run; it is not compared with itself.
    """

    name = "difference"
    family = "agreement"
    explains = "How far is a map from the map of another method?"
    direction = "none"
    reference = "defined here"
    needs = "global signed"
    range = (0, math.inf)
    min_effect = 1e-3

    to: str = "ig"

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"Relative L1 difference to {self.to}"

    @property
    def undefined(self) -> str:
        """When there is no value."""
        return f"the map of {self.to} is zero or missing"

    def leaves_out(self) -> frozenset[str]:
        """The reference is not compared with itself."""
        return frozenset({self.to})

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The difference of every attribution but the reference."""
        if self.to not in attributions:
            nothing = Measurement(
                torch.full((len(batch),), math.nan), reason=f"{self.to} is not among the methods"
            )
            return dict.fromkeys(attributions, nothing)
        reference = attributions[self.to].values.flatten(1).double()
        size = reference.abs().sum(dim=1)
        result = {}
        for name, attribution in attributions.items():
            if name != self.to:
                far = (attribution.values.flatten(1).double() - reference).abs().sum(dim=1) / size
                result[name] = Measurement(
                    far.where(size > 0, math.nan), reason=f"the map of {self.to} is zero"
                )
        return result
