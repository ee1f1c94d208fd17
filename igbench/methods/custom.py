"""A function of the user's own as a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class CallableMethod:
    """A map from (x, target) to an attribution, called on one sample at a time.

    The global generators are seeded for each sample, so a function that draws from them does not
    depend on what was explained before.  For an object of Captum's:
    `CallableMethod(lambda x, t: explainer.attribute(x, target=t), kind="global")`.

    Args:
        explain: Maps x (1, *F) and target (1,) or None to (1, *F).
        kind: "global" (contributions) or "local" (sensitivities): metrics depend on it.
        signed: False where the map is a magnitude.
        title: Human-readable name.
    """

    explain: Callable[[Tensor, Tensor | None], Tensor]
    kind: Literal["global", "local"]
    signed: bool = True
    title: str = "given by the caller"

    @property
    def spec(self) -> MethodSpec:
        """As given."""
        return MethodSpec(self.title, "given by the caller", self.kind, self.signed)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        maps = []
        for i, sample_id in enumerate(batch.sample_ids):
            with rng.global_state(batch.seed, "given", sample_id):
                x = batch.x[i : i + 1].detach().clone().requires_grad_()
                maps.append(self.explain(x, batch.target_of(i)).detach())
        return torch.cat(maps)


@dataclass(frozen=True)
class BatchMethod:
    """A function from a `Batch` to a map as a method.

    Args:
        function: Maps a batch to (N, *F).
        spec: Kind and sign of the map.
    """

    function: Callable[[Batch], Tensor]
    spec: MethodSpec

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return self.function(batch).detach()
