"""Max-sensitivity with the interface of `captum.metrics.sensitivity_max`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from igbench.captum import tuples
from igbench.captum.tuples import Tensors
from igbench.errors import InputError, check_positive


def default_perturb_func(inputs: Tensors, perturb_radius: float = 0.02) -> tuple[Tensor, ...]:
    """Inputs with uniform noise from the L-infinity ball, in their own dtype.

    Numbers come from torch's global CPU generator in float32, as Captum's do, so that equal seeds
    give equal noise; float16 and bfloat16 inputs keep their dtype.

    Args:
        inputs: Tensor (B, *F), or a tuple of them.
        perturb_radius: Largest absolute noise.
    """
    return tuple(
        x
        + torch.empty(x.shape, dtype=torch.float32).uniform_(-perturb_radius, perturb_radius).to(x)
        for x in tuples.as_tuple("inputs", inputs)
    )


def sensitivity_max(
    explanation_func: Callable[..., Tensors],
    inputs: Tensors,
    perturb_func: Callable[..., Tensors] = default_perturb_func,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = "fro",
    max_examples_per_batch: int | None = None,
    **kwargs: Any,
) -> Tensor:
    """Largest relative change of an explanation near the input, (B,), in [0, inf).

    max_d |phi(x~_d) - phi(x)| / |phi(x)| over D perturbed inputs, a Monte Carlo estimate of
    Yeh et al. 2019, definition 3.1, divided by the norm of the explanation (by 1 where that is 0)
    as `captum.metrics.sensitivity_max` does.  It differs from Captum's function in that

    - all noise is drawn by one call of `perturb_func`, so chunks do not change the result;
    - `explanation_func` always gets inputs in one form, the one that `perturb_func` returns (a
      tuple from the default function), and may return a tensor or a tuple, contiguous or not;
    - gradients are enabled when explanations are computed;
    - every baseline with one entry for each example follows its example, also beside scalars in a
      tuple, and so does `feature_mask`; arguments are not copied deeply.

    Args:
        explanation_func: For example the `attribute` method of a Captum class.
        inputs: Tensor (B, *F), or a tuple of them.
        perturb_func: Called as `perturb_func(inputs, perturb_radius)`, or `perturb_func(inputs)`
            if it has one parameter, on examples repeated D times each; returns perturbed inputs.
        perturb_radius: Passed to `perturb_func`.
        n_perturb_samples: D.
        norm_ord: Order of the vector norm; "fro" is 2.
        max_examples_per_batch: Largest number of rows in one call of `explanation_func`, which
            always gets at least one draw of all examples.
        **kwargs: Arguments of `explanation_func`.  `target`, `additional_forward_args`,
            `baselines` and `feature_mask` are repeated along with the inputs.

    Raises:
        InputError: No draws, an unknown norm, shapes that do not fit.

    >>> shift = lambda x, radius: x + radius
    >>> double = lambda x: 2 * x  # |2 (x + r) - 2 x| / |2 x| = 2 / 8 for x = 4 and r = 1
    >>> sensitivity_max(double, torch.tensor([[4.0]]), shift, perturb_radius=1.0).tolist()
    [0.25]
    """
    xs = tuples.as_tuple("inputs", inputs)
    check_positive("n_perturb_samples", n_perturb_samples)
    order = _order(norm_ord)
    n = len(xs[0])
    together = _draws_together(n, n_perturb_samples, max_examples_per_batch)
    perturbed = _perturbed(perturb_func, xs, perturb_radius, n_perturb_samples)
    form = tuples.shaped_like(perturbed, tuple(x.detach() for x in xs))
    clean = _explain(explanation_func, form, kwargs, n)
    scale = _norm([e[:, None] for e in clean], order)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    found = []
    for start in range(0, n_perturb_samples, together):
        draws = min(together, n_perturb_samples - start)
        chosen = torch.arange(n * n_perturb_samples).view(n, -1)[:, start : start + draws].flatten()
        part = tuples.shaped_like(
            perturbed, tuple(p[chosen] for p in tuples.as_tuple("perturbed", perturbed))
        )
        moved = _explain(explanation_func, part, repeated(kwargs, xs, draws), n * draws)
        differences = [
            m.unflatten(0, (n, draws)) - e[:, None] for m, e in zip(moved, clean, strict=True)
        ]
        found.append((_norm(differences, order) / scale).amax(dim=1))
    kept = torch.promote_types(clean[0].dtype, torch.float32)
    return torch.stack(found).amax(dim=0).to(kept)


def repeated(kwargs: Mapping[str, Any], xs: tuple[Tensor, ...], draws: int) -> dict[str, Any]:
    """Arguments of an explanation function, repeated for `draws` rows of every example."""
    rows, new = tuples.repeat_each(draws), dict(kwargs)
    if "target" in new:
        new["target"] = tuples.take_target(new["target"], rows)
    if new.get("additional_forward_args") is not None:
        given = new["additional_forward_args"]
        taken = tuples.take_arguments(tuples.as_arguments(given), rows) or ()
        new["additional_forward_args"] = taken if isinstance(given, tuple) else taken[0]
    for name in ("baselines", "feature_mask"):
        given = new.get(name)
        values = given if isinstance(given, tuple) else (given,)
        if name == "feature_mask" and _lacks_examples(values, xs):
            continue
        if given is not None and len(values) == len(xs):
            taken = tuples.take_baselines(values, xs, rows)
            new[name] = taken if isinstance(given, tuple) else taken[0]
    return new


def _lacks_examples(masks: tuple[Any, ...], xs: tuple[Tensor, ...]) -> bool:
    """Whether masks have fewer axes than the inputs: axis 0 then does not count examples."""
    return any(
        isinstance(m, Tensor) and m.dim() != x.dim() for m, x in zip(masks, xs, strict=False)
    )


def _draws_together(n: int, draws: int, limit: int | None) -> int:
    if limit is None:
        return draws
    check_positive("max_examples_per_batch", limit)
    if limit < n:
        warnings.warn(
            f"max_examples_per_batch is {limit}, fewer than the {n} examples; calls of "
            f"explanation_func have {n} rows, one perturbation of every example.",
            stacklevel=3,
        )
    return max(1, limit // n)


def _perturbed(
    perturb_func: Callable[..., Tensors], xs: tuple[Tensor, ...], radius: float, draws: int
) -> Tensors:
    """All perturbed inputs, D rows for every example, as `perturb_func` returns them."""
    rows = tuples.repeat_each(draws)
    wide = tuple(x.detach()[rows(len(x))] for x in xs)
    given = wide[0] if len(wide) == 1 else wide
    more = (radius,) if len(inspect.signature(perturb_func).parameters) > 1 else ()
    with torch.no_grad():
        perturbed = perturb_func(given, *more)
    values = tuples.as_tuple("the perturbed inputs", perturbed)
    if [v.shape for v in values] != [x.shape for x in wide]:
        raise InputError(
            f"perturb_func got shapes {[tuple(x.shape) for x in wide]} and returned "
            f"{[tuple(v.shape) for v in values]}; they must match."
        )
    return perturbed


def _explain(
    explanation_func: Callable[..., Tensors], inputs: Tensors, kwargs: Mapping[str, Any], n: int
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        found = explanation_func(inputs, **kwargs)
    values = tuples.as_tuple("the explanation", found)
    for v in values:
        if len(v) != n:
            raise InputError(
                f"explanation_func returned shape {tuple(v.shape)} for {n} rows; axis 0 must count "
                "the rows."
            )
    return tuple(v.detach() for v in values)


def _order(norm_ord: str | float) -> float:
    if isinstance(norm_ord, str) and norm_ord != "fro":
        raise InputError(f"norm_ord {norm_ord!r} is no norm of a vector; give 'fro' or a number.")
    return 2.0 if isinstance(norm_ord, str) else float(norm_ord)


def _norm(values: list[Tensor], order: float) -> Tensor:
    """Norm over all maps together, (B, D), from maps (B, D, *F)."""
    wide = tuples.accumulator_dtype(values[0].device)
    flat = torch.cat([v.to(wide).reshape(*v.shape[:2], -1) for v in values], dim=2)
    return torch.linalg.vector_norm(flat, ord=order, dim=2)
