"""Average Integrated Gradients over references (Expected Gradients) or over noisy inputs.

Every estimate here is a mean over draws, keyed by sample; the metric `seed_variance` measures how
far it is from its expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import perturb, rng
from igbench.core.score import Score
from igbench.errors import InputError, check_positive, check_references, check_same_shape
from igbench.integration.integrate import draws_of_one, take
from igbench.integration.paths import column
from igbench.integration.quadrature import nodes_and_weights

F64 = torch.float64


def expected_gradients(
    score: Score,
    x: Tensor,
    pool: Tensor,
    target: Tensor | None = None,
    *,
    sample_ids: Sequence[str],
    references: int = 64,
    alphas: int = 4,
    seed: int = 0,
) -> Tensor:
    """Expected gradients (Erion et al. 2021), (N, *F) in the dtype of `x`.

    EG_i(x) = E[(x_i - x'_i) df/dx_i(x' + a (x - x'))] over x' from a pool and a uniform on [0, 1]:
    Integrated Gradients averaged over references.  The entries sum to f(x) - mean f(x') over the
    references used, in expectation over a.  The estimate is unbiased: each reference gets one a in
    each of `alphas` equal parts of [0, 1], and the references share out each part among themselves
    (a Latin hypercube), so that all references x alphas positions are spread evenly.

    Args:
        score: f.
        x: (N, *F).
        pool: (R, *F) references.
        target: (N,) class indices, or None.
        sample_ids: N identifiers, keys of the draws.
        references: Number of references for each sample: drawn from the pool without replacement,
            or all of the pool where it has no more.
        alphas: Positions for each reference.
        seed: Seed of the draws.

    Raises:
        InputError: An empty pool or one of another shape, or counts that are not above zero.
    """
    check_positive("references", references)
    check_positive("alphas", alphas)
    check_references(pool, x)
    pool, used = pool.to(x), min(references, len(pool))
    maps = []
    for i, sample_id in enumerate(sample_ids):
        g = rng.generator(seed, "expected gradients", sample_id)
        chosen = torch.randperm(len(pool), generator=g)[:used].to(x.device)
        positions = spread_positions(used, alphas, g).to(x.device).flatten()

        def rows(
            draw: Tensor, one: Tensor = x[i], own: Tensor = chosen, a: Tensor = positions
        ) -> tuple[Tensor, Tensor]:
            start = pool[own[draw // alphas]]
            at = column(a[draw].to(start.dtype), start)
            return torch.lerp(start, one.expand_as(start), at), one - start

        own_target = take(target, slice(i, i + 1))
        total = weighted_gradients(score, x[i], own_target, used * alphas, rows)
        maps.append(total / (used * alphas))
    return torch.stack(maps).to(x.dtype)


def spread_positions(references: int, alphas: int, generator: torch.Generator) -> Tensor:
    """Positions (R, A) in [0, 1]: one in each of the R x A equal parts, uniform inside it.

    Row r has one position in each of the A parts ((k, k+1) / A), at its own place among the
    references, which is drawn.  Every position is uniform on its part of [0, 1].
    """
    place = torch.randperm(references, generator=generator).double()[:, None]
    jitter = torch.rand(references, alphas, generator=generator, dtype=F64)
    return (torch.arange(alphas) + (place + jitter) / references) / alphas


def gradient_shap(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    sample_ids: Sequence[str],
    draws: int = 200,
    noise: float = 0.0,
    seed: int = 0,
    still: Tensor | None = None,
) -> Tensor:
    """GradientSHAP (Lundberg and Lee 2017), (N, *F) in the dtype of `x`.

    E[(x_i + e_i - x'_i) df/dx_i(x' + a (x + e - x'))] over a uniform on [0, 1] and normal noise e.
    The entries sum, in expectation, to mean f(x + e) - f(x').  Unbiased: each of `draws` equal
    parts of [0, 1] has one position, uniform inside it, so that without noise the error falls
    faster than with the root of the number of draws.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) class indices, or None.
        sample_ids: N identifiers, keys of the draws.
        draws: Gradients for each sample.
        noise: Standard deviation of the noise, in units of the input; 0 for none.
        seed: Seed of the draws.
        still: (*F) boolean, true where noise leaves an element alone, see `Batch.still`.

    Raises:
        InputError: Shapes that differ, no draws, or noise below zero.

    >>> f = Score(lambda x: x[:, 0] * x[:, 1])  # exact up to the positions: 3 and 3
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> gradient_shap(f, x, torch.zeros_like(x), sample_ids=["a"]).numpy().round(2).tolist()
    [[3.0, 3.0]]
    """
    check_same_shape("the baseline", baseline, x)
    check_positive("draws", draws)
    if not noise >= 0:
        raise InputError(f"noise is {noise}; it must be a standard deviation, zero or above.")
    maps = []
    for i, sample_id in enumerate(sample_ids):
        g = rng.generator(seed, "gradient shap", sample_id)
        positions = spread_positions(draws, 1, g).flatten().to(x.device)

        def rows(
            draw: Tensor,
            one: Tensor = x[i],
            start: Tensor = baseline[i],
            a: Tensor = positions,
            name: str = sample_id,
        ) -> tuple[Tensor, Tensor]:
            ends = one.expand(len(draw), *one.shape)
            if noise:
                ends = torch.stack(
                    [_jittered(one, noise, seed, name, number, still) for number in draw.tolist()]
                )
            at = column(a[draw].to(ends.dtype), ends)
            return torch.lerp(start.expand_as(ends), ends, at), ends - start

        own_target = take(target, slice(i, i + 1))
        maps.append(weighted_gradients(score, x[i], own_target, draws, rows) / draws)
    return torch.stack(maps).to(x.dtype)


def _jittered(
    x: Tensor, noise: float, seed: int, sample_id: str, draw: int, still: Tensor | None
) -> Tensor:
    """One sample (*F) plus normal noise of an absolute size, keyed by sample and draw."""
    g = rng.generator(seed, "gradient shap noise", sample_id, draw)
    e = _normal(x, g, still)
    return (x.detach().double() + noise * e).to(x.dtype)


def _normal(x: Tensor, g: torch.Generator, still: Tensor | None) -> Tensor:
    """Normal numbers for a sample (*F) float64, 0 where noise leaves an element alone."""

    def make(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=g, dtype=F64)

    return perturb.drawn(make, x.shape, still).to(x.device)


def smooth_integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    sample_ids: Sequence[str],
    draws: int = 10,
    noise: float = 0.15,
    rule: str = "gauss_legendre",
    n_steps: int = 20,
    seed: int = 0,
    still: Tensor | None = None,
) -> Tensor:
    """Integrated Gradients averaged over noisy copies of the input, (N, *F) in the dtype of `x`.

    mean over e of IG(x + e) from x', with e normal (Smilkov et al. 2017, on Integrated Gradients).
    The entries sum to mean f(x + e) - f(x') up to the error of the rule.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) class indices, or None.
        sample_ids: N identifiers, keys of the noise.
        draws: Noisy copies of each sample.
        noise: Standard deviation, as a share of max - min of each sample (Smilkov et al. 2017: 0.1
            to 0.2).
        rule: Quadrature rule, see `igbench.integration.quadrature`.
        n_steps: Gradients for each copy.
        seed: Seed of the noise.
        still: (*F) boolean, true where noise leaves an element alone, see `Batch.still`.

    Raises:
        InputError: Unknown rule, shapes that differ, counts or noise that are not above zero.
    """
    check_same_shape("the baseline", baseline, x)
    check_positive("draws", draws)
    check_positive("noise", noise)
    nodes, weights = (torch.tensor(v, device=x.device) for v in nodes_and_weights(rule, n_steps))
    maps = []
    for i, sample_id in enumerate(sample_ids):

        def rows(
            draw: Tensor, one: Tensor = x[i], start: Tensor = baseline[i], name: str = sample_id
        ) -> tuple[Tensor, Tensor]:
            copies, which = (draw // n_steps).unique(return_inverse=True)
            noisy = torch.stack(
                [noisy_copy(one, noise, seed, name, int(c), still) for c in copies.tolist()]
            )[which]
            a, w = nodes[draw % n_steps], weights[draw % n_steps]
            points = torch.lerp(start.expand_as(noisy), noisy, column(a.to(noisy.dtype), noisy))
            return points, (noisy - start).double() * column(w, noisy)

        own_target = take(target, slice(i, i + 1))
        maps.append(weighted_gradients(score, x[i], own_target, draws * n_steps, rows) / draws)
    return torch.stack(maps).to(x.dtype)


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased variance of the gradient over draws.

    Attributes:
        mean: (N, *F) float64.
        variance: (N, *F) float64, zero for a single draw.
    """

    mean: Tensor
    variance: Tensor


def noisy_gradients(
    score: Score,
    x: Tensor,
    target: Tensor | None = None,
    *,
    sample_ids: Sequence[str],
    draws: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    still: Tensor | None = None,
) -> Moments:
    """Mean and variance of the gradient at noisy copies of the input (Smilkov et al. 2017).

    Sums are taken of what the gradients differ from the first one by, so that the variance of a
    constant gradient is exactly zero, and a large mean does not drown a small variance.

    Args:
        score: f.
        x: (N, *F).
        target: (N,) class indices, or None.
        sample_ids: N identifiers, keys of the noise.
        draws: Noisy copies of each sample.
        noise: Standard deviation, as a share of max - min of each sample.
        seed: Seed of the noise.
        still: (*F) boolean, true where noise leaves an element alone, see `Batch.still`.
    """
    means, variances = [], []
    for i, sample_id in enumerate(sample_ids):

        def build(draw: Tensor, one: Tensor = x[i], name: str = sample_id) -> Tensor:
            return torch.stack(
                [noisy_copy(one, noise, seed, name, d, still) for d in draw.tolist()]
            )

        own_target = take(target, slice(i, i + 1))
        first: Tensor | None = None
        total, squares = (torch.zeros(x.shape[1:], dtype=F64, device=x.device) for _ in range(2))
        for _, _, gradient in draws_of_one(score, draws, own_target, build, x.device):
            first = gradient[0].double() if first is None else first
            off = gradient.double() - first
            total += off.sum(dim=0)
            squares += off.square().sum(dim=0)
        mean = total / draws
        means.append(mean if first is None else first + mean)
        variances.append((squares - draws * mean.square()).clamp_min(0) / max(1, draws - 1))
    return Moments(torch.stack(means), torch.stack(variances))


def noisy_copy(
    x: Tensor, noise: float, seed: int, sample_id: str, draw: int, still: Tensor | None = None
) -> Tensor:
    """One sample (*F) plus normal noise of `noise` times its range, keyed by sample and draw.

    Args:
        x: (*F).
        noise: Standard deviation, as a share of max - min of the elements that may move.
        seed: Seed of the noise.
        sample_id: Sample of the noise.
        draw: Number of the copy.
        still: (*F) boolean, true where noise leaves an element alone.
    """
    g = rng.generator(seed, "smooth integrated gradients", sample_id, draw)
    e, exact = _normal(x, g, still), x.detach().double()
    low, high = (exact if still is None else exact[~still]).aminmax()
    return (exact + noise * (high - low) * e).to(x.dtype)


def weighted_gradients(
    score: Score,
    x: Tensor,
    target: Tensor | None,
    count: int,
    rows: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    """Sum over r of grad f(point_r) * weight_r for one sample (*F), (*F) float64.

    Chunks never mix samples; memory does not grow with `count`.

    Args:
        score: f.
        x: (*F), for its shape and device.
        target: (1,) class index, or None.
        count: Number of rows.
        rows: Maps numbers of rows (n,) to points (n, *F) and weights (n, *F).
    """
    total = torch.zeros(x.shape, dtype=F64, device=x.device)
    weights: Tensor  # of the chunk whose gradients come next

    def build(draw: Tensor) -> Tensor:
        nonlocal weights
        points, weights = rows(draw)
        return points

    for _, _, gradient in draws_of_one(score, count, target, build, x.device):
        total += (gradient.double() * weights.double()).sum(dim=0)
    return total
