"""Linear surrogates: the weighted regression of f on which players are present."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from igbench.errors import NotDefinedError, check_choice

KERNELS = ("cosine", "none")
"""How masks are weighted by their likeness to the sample."""


@dataclass(frozen=True)
class Surrogate:
    """A fitted linear surrogate b + w . z of n players.

    Attributes:
        values: (n,) float64, w.
        std_error: (n,) float64, Monte Carlo standard errors of w: 0 where nothing was drawn.
        intercept: b.
    """

    values: Tensor
    std_error: Tensor
    intercept: float


def likeness(present: Tensor, kernel: str = "cosine", width: float = 0.25) -> Tensor:
    """Weights of masks by their likeness to the sample, (N,) in float64.

    "cosine": exp(-d^2 / (2 width^2)) with the cosine distance d = 1 - sqrt(k / n) of a mask with k
    of n players to the mask with all, as the library lime has it; that is sqrt(exp(-d^2 /
    width^2)), so `width` is s / sqrt(2) for the width s of the paper.  "none": 1.

    Args:
        present: (N, n) booleans, true where a player is present.
        kernel: One of `KERNELS`.
        width: Of the kernel.

    >>> masks = torch.tensor([[True, True], [True, False], [False, False]])
    >>> likeness(masks).numpy().round(4).tolist()
    [1.0, 0.5034, 0.0003]
    """
    check_choice("kernel", kernel, KERNELS)
    if kernel == "none":
        return torch.ones(len(present), dtype=torch.float64)
    share = present.double().mean(dim=1)
    return torch.exp(-((1 - share.sqrt()) ** 2) / (2 * width**2))


def surrogate(
    present: Tensor,
    values: Tensor,
    weights: Tensor,
    *,
    ridge: float = 0.0,
    drawn: bool = True,
) -> Surrogate:
    """Fit sum_m weight_m (value_m - b - w . z_m)^2 + ridge |w|^2 in float64.

    The standard error is the sandwich M^-1 (sum_m weight_m^2 e_m^2 a_m a_m') M^-1 with a = (1, z),
    residuals e and M = sum_m weight_m a_m a_m' + the ridge.

    Args:
        present: (N, n) booleans z.
        values: (N,) values of f.
        weights: (N,), at least 0.
        ridge: Penalty on w.
        drawn: Whether the masks were drawn; False where they are all masks, or chosen.

    Raises:
        NotDefinedError: The masks do not determine w.

    >>> masks = torch.tensor([[False, False], [False, True], [True, False], [True, True]])
    >>> fit = surrogate(masks, torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.ones(4))
    >>> fit.values.numpy().round(6).tolist(), round(fit.intercept, 6)
    ([3.0, 1.0], 1.0)
    """
    from sklearn.linear_model import Ridge

    z, y, w = (t.detach().cpu().double().numpy() for t in (present, values, weights))
    if not np.isfinite(y).all():
        nothing = torch.full((z.shape[1],), torch.nan, dtype=torch.float64)
        return Surrogate(nothing, nothing, float("nan"))
    design = np.column_stack([np.ones(len(z)), z])
    rank = int(np.linalg.matrix_rank(np.sqrt(w)[:, None] * design))
    if not ridge and rank < design.shape[1]:
        raise NotDefinedError(
            f"lime: {len(z)} weighted masks do not determine the weights of {z.shape[1]} players "
            f"(rank {rank} of {design.shape[1]}); raise method.lime.samples or .width, set .ridge, "
            "or choose fewer players by .features."
        )
    fit = Ridge(alpha=ridge, solver="svd").fit(z, y, sample_weight=w)
    slopes, intercept = np.asarray(fit.coef_, dtype=float), float(fit.intercept_)
    error = np.zeros_like(slopes)
    if drawn:
        penalty = np.diag([0.0, *[ridge] * z.shape[1]])
        bread = np.linalg.inv(design.T @ (w[:, None] * design) + penalty)
        pulls = design * (w * (y - intercept - z @ slopes))[:, None]
        error = np.sqrt(np.diagonal(bread @ (pulls.T @ pulls) @ bread))[1:]
    return Surrogate(torch.from_numpy(slopes), torch.from_numpy(error.copy()), intercept)
