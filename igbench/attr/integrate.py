"""What is the integral of the gradient along a path from the baseline to the input?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from igbench import checks
from igbench.attr.paths import Line, Path
from igbench.attr.quadrature import nodes_and_weights
from igbench.types import Score

F64 = torch.float64


def input_gradient(score: Score, x: Tensor, target: Tensor | None) -> Tensor:
    """The gradient of every row's score with respect to its own input, (N, *F).

    Raises:
        InputError: The score does not depend on the input in a differentiable way.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = score(x, target)
        if not out.requires_grad:
            raise checks.InputError(
                "the model's output has no gradient with respect to its input (argmax, round, an "
                "embedding look-up or no_grad inside?)."
            )
        return torch.autograd.grad(out.sum(), x)[0]


def path_integrals(
    score: Score, path: Path, target: Tensor | None, nodes: np.ndarray, weights: np.ndarray
) -> Tensor:
    """Path integrals of the gradient by R quadrature rules on the same nodes, (R, N, *F) float64.

    sum_k w_rk grad f(p(a_k)) * p'(a_k) for a path p (Sundararajan et al. 2017, section 4): several
    rules from one set of gradients.  Samples and nodes are cut into chunks of `score.rows`
    together, so memory does not grow with the number of nodes.

    Args:
        score: f.
        path: One path for each sample.
        target: (N,) or None.
        nodes: (K,) positions a_k in [0, 1].
        weights: (R, K).
    """
    displacement = path.displacement
    n, k, device = len(displacement), len(nodes), displacement.device
    positions = torch.from_numpy(nodes.copy()).to(device)
    table = torch.from_numpy(weights.copy()).to(device)
    total = torch.zeros(len(weights), n, displacement[0].numel(), dtype=F64, device=device)
    constant = True
    for start in range(0, n * k, score.rows):
        flat = torch.arange(start, min(start + score.rows, n * k), device=device)
        sample, node = flat // k, flat % k
        a = positions[node]
        points = path.points(sample, a)
        gradients = input_gradient(score, points, None if target is None else target[sample])
        gradients = gradients.flatten(1).double()
        velocity = path.velocity(sample, a)
        if velocity is not None:
            constant = False
            gradients = gradients * velocity.flatten(1).double()
        for i in range(start // k, (start + len(flat) - 1) // k + 1):
            mine = slice(max(i * k - start, 0), min((i + 1) * k - start, len(flat)))
            total[:, i] += table[:, node[mine]] @ gradients[mine]
    if constant:
        total *= displacement.flatten(1).double()
    return total.view(len(weights), *displacement.shape)


def integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    rule: str = "gauss_legendre",
    n_steps: int = 50,
) -> Tensor:
    """Integrated Gradients by a fixed quadrature rule, (N, *F) in the dtype of `x`.

    IG_i(x) = (x_i - x'_i) * integral over a in [0, 1] of df/dx_i(x' + a (x - x'))
    (Sundararajan, Taly and Yan 2017, eq. 1).  The entries sum to f(x) - f(x') up to the error of
    the rule.  Gradients are summed in float64.

    Args:
        score: f, the scalar that is explained.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) class indices, or None for single-output models.
        rule: One of `igbench.attr.quadrature.RULES`.
        n_steps: Number of gradients for each sample.

    Raises:
        InputError: Unknown rule, too few steps, shapes that differ, no gradient.
    """
    nodes, weights = nodes_and_weights(rule, n_steps)
    path = Line(x, baseline)
    return path_integrals(score, path, target, nodes, weights[None])[0].to(x.dtype)
