"""Points, chunks and weights of the path integral, for Captum's forms of inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from igbench.captum.tuples import Baseline, cuts
from igbench.errors import InputError, check_choice
from igbench.integration import quadrature

RULES = {
    "gausslegendre": "gauss_legendre",
    "riemann_left": "left",
    "riemann_right": "right",
    "riemann_middle": "middle",
    "riemann_trapezoid": "trapezoid",
}
"""Captum's names of quadrature rules, and ours."""


def weights_and_nodes(method: str, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and nodes (n,) of a rule, by Captum's name or by ours."""
    check_choice("method", method, (*RULES, *quadrature.RULES))
    nodes, weights = quadrature.nodes_and_weights(RULES.get(method, method), n_steps)
    return weights, nodes


def blocks(n: int, k: int, limit: int, apart: bool) -> Iterator[tuple[slice, slice]]:
    """Rectangles of examples and steps with at most `limit` rows.

    Where examples cannot be taken apart, there is at least one step of all of them.
    """
    for cut in cuts(n, limit, apart):
        many = max(1, limit // len(range(n)[cut]))
        yield from ((cut, slice(j, j + many)) for j in range(0, k, many))


def on_device(baseline: Baseline, x: Tensor) -> Tensor:
    """A baseline as a tensor (B, *F) or (1, ...) on the device of its input."""
    if isinstance(baseline, Tensor) and baseline.numel() > 1:
        return baseline.detach().to(x.device)
    value = baseline.item() if isinstance(baseline, Tensor) else baseline
    own = baseline.dtype if isinstance(baseline, Tensor) else _float(x.dtype)
    return torch.full((1,) * x.dim(), value, dtype=own, device=x.device)


def _float(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def point_dtype(x: Tensor, baseline: Tensor) -> torch.dtype:
    """Floating dtype of the points between a baseline and an input."""
    return _float(torch.promote_types(x.dtype, baseline.dtype))


def points(x: Tensor, baseline: Tensor, alphas: Tensor) -> Tensor:
    """Points b + a (x - b) for every step and example, (K * B, *F), that need a gradient."""
    dtype = point_dtype(x, baseline)
    fine = torch.promote_types(dtype, torch.float32)
    at = alphas.to(fine).to(x.device).view(-1, *[1] * x.dim())
    start, end = baseline.to(fine), x.detach().to(fine)
    points = torch.lerp(start.expand_as(end), end, at)
    return points.flatten(0, 1).to(dtype).requires_grad_()


def weighted(gradient: Tensor | None, sizes: Tensor, total: Tensor) -> Tensor | float:
    """Sum of the gradients over steps with their weights; 0 where a gradient does not exist."""
    if gradient is None:
        return 0.0
    k = len(sizes)
    if len(gradient) % k:
        raise InputError(f"gradient_func returned {len(gradient)} rows for {k} steps.")
    flat = gradient.detach().reshape(k, -1).to(total.dtype)
    summed = sizes.to(total.dtype).to(total.device) @ flat
    return summed.view(len(gradient) // k, *gradient.shape[1:])
