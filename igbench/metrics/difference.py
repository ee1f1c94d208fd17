"""How far is a map from the map of another method, ours beside Captum's for instance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class Difference:
    """Relative L1 difference |phi - phi_r|_1 / |phi_r|_1 to the map of a reference method.

    Args:
        to: Name of the reference method in the same run; it is not compared with itself.
    """

    to: str = "ig"

    @property
    def spec(self) -> MetricSpec:
        """Definition; being far from another method is neither good nor bad."""
        return MetricSpec(
            f"Relative L1 difference to {self.to}",
            "none",
            0,
            math.inf,
            1,
            "defined here",
            needs="global signed",
            undefined=f"the map of {self.to} is zero or missing",
            min_effect=1e-3,
        )

    @property
    def observation_key(self) -> object:
        """There is nothing to observe."""
        return "nothing"

    def observe(self, batch: Batch) -> None:
        """Nothing: no model evaluation is needed."""

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
