"""Expected Gradients: Integrated Gradients averaged over samples of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import InputError
from igbench.integration.expected import expected_gradients
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class ExpectedGradients:
    """Expected Gradients (Erion et al. 2021) over samples that are never evaluated.

    Complete in expectation against the mean output over the references, not against the batch's
    baseline: entries sum to f(x) - mean f(x').

    Args:
        references: References for each sample, drawn from the pool; all of it where it has no more.
        alphas: Positions for each reference; a sample costs references x alphas gradients.  At
            equal cost more references are worth more than more positions.
        pool: Returns (R, *F) references.  An experiment gives the data's own pool.
    """

    references: int = 64
    alphas: int = 4
    pool: Callable[[], Tensor] | None = None

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - mean f(x')."""
        return MethodSpec(
            f"Expected Gradients ({self.references} references x {self.alphas})",
            "Erion, Janizek, Sturmfels, Lundberg, Lee 2021",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            InputError: There is no pool.
        """
        if self.pool is None:
            raise InputError(
                "expected_gradients needs samples that are never evaluated, and the data keep "
                "none; set a smaller limit, or give ExpectedGradients(pool=...) from Python."
            )
        return expected_gradients(
            batch.score,
            batch.x,
            self.pool(),
            batch.target,
            sample_ids=batch.sample_ids,
            references=self.references,
            alphas=self.alphas,
            seed=batch.seed,
        )
