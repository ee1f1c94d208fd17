"""What is the integral of the gradient along the straight line from the baseline to the input?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from igbench import checks
from igbench.attr.quadrature import nodes_and_weights
from igbench.types import Score


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


def line_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None,
    nodes: np.ndarray,
    weights: np.ndarray,
) -> Tensor:
    """Weighted sums of the gradients at nodes on the straight line, (R, N, *F) float64.

    sum_k w_rk grad f(x' + a_k (x - x')), for R sets of weights over the same nodes: several rules
    from one set of gradients.  Samples and nodes are cut into chunks of `score.rows` together, so
    memory does not grow with the number of nodes.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) or None.
        nodes: (K,) positions a_k in [0, 1].
        weights: (R, K).
    """
    n, k = len(x), len(nodes)
    alphas = torch.from_numpy(nodes.copy()).to(x.device)
    table = torch.from_numpy(weights.copy()).to(x.device)
    total = torch.zeros(len(weights), n, x[0].numel(), dtype=torch.float64, device=x.device)
    for start in range(0, n * k, score.rows):
        flat = torch.arange(start, min(start + score.rows, n * k), device=x.device)
        sample, node = flat // k, flat % k
        at = alphas[node].to(x.dtype).view(-1, *[1] * (x.dim() - 1))
        points = torch.lerp(baseline[sample], x[sample], at)
        gradients = input_gradient(score, points, None if target is None else target[sample])
        gradients = gradients.flatten(1).double()
        for i in range(start // k, (start + len(flat) - 1) // k + 1):
            mine = slice(max(i * k - start, 0), min((i + 1) * k - start, len(flat)))
            total[:, i] += table[:, node[mine]] @ gradients[mine]
    return total.view(len(weights), *x.shape)


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
    checks.same_shape("the baseline", baseline, x)
    nodes, weights = nodes_and_weights(rule, n_steps)
    mean = line_gradients(score, x, baseline, target, nodes, weights[None])[0]
    return ((x - baseline).double() * mean).to(x.dtype)
