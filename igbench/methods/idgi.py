"""Important Direction Gradient Integration."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.idgi import important_direction
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class IDGI:
    """IDGI on the straight line, see `igbench.integration.idgi`.

    Complete by construction; features with x_i = x'_i still get a share, and it is not linear in
    f.

    Args:
        steps: Gradients for each sample, with as many forwards and one more.
    """

    steps: int = 50

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - f(x')."""
        return MethodSpec(
            f"IDGI ({self.steps} steps)",
            "Yang, Wang, Bilgic 2023",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return important_direction(
            batch.score, batch.x, batch.baseline, batch.target, steps=self.steps
        )
