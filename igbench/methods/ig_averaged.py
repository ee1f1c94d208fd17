"""Integrated Gradients averaged over several baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench import baselines as references
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.errors import InputError, check_baseline_differs
from igbench.integration.integrate import integrated_gradients
from igbench.integration.quadrature import check_rule
from igbench.methods.base import BaseMethod
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class AveragedIG(BaseMethod):
    """Mean of Integrated Gradients over several baselines.

    phi = 1/B sum over baselines b of IG(x; b).  The batch's own baseline takes no part: entries sum
    to f(x) - mean f(b).  Cost: B x `n_steps` gradients for each sample.

    Args:
        baselines: Names from `igbench.baselines.NAMED`, or baselines.
        rule: Quadrature rule, one of `igbench.integration.quadrature.RULES`.
        n_steps: Gradients for each sample and baseline.
        data: Defines black and white, and holds the pool of references.  An experiment gives its
            own.

    Source: Sturmfels, Lundberg and Lee 2020, "Visualizing the Impact of Feature Attribution
    Baselines" (Distill).
    """

    foldable = True

    baselines: tuple[str | references.Baseline, ...] = ("black", "white", "blur", "uniform_noise")
    rule: str = "gauss_legendre"
    n_steps: int = 25
    data: Data | None = None

    reference = "Sturmfels, Lundberg, Lee 2020"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.baselines:
            raise InputError("ig_averaged needs at least one baseline.")
        for name in self.baselines:
            if isinstance(name, str):
                references.named(name)
        check_rule(self.rule, self.n_steps)

    @property
    def spec(self) -> MethodSpec:
        """The definition that is kept on the record of every score."""
        names = [b if isinstance(b, str) else type(b).__name__ for b in self.baselines]
        title = f"IG averaged over {', '.join(names)} ({self.rule}, {self.n_steps} steps each)"
        return MethodSpec(title, self.reference, self.kind, self.signed)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            InputError: No data, or a baseline that does not fit or equals a sample.
        """
        if self.data is None:
            raise InputError(
                "ig_averaged needs the data (what black is, which samples are never evaluated); "
                "give AveragedIG(data=...) from Python."
            )
        total = torch.zeros_like(batch.x, dtype=torch.float64)
        for entry in self.baselines:
            make = references.named(entry) if isinstance(entry, str) else entry
            start = make(batch.x, batch.sample_ids, self.data, batch.seed)
            check_baseline_differs(batch.x, start, batch.sample_ids)
            total += integrated_gradients(
                batch.score, batch.x, start, batch.target, rule=self.rule, n_steps=self.n_steps
            )
        return (total / len(self.baselines)).to(batch.x.dtype)
