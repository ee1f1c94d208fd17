"""Expected Gradients: Integrated Gradients averaged over samples of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.tokens import cut
from igbench.errors import NotDefinedError, check_whole
from igbench.integration.expected import expected_gradients
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class ExpectedGradients(BaseMethod):
    """Expected Gradients over references that are never evaluated.

    phi_i = E[(x_i - x'_i) df/dx_i(x' + a (x - x'))] over references x' and a uniform on [0, 1].
    The batch's own baseline takes no part: entries sum, in expectation, to f(x) - mean f(x') over
    the references.  Cost: `references` x `alphas` gradients for each sample; at equal cost more
    references are worth more than more positions.  The Monte Carlo error of a map, the metric
    `seed_variance`, is large: 50 % on a photograph (EfficientNet-Lite0, a pool of 16, so 64
    gradients); it falls with the root of the number of gradients, or faster where all of a pool is
    used and `alphas` grows.

    Args:
        references: References for each sample, drawn from the pool; all of it where it has no more.
        alphas: Positions on the line to each reference.
        pool: Returns (R, *F) references.  An experiment gives the data's own pool.

    Source: Erion et al. 2021, "Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients" (Nature Machine Intelligence).

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, 2.0])  # exact for a linear f
    >>> method = ExpectedGradients(pool=lambda: torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    >>> explain(method, f, torch.ones(1, 2)).numpy().round(4).tolist()
    [[1.0, 1.0]]
    """

    foldable = True

    references: int = 64
    alphas: int = 4
    pool: Callable[[], Tensor] | None = None

    label = "Expected Gradients ({references} references x {alphas})"
    reference = "Erion, Janizek, Sturmfels, Lundberg, Lee 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("references", self.references, least=1)
        check_whole("alphas", self.alphas, least=1)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where there is no pool."""
        if self.pool is None:
            raise NotDefinedError(
                "expected_gradients needs samples that are never evaluated, and the data keep "
                "none; set a smaller limit, or give ExpectedGradients(pool=...) from Python."
            )
        return expected_gradients(
            batch.score,
            batch.x,
            references_for(batch, self.pool),
            batch.target,
            sample_ids=batch.sample_ids,
            references=self.references,
            alphas=self.alphas,
            seed=batch.seed,
        )


def references_for(batch: Batch, pool: Callable[[], Tensor]) -> Tensor:
    """References (R, *F) for the samples of a batch; those of texts are cut to its length."""
    return cut(pool(), batch.x) if isinstance(batch.features, Tensor) else pool()
