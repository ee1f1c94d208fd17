"""Sequential Integrated Gradients: each feature moves alone, among the others as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.features import spread
from igbench.core.players import players
from igbench.integration.integrate import path_integrals
from igbench.integration.paths import Line
from igbench.integration.quadrature import check_rule, nodes_and_weights
from igbench.methods.coalitions import PlayersMethod

TOGETHER = 8
"""Features that move, each in rows of its own, in one go: bounds the memory of large samples."""


@dataclass(frozen=True)
class SequentialIG(PlayersMethod):
    """Integrated Gradients of each feature by itself, while all others stay as in the sample.

    phi_j = IG_j(x) from x with x' on the feature of j alone.  The entries of feature i sum to
    f(x) - f(x with x' on i), what feature ablation gives to it, up to the error of the rule; the
    method tells how that is shared out inside the feature.  All of them sum to
    sum over i of f(x) - f(x with x' on i), which is f(x) - f(x') where features do not interact.

    Cost: features x `n_steps` gradients for each sample.

    Args:
        rule: Quadrature rule, one of `igbench.integration.quadrature.RULES`.
        n_steps: Gradients for each feature.
        features: What moves together, see `igbench.core.players.players`; None for what fits the
            samples: words of texts.

    Source: Enguehard 2023, "Sequential Integrated Gradients: a simple but effective method for
    explaining language models" (Findings of ACL).

    >>> from igbench.methods import explain
    >>> product = lambda x: x[:, 0] * x[:, 1]  # of (2, 3) from (1, -1)
    >>> found = explain(SequentialIG(), product, [[2.0, 3.0]], baselines=[1.0, -1.0])
    >>> found.numpy().round(4).tolist()
    [[3.0, 8.0]]
    """

    rule: str = "gauss_legendre"
    n_steps: int = 20
    features: str | Tensor | None = None

    label = "Sequential IG ({rule}, {n_steps} steps)"
    reference = "Enguehard 2023"
    needs_gradient = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rule(self.rule, self.n_steps)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the features do not fit the samples."""
        return torch.stack([self._of_one(batch, i) for i in range(len(batch))])

    def _of_one(self, batch: Batch, i: int) -> Tensor:
        x, unit = batch.x[i], players(self.features, batch, i)
        moved = x != batch.baseline[i]
        every = torch.eye(unit.count, dtype=torch.bool)
        found = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        nodes, weights = nodes_and_weights(self.rule, self.n_steps)
        for some in every.split(TOGETHER):
            own = spread(some, unit).to(x.device) & moved
            own = own[own.flatten(1).any(dim=1)]
            if not len(own):
                continue
            path = Line(x.expand_as(own), torch.where(own, batch.baseline[i], x))
            target = batch.target_of(i)
            wide = None if target is None else target.expand(len(own), *target.shape[1:])
            found += path_integrals(batch.score, path, wide, nodes, weights[None])[0].sum(dim=0)
        return found.to(x)
