"""DeepLIFT, and its mean over references of the data, DeepSHAP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.outputs import repeat_target
from igbench.errors import NotDefinedError, check_references, check_whole
from igbench.methods.base import BaseMethod
from igbench.methods.expected_gradients import references_for
from igbench.propagation.rescale import check_sum, contributions


@dataclass(frozen=True)
class DeepLift(BaseMethod):
    """DeepLIFT by its rescale rule, from the batch's baseline.

    The chain rule with differences in place of derivatives: dy / dx at every element-wise function,
    with products of two activations and max-pools shared out likewise, so that entries sum to
    f(x) - f(x').  Sees modules and functions alike, also reused and in-place ones.  Not
    implementation invariant: networks that compute the same may get other maps, and features that
    f does not depend on may get something where the network cancels them.  Cost: two rows
    forward and two backward for each sample.

    Explains logits.  Undefined for networks with operations that are neither linear nor
    element-wise (layer norm, attention), and for samples whose sum is off by more than rounding.

    Source: Shrikumar, Greenside and Kundaje 2017, "Learning Important Features Through Propagating
    Activation Differences" (ICML), section 3.5.1.

    >>> from igbench.methods import explain
    >>> f = lambda x: torch.relu(x[:, 0] + x[:, 1] - 1)  # from 0 to (1, 1): by 1
    >>> explain(DeepLift(), f, torch.ones(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    foldable = True
    label = "DeepLIFT (rescale)"
    reference = "Shrikumar, Greenside, Kundaje 2017, section 3.5.1"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where a map is not complete."""
        maps = []
        for part, *found in contributions(batch.score, batch.x, batch.baseline, batch.target):
            for name, phi, end, start in zip(batch.sample_ids[part], *found, strict=True):
                check_sum(phi[None], end[None], start[None], batch.x.dtype, name)
                maps.append(phi)
        return torch.stack(maps).to(batch.x.dtype)


@dataclass(frozen=True)
class DeepShap(BaseMethod):
    """DeepLIFT averaged over references of the data that are never evaluated.

    The batch's own baseline takes no part: entries sum to f(x) - mean f(x') over the references.
    Cost: two rows forward and two backward for each reference and sample.  Explains logits, of the
    networks that `DeepLift` explains.

    Args:
        references: References for each sample, drawn from the pool; all of it where it has no more.
        pool: Returns (R, *F) references.  An experiment gives the data's own pool.

    Source: Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions" (NeurIPS),
    section 4.2; Chen, Lundberg and Lee 2022, "Explaining a series of models by propagating Shapley
    values" (Nature Communications).

    >>> from igbench.methods import explain
    >>> f = lambda x: torch.relu(x[:, 0] + x[:, 1] - 1)
    >>> method = DeepShap(pool=lambda: torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    >>> explain(method, f, torch.ones(1, 2)).numpy().round(4).tolist()
    [[0.25, 0.75]]
    """

    foldable = True

    references: int = 100
    pool: Callable[[], Tensor] | None = None

    label = "DeepSHAP ({references} references)"
    reference = "Lundberg, Lee 2017, section 4.2; Chen, Lundberg, Lee 2022"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("references", self.references, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` without a pool, and where incomplete."""
        if self.pool is None:
            raise NotDefinedError(
                "deep_shap needs samples that are never evaluated, and the data keep none; set a "
                "smaller limit, or give DeepShap(pool=...) from Python."
            )
        pool = references_for(batch, self.pool).to(batch.x)
        check_references(pool, batch.x)
        maps = [self._one(batch, i, pool) for i in range(len(batch))]
        return torch.stack(maps).to(batch.x.dtype)

    def _one(self, batch: Batch, i: int, pool: Tensor) -> Tensor:
        g = rng.generator(batch.seed, "deep shap", batch.sample_ids[i])
        count = min(self.references, len(pool))
        start = pool[torch.randperm(len(pool), generator=g)[:count].to(pool.device)]
        total = torch.zeros_like(batch.x[i], dtype=torch.float64)
        target = repeat_target(batch.target_of(i), count)
        x = batch.x[i].expand_as(start)
        for _, phi, end, at_start in contributions(batch.score, x, start, target):
            check_sum(phi, end, at_start, batch.x.dtype, batch.sample_ids[i])
            total += phi.sum(dim=0)
        return total / count
