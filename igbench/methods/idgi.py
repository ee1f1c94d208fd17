"""Important Direction Gradient Integration (IDGI)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_whole
from igbench.integration.idgi import important_direction
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class IDGI(BaseMethod):
    """Important Direction Gradient Integration on the straight line.

    phi_i = sum over k of (f(p_k+1) - f(p_k)) g_k,i^2 / |g_k|^2 with g_k = grad f(p_k).  Entries sum
    to f(x) - f(x') exactly.  Features with x_i = x'_i still get a share, and the map is not linear
    in f.  Cost: `steps` gradients and `steps` + 1 forwards for each sample.

    Args:
        steps: Gradients for each sample.

    Source: Yang, Wang and Bilgic 2023, "IDGI" (CVPR).

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, 3.0])  # f(x) = 10, shared out as 1^2 to 3^2
    >>> explain(IDGI(steps=4), f, torch.tensor([[1.0, 3.0]])).numpy().round(4).tolist()
    [[1.0, 9.0]]
    """

    foldable = True

    steps: int = 50

    label = "IDGI ({steps} steps)"
    reference = "Yang, Wang, Bilgic 2023"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("steps", self.steps, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return important_direction(
            batch.score, batch.x, batch.baseline, batch.target, steps=self.steps
        )
