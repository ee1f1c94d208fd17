"""Important Direction Gradient Integration: credit each step along its gradient only."""

from __future__ import annotations

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import check_positive, check_same_shape
from igbench.integration.integrate import draws_of_one, take
from igbench.integration.paths import Line

F64 = torch.float64


def important_direction(
    score: Score, x: Tensor, baseline: Tensor, target: Tensor | None = None, *, steps: int = 50
) -> Tensor:
    """Important Direction Gradient Integration (Yang et al. 2023), (N, *F) in the dtype of `x`.

    sum over k of (f(p_k+1) - f(p_k)) g_k,i^2 / |g_k|^2 on the straight line p_k = x' + k/steps
    (x - x'), g_k = grad f(p_k): every change of the output is shared out by squared gradient.  The
    entries sum to f(x) - f(x') exactly, for any number of steps.  A change where the gradient is
    exactly zero goes to the next step with a gradient, or to the last one.  Where there is no
    gradient on the whole line the map is zero.

    Shares do not depend on how far a feature moves, so features with x_i = x'_i get a share, and
    the map is not linear in f.  For f = w . x feature i gets w_i^2 / |w|^2 of the change, not
    w_i (x_i - x'_i).

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) class indices, or None.
        steps: Gradients for each sample; there are as many forwards and one more.

    Raises:
        InputError: No steps, shapes that differ, an output without gradient.
    """
    check_same_shape("the baseline", baseline, x)
    check_positive("steps", steps)
    maps = [
        _one(score, x[i], baseline[i], take(target, slice(i, i + 1)), steps) for i in range(len(x))
    ]
    return torch.stack(maps).to(x.dtype)


def _one(score: Score, x: Tensor, baseline: Tensor, target: Tensor | None, steps: int) -> Tensor:
    """The map of one sample (*F), in float64."""
    line = Line(x[None], baseline[None])

    def points(k: Tensor) -> Tensor:
        return line.points(torch.zeros_like(k), k / steps)

    values = score.evaluate_draws(steps + 1, target, points, device=x.device, full=True)
    changes = values.double().diff().tolist()
    total = torch.zeros(x.shape, dtype=F64, device=x.device)
    last, pending = torch.zeros_like(total), 0.0
    for part, _, gradient in draws_of_one(score, steps, target, points, x.device):
        shares = gradient.double().square()
        sizes = shares.flatten(1).sum(dim=1).tolist()
        for share, size, change in zip(shares, sizes, changes[part], strict=True):
            pending += change
            if size > 0:
                last = share / size
                total += pending * last
                pending = 0.0
    return total + pending * last
