"""Integrate the gradient along a path from the baseline to the input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from igbench.core.outputs import repeat_target
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.integration.paths import Line, Path
from igbench.integration.quadrature import nodes_and_weights

F64 = torch.float64

NO_GRADIENT = (
    "the model's output has no gradient with respect to its input (argmax, round, an embedding "
    "look-up, no_grad, or another tensor than its argument inside?)."
)
"""What is said of a model that cannot be differentiated."""


@dataclass(frozen=True)
class Nodes:
    """Where gradients are taken: Q points on the paths of N samples, and R sets of weights.

    Attributes:
        sample: (Q,) number of the sample, rising.
        a: (Q,) float64 position in [0, 1].
        weights: (R, Q) float64.
        slope_weights: (S, Q) float64; each is multiplied by the slope at its node, and the sums are
            S further integrals, the last ones.
    """

    sample: Tensor
    a: Tensor
    weights: Tensor
    slope_weights: Tensor | None = None


@dataclass(frozen=True)
class Sweep:
    """Integrals, values and slopes from the gradients at some nodes.

    Attributes:
        integrals: (R, N, *F) float64, sum_k w_rk grad f(p(a_k)) * p'(a_k); S more with slope
            weights.
        values: (Q,) float64, f(p(a_k)), a by-product of the gradients.
        slopes: (Q,) float64, the derivative of f along the path.
    """

    integrals: Tensor
    values: Tensor
    slopes: Tensor


def value_and_gradient(score: Score, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Every row's score (N,), and its gradient with respect to its own input (N, *F).

    Raises:
        InputError: The score does not depend on the input in a differentiable way.
        NotDefinedError: The model says that it has no gradients.
    """
    if not score.differentiable:
        raise NotDefinedError(
            "the model is evaluated alone, so its output has no gradient with respect to its input."
        )
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = score(x, target)
        gradient = None
        if out.requires_grad:
            gradient = torch.autograd.grad(out.sum(), x, allow_unused=True)[0]
        if gradient is None:
            raise InputError(NO_GRADIENT)
        return out.detach(), gradient


def input_gradient(score: Score, x: Tensor, target: Tensor | None) -> Tensor:
    """The gradient alone, see `value_and_gradient`."""
    return value_and_gradient(score, x, target)[1]


def take(target: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    """Targets of some rows, None for single-output models."""
    return None if target is None else target[rows]


def gradients(
    score: Score, count: int, rows: Callable[[slice], tuple[Tensor, Tensor | None]]
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield the values (n,) and gradients (n, *F) of many rows, see `Score.in_chunks`.

    Memory does not grow with their number.

    Args:
        score: f.
        count: Number of rows.
        rows: Maps a chunk of 0..count-1 to its points (n, *F) and targets (n,) or None.
    """
    return score.in_chunks(count, lambda part: (part, *value_and_gradient(score, *rows(part))))


def draws_of_one(
    score: Score,
    count: int,
    target: Tensor | None,
    build: Callable[[Tensor], Tensor],
    device: torch.device,
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield values and gradients at many points of one sample, see `gradients`.

    Args:
        score: f.
        count: Number of points.
        target: (1,) class index, or None.
        build: Maps numbers of points (n,) to points (n, *F).
        device: Where the numbers of points are made.
    """
    numbers = torch.arange(count, device=device)
    wide = repeat_target(target, count)
    return gradients(score, count, lambda part: (build(numbers[part]), take(wide, part)))


@torch.no_grad()
def sweep(score: Score, path: Path, target: Tensor | None, nodes: Nodes) -> Sweep:
    """Take the gradient at every node and sum them, for all sets of weights at once.

    Chunks hold nodes of several samples, see `gradients`.

    Args:
        score: f.
        path: One path for each of N samples.
        target: (N,) or None.
        nodes: Where, and with which weights.
    """
    displacement = path.displacement
    q, device = len(nodes.sample), displacement.device

    def rows(part: slice) -> tuple[Tensor, Tensor | None]:
        sample = nodes.sample[part]
        return path.points(sample, nodes.a[part]), take(target, sample)

    sets = len(nodes.weights)
    sets += 0 if nodes.slope_weights is None else len(nodes.slope_weights)
    total = torch.zeros(sets, len(displacement), displacement[0].numel(), dtype=F64, device=device)
    values, slopes = (torch.empty(q, dtype=F64, device=device) for _ in range(2))
    step = displacement.flatten(1).double()
    owners = np.asarray(nodes.sample.tolist())  # once, so that the loop never waits for the device
    constant = True
    for part, value, gradient in gradients(score, q, rows):
        values[part] = value.double()
        wide = gradient.flatten(1).double()
        velocity = path.velocity(nodes.sample[part], nodes.a[part])
        if velocity is not None:
            constant = False
            wide = wide * velocity.flatten(1).double()
        for i, mine in _runs(owners[part]):
            along = wide[mine] @ step[i] if velocity is None else wide[mine].sum(dim=1)
            slopes[part][mine].copy_(along)
            weights = nodes.weights[:, part][:, mine]
            if nodes.slope_weights is not None:
                steep = nodes.slope_weights[:, part][:, mine] * along
                weights = torch.cat([weights, steep])
            total[:, i] += weights @ wide[mine]
    if constant:
        total *= step
    return Sweep(total.view(sets, *displacement.shape), values, slopes)


def _runs(owners: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Numbers that rise, as (number, where it is)."""
    cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
    for start, stop in itertools.pairwise(cuts):
        yield int(owners[start]), slice(start, stop)


def same_nodes(n: int, nodes: np.ndarray, weights: np.ndarray, device: torch.device) -> Nodes:
    """The same K positions and (R, K) weights for each of N samples."""
    a = torch.from_numpy(nodes.copy()).to(device)
    w = torch.from_numpy(weights.copy()).to(device)
    sample = torch.arange(n, device=device).repeat_interleave(len(nodes))
    return Nodes(sample, a.repeat(n), w.repeat(1, n))


def path_integrals(
    score: Score, path: Path, target: Tensor | None, nodes: np.ndarray, weights: np.ndarray
) -> Tensor:
    """Path integrals of the gradient by R quadrature rules on the same nodes, (R, N, *F) float64.

    sum_k w_rk grad f(p(a_k)) * p'(a_k) for a path p (Sundararajan et al. 2017, section 4): several
    rules from one set of gradients.

    Args:
        score: f.
        path: One path for each sample.
        target: (N,) or None.
        nodes: (K,) positions a_k in [0, 1].
        weights: (R, K).
    """
    n, device = len(path.displacement), path.displacement.device
    return sweep(score, path, target, same_nodes(n, nodes, weights, device)).integrals


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
        rule: One of `igbench.integration.quadrature.RULES`.
        n_steps: Number of gradients for each sample.

    Raises:
        InputError: Unknown rule, too few steps, shapes that differ, no gradient.

    >>> f = Score(lambda x: x[:, 0] * x[:, 1] ** 2)  # from 0, x_0 gets a third of f(3, 2) = 12
    >>> x = torch.tensor([[3.0, 2.0]])
    >>> integrated_gradients(f, x, torch.zeros_like(x), n_steps=2).numpy().round(4).tolist()
    [[4.0, 8.0]]
    """
    nodes, weights = nodes_and_weights(rule, n_steps)
    path = Line(x, baseline)
    return path_integrals(score, path, target, nodes, weights[None])[0].to(x.dtype)
