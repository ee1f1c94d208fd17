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
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class AveragedIG:
    """Mean of Integrated Gradients over baselines (Sturmfels, Lundberg and Lee 2020).

    The batch's own baseline takes no part.  Entries sum to f(x) - mean f(x') over the baselines.

    Args:
        baselines: Names from `igbench.baselines.NAMED`, or baselines.
        rule: Quadrature rule, see `igbench.integration.quadrature`.
        n_steps: Gradients for each sample and baseline.
        data: What black, white and the pool are.  An experiment gives its own.
    """

    baselines: tuple[str | references.Baseline, ...] = ("black", "white", "blur", "uniform_noise")
    rule: str = "gauss_legendre"
    n_steps: int = 25
    data: Data | None = None

    def __post_init__(self) -> None:
        if not self.baselines:
            raise InputError("ig_averaged needs at least one baseline.")
        for name in self.baselines:
            if isinstance(name, str):
                references.named(name)

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - mean f(x')."""
        names = [b if isinstance(b, str) else type(b).__name__ for b in self.baselines]
        return MethodSpec(
            f"IG averaged over {', '.join(names)} ({self.rule}, {self.n_steps} steps each)",
            "Sturmfels, Lundberg, Lee 2020",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            InputError: No data, or a baseline that does not fit or equals a sample.
        """
        if self.data is None:
            raise InputError(
                "ig_averaged needs to know the data (what black is, which samples are never "
                "evaluated); give AveragedIG(data=...) from Python."
            )
        total = torch.zeros_like(batch.x, dtype=torch.float64)
        for entry in self.baselines:
            make = references.named(entry) if isinstance(entry, str) else entry
            start = make(batch.x, batch.sample_ids, self.data, batch.seed)
            check_baseline_differs(batch.x, start, batch.sample_ids)
            total += integrated_gradients(
                batch.score,
                batch.x,
                start,
                batch.target,
                rule=self.rule,
                n_steps=self.n_steps,
            )
        return (total / len(self.baselines)).to(batch.x.dtype)
