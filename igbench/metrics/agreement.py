"""Agreement between methods: relative difference of a map to that of a reference method."""

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

    Values are summed over the elements of each feature where data number them, as the columns of a
    table or the words of a text.  A number without a direction, in [0, inf); for example our
    Integrated Gradients beside Captum's.  Undefined where the map of the reference is zero or
    missing.  The reference is not compared with itself.  Cost: no model rows.

    Source: defined here.

    Args:
        to: Name of the reference method among the maps.

    Example:
        |(1, 1, 0) - (1, 2, 1)| has the norm 2, the reference 4.

        >>> import torch
        >>> from igbench.metrics import difference
        >>> x = torch.ones(1, 3)
        >>> maps = {"ig": torch.tensor([[1.0, 2.0, 1.0]]), "other": torch.tensor([[1.0, 1.0, 0.0]])}
        >>> difference(lambda x: x.sum(dim=1), x, maps, to="ig")["other"].tolist()
        [0.5]
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
        """Title, with the parameters that define the number."""
        return f"Relative L1 difference to {self.to}"

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return f"the map of {self.to} is zero or missing"

    def leaves_out(self) -> frozenset[str]:
        """Name of the reference, which is not compared with itself."""
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
        reference = batch.per_feature(attributions[self.to].values)
        size = reference.abs().sum(dim=1)
        result = {}
        for name, attribution in attributions.items():
            if name != self.to:
                own = batch.per_feature(attribution.values)
                far = (own - reference).abs().sum(dim=1) / size
                result[name] = Measurement(
                    far.where(size > 0, math.nan), reason=f"the map of {self.to} is zero"
                )
        return result
