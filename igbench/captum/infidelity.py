"""Infidelity with the interface of `captum.metrics.infidelity`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from igbench.captum import tuples
from igbench.captum.tuples import Baselines, Target, Tensors
from igbench.errors import InputError, check_positive, check_same_shape

Perturb = Callable[..., tuple[Tensors, Tensors]]


def infidelity_perturb_func_decorator(
    multiply_by_inputs: bool = True,
) -> Callable[[Callable[..., Tensors]], Perturb]:
    """Decorate a function that returns perturbed inputs x~ alone, for use in `infidelity`.

    Args:
        multiply_by_inputs: True, for global attributions: the perturbation is
            (x - x~) / (x - baseline), and x - x~ where x = baseline.  False, for local ones:
            x - x~.

    Returns:
        A decorator; the decorated function returns (perturbations, perturbed inputs), two tuples.
    """

    def decorate(perturb_func: Callable[..., Tensors]) -> Perturb:
        @functools.wraps(perturb_func)
        def perturb(inputs: Tensors, baselines: Baselines = None) -> tuple[Tensors, Tensors]:
            given = () if baselines is None else (baselines,)
            perturbed = tuples.as_tuple("the perturbed inputs", perturb_func(inputs, *given))
            xs = tuples.as_tuple("inputs", inputs)
            _one_each("perturbed inputs", perturbed, xs)
            changes = tuple(x - p for x, p in zip(xs, perturbed, strict=True))
            if not multiply_by_inputs:
                return changes, perturbed
            ranges = [x - b for x, b in zip(xs, tuples.as_baselines(baselines, xs), strict=True)]
            return (
                tuple(
                    c / torch.where(r == 0, torch.ones_like(r), r)
                    for c, r in zip(changes, ranges, strict=True)
                ),
                perturbed,
            )

        return perturb

    return decorate


def infidelity(
    forward_func: Callable[..., Tensor],
    perturb_func: Perturb,
    inputs: Tensors,
    attributions: Tensors,
    baselines: Baselines = None,
    additional_forward_args: Any = None,
    target: Target = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    normalize: bool = False,
) -> Tensor:
    """Mean squared error of the changes that attributions predict, (B,), in [0, inf).

    1/D sum_d (I_d . phi - (f(x) - f(x~_d)))^2 over D draws of a perturbation I and the perturbed
    input x~ (Yeh et al. 2019, definition 2.1), as `captum.metrics.infidelity` has it.  It differs
    from Captum's function in that f(x) is evaluated once instead of once for each chunk, sums are
    kept in float64, and the model never gets more rows in one call than requested.

    Args:
        forward_func: The model, or any function of `(*inputs, *additional_forward_args)`.
        perturb_func: Called as `perturb_func(inputs)` or, where baselines are given,
            `perturb_func(inputs, baselines)`, on examples that are repeated: the first one several
            times, then the second, and so on.  Returns (perturbations, perturbed inputs), each a
            tensor or, for several inputs, a tuple.  Where it draws from torch's global generator,
            its draws, and so the score, depend on the batch and on `max_examples_per_batch`; those
            of `igbench.metrics.infidelity` do not.
        inputs: Tensor (B, *F), or a tuple of them.
        attributions: In the shapes of the inputs.
        baselines: Passed to `perturb_func`: a number, a tensor (B, *F) or (1, *F), or a tuple.
        additional_forward_args: Further arguments of the forward function, one or a tuple.
        target: Output that is explained; forms as in `IntegratedGradients.attribute`.
        n_perturb_samples: D.
        max_examples_per_batch: Largest number of rows in one call of the model; `perturb_func`
            gets as many draws of all examples as fit in it, at least one.
        normalize: Scale attributions by the factor of each example that makes the error smallest,
            sum (I . phi)(f(x) - f(x~)) / sum (I . phi)^2, so that their scale does not matter.

    Raises:
        InputError: Shapes that do not fit, no draws, several outputs and no target.

    >>> def remove(x):  # I = x - 0 and x~ = 0
    ...     return x, torch.zeros_like(x)
    >>> f, x = lambda x: (x**2).sum(dim=1), torch.tensor([[1.0, 2.0]])
    >>> infidelity(f, remove, x, 2 * x).tolist()  # (2 * 1 + 4 * 2 - 5)^2: the gradient
    [25.0]
    """
    xs = tuples.as_tuple("inputs", inputs)
    maps = tuples.as_tuple("attributions", attributions)
    starts = None if baselines is None else tuples.as_baselines(baselines, xs)
    arguments = tuples.as_arguments(additional_forward_args)
    check_positive("n_perturb_samples", n_perturb_samples)
    _one_each("attributions", maps, xs)
    for i, (phi, x) in enumerate(zip(maps, xs, strict=True)):
        check_same_shape(f"attribution {i}", phi, x)
    n = len(xs[0])
    limit = tuples.row_limit(max_examples_per_batch, xs, arguments)
    together = max(1, (max_examples_per_batch or n * n_perturb_samples) // n)
    wide = tuples.accumulator_dtype(xs[0].device)
    error, pp, pc, cc = torch.zeros(4, n, dtype=wide, device=xs[0].device)
    with torch.no_grad():
        clean = tuples.outputs(forward_func, xs, target, arguments, limit)
        for start in range(0, n_perturb_samples, together):
            draws = min(together, n_perturb_samples - start)
            rows = tuples.repeat_each(draws)
            steps, perturbed = _perturbed(perturb_func, xs, starts, rows)
            after = tuples.outputs(
                forward_func,
                perturbed,
                tuples.take_target(target, rows),
                tuples.take_arguments(arguments, rows),
                limit,
            )
            predicted = _dot(maps, steps, draws, wide)
            change = (clean.to(wide)[:, None] - after.to(wide).view(n, draws)).to(error.device)
            error += (predicted - change).square().sum(dim=1)
            pp += predicted.square().sum(dim=1)
            pc += (predicted * change).sum(dim=1)
            cc += change.square().sum(dim=1)
    if normalize:
        beta = pc / torch.where(pp == 0, torch.ones_like(pp), pp)
        error = (beta.square() * pp - 2 * beta * pc + cc).clamp_min(0)
    kept = torch.promote_types(torch.promote_types(maps[0].dtype, clean.dtype), torch.float32)
    return (error / n_perturb_samples).to(kept)


def _perturbed(
    perturb_func: Perturb, xs: tuple[Tensor, ...], starts: Any, rows: tuples.Rows
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Perturbations and perturbed inputs, one row for each draw of each example."""
    repeated = tuple(x[rows(len(x))] for x in xs)
    given = [repeated]
    if starts is not None:
        given.append(tuples.take_baselines(starts, xs, rows))
    found = perturb_func(*(v[0] if len(xs) == 1 else v for v in given))
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise InputError(
            "perturb_func must return (perturbations, perturbed inputs); decorate a function that "
            "returns perturbed inputs only with infidelity_perturb_func_decorator."
        )
    steps = tuples.as_tuple("the perturbations", found[0])
    perturbed = tuples.as_tuple("the perturbed inputs", found[1])
    _one_each("perturbations", steps, xs)
    _one_each("perturbed inputs", perturbed, xs)
    for step, after, x in zip(steps, perturbed, repeated, strict=True):
        if len(after) != len(x) or step.shape not in (x.shape, x[:1].shape):
            raise InputError(
                f"perturb_func got inputs of shape {tuple(x.shape)} and returned perturbations "
                f"{tuple(step.shape)} and perturbed inputs {tuple(after.shape)}; they must match."
            )
    return steps, perturbed


def _one_each(what: str, values: tuple[Tensor, ...], xs: tuple[Tensor, ...]) -> None:
    if len(values) != len(xs):
        raise InputError(f"{len(values)} {what} for {len(xs)} inputs; give one for each.")


def _dot(
    maps: tuple[Tensor, ...], steps: tuple[Tensor, ...], draws: int, wide: torch.dtype
) -> Tensor:
    """Changes that the attributions predict: I . phi for every draw, (B, D)."""
    parts = []
    for phi, step in zip(maps, steps, strict=True):
        own = step.expand(len(phi) * draws, *phi.shape[1:]).unflatten(0, (len(phi), draws))
        parts.append((own * phi[:, None]).reshape(len(phi), draws, -1).sum(dim=2, dtype=wide))
    return torch.stack(parts).sum(dim=0)
