"""DeepLIFT by its rescale rule: the chain rule with differences in place of derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from igbench.core.score import Score
from igbench.errors import NotDefinedError, check_same_shape
from igbench.integration.integrate import take
from igbench.propagation.mode import (
    ELEMENTWISE,
    POOLS,
    Call,
    Evaluate,
    Rules,
    check_scalar,
    guard,
    is_activation,
    propagate,
    secant,
    with_rule,
)

F64 = torch.float64
ROUNDING = 1000.0
"""Units of rounding, of the size of the map and of both values, that a sum may be off.

Networks of some hundred operations, each of which rounds once, are off by up to 3 units.
"""


class Rescale(Rules):
    """Multipliers of DeepLIFT for a batch of 2N rows: N inputs, and then their N references.

    With d the difference between an input and its reference: an element-wise function y has
    dy / dx; where dx = 0, the derivative between the two.  A product of two activations a b has
    the means of b, and of a, at both ends.  What chooses the largest of several elements gives the
    part of dy that lies above the other end's to the element that each end chose.  Everything
    linear keeps its gradient.
    """

    title = "DeepLIFT"

    def __init__(self) -> None:
        super().__init__()
        self.handlers = {
            **dict.fromkeys(ELEMENTWISE, _elementwise),
            **dict.fromkeys(POOLS, _pool),
            **{f"{name}_with_indices": _pool for name in POOLS},
            **dict.fromkeys(("mul", "multiply"), _product),
            **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
            "__rdiv__": _reciprocal,
            "amax": _largest,
            "max": _largest,
            "maximum": _larger,
        }


def paired(*tensors: Tensor) -> bool:
    """Whether activations can be inputs and their references, one after the other."""
    return all(t.dim() > 0 and len(t) % 2 == 0 for t in tensors)


def twice(per_pair: Tensor) -> Tensor:
    """The same for an input and its reference, (N, ...) to (2N, ...)."""
    return torch.cat([per_pair, per_pair])


def _elementwise(call: Call) -> Tensor | None:
    tables = [a for a in call.args[1:] if isinstance(a, Tensor) and a.dim() > 1]
    return rescaled(call.evaluate, call.x) if call.of_one() and not tables else None


def rescaled(evaluate: Evaluate, x: Tensor) -> Tensor | None:
    """An element-wise function of 2N rows with the slopes between both halves as its backward."""
    if not paired(x):
        return None
    with torch.no_grad():
        value = evaluate(x)
        slope = secant(evaluate, *x.detach().chunk(2))
    return with_rule(value, (x,), lambda g, slope: g * twice(slope), slope)


def _product(call: Call) -> Tensor | None:
    a, b = call.args[:2]
    return product(a, b) if is_activation(a) and is_activation(b) else None


def product(a: Tensor, b: Tensor) -> Tensor | None:
    """A product of two activations of 2N rows; sizes broadcast."""
    if a.dim() != b.dim() or not paired(a, b) or len(a) != len(b):
        return None

    shapes = a.shape, b.shape

    def rule(g: Tensor, mean_a: Tensor, mean_b: Tensor) -> tuple[Tensor, Tensor]:
        to_a, to_b = g * twice(mean_b), g * twice(mean_a)
        return to_a.sum_to_size(shapes[0]), to_b.sum_to_size(shapes[1])

    with torch.no_grad():
        value = a * b
        mean_a, mean_b = ((t[: len(t) // 2] + t[len(t) // 2 :]) / 2 for t in (a, b))
    return with_rule(value, (a, b), rule, mean_a, mean_b)


def _quotient(call: Call) -> Tensor | None:
    a, b = call.args[:2]
    if call.kwargs or not is_activation(b):
        return None
    inverse = rescaled(torch.reciprocal, b)
    if inverse is None:
        return None
    return product(a, inverse) if is_activation(a) else a * inverse


def _reciprocal(call: Call) -> Tensor | None:
    """A number divided by an activation."""
    inverse = rescaled(torch.reciprocal, call.x)
    return None if inverse is None else inverse * call.args[1]


def _pool(call: Call) -> Any:
    x, (*others,), options = call.x, call.args[1:], dict(call.kwargs)
    name = call.name.removesuffix("_with_indices")
    asked = options.pop("return_indices", False) or name != call.name
    places = int(name[-2])
    if x.dim() != places + 2 or not paired(x):
        return None
    with torch.no_grad():
        value, chosen = getattr(functional, name)(x, *others, **options, return_indices=True)
    out = chosen_elements(x, value, chosen, places)
    return (out, chosen) if asked else out


def chosen_elements(x: Tensor, value: Tensor, chosen: Tensor, places: int) -> Tensor:
    """Elements of 2N rows that were chosen for being largest, with DeepLIFT's rule.

    Args:
        x: (2N, ..., *P).
        value: (2N, ..., *Q), what was chosen.
        chosen: (2N, ..., *Q), its number among the places P.
        places: Number of axes P.
    """
    flat, own, number = (t.flatten(-places).detach() for t in (x, value, chosen))
    with torch.no_grad():
        (i, j), (y, z) = number.chunk(2), own.chunk(2)
        step = flat[: len(i)] - flat[len(i) :]
        top = torch.maximum(y, z)
        here = _share(top - z, step.gather(-1, i), top)
        there = _share(y - top, step.gather(-1, j), top)

    shape = x.shape

    def rule(g: Tensor, i: Tensor, j: Tensor, here: Tensor, there: Tensor) -> Tensor:
        g = g.flatten(-places)
        found = g.new_zeros(shape).flatten(-places)
        found.scatter_add_(-1, twice(i), g * twice(here))
        found.scatter_add_(-1, twice(j), g * twice(there))
        return found.view(shape)

    return with_rule(value.clone(), (x,), rule, i, j, here, there)


def _share(part: Tensor, step: Tensor, size: Tensor) -> Tensor:
    """A part of a difference by the step of the element that it goes to; half where none is."""
    close = step.abs() <= guard(size.dtype) * size.abs()
    return torch.where(close, 0.5, part / torch.where(close, 1.0, step))


def _largest(call: Call) -> Any:
    """The largest element along one axis, or several: `max(dim)` and `amax`."""
    options = dict(zip(("dim", "keepdim"), call.args[1:], strict=False)) | call.kwargs
    axes, x = options.get("dim"), call.x
    if axes is None or isinstance(axes, Tensor) or not paired(x):
        return None
    axes = sorted(a % x.dim() for a in ((axes,) if isinstance(axes, int) else axes))
    if 0 in axes or not axes:
        return None
    last = x.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
    with torch.no_grad():
        value, chosen = last.max(dim=-1, keepdim=True)
    out = chosen_elements(last, value, chosen, 1)[..., 0]
    for axis in axes if options.get("keepdim") else ():
        out = out.unsqueeze(axis)
    if call.name == "amax":
        return out
    return torch.return_types.max((out, chosen.view(out.shape)))


def _larger(call: Call) -> Tensor | None:
    """The larger of two activations: `maximum`."""
    a, b = call.args[:2]
    if not (is_activation(a) and is_activation(b) and a.shape == b.shape and paired(a)):
        return None
    both = torch.stack([a, b], dim=-1)
    with torch.no_grad():
        value, chosen = both.max(dim=-1, keepdim=True)
    return chosen_elements(both, value, chosen, 1)[..., 0]


def contributions(
    score: Score, x: Tensor, reference: Tensor, target: Tensor | None = None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield contributions by the rescale rule, in chunks of pairs of an input and a reference.

    Args:
        score: f, a logit.
        x: (N, *F).
        reference: (N, *F).
        target: (N,) or None.

    Yields:
        Which pairs, contributions (n, *F) in float64, and f (n,) at the inputs and references.

    >>> f = Score(lambda x: torch.relu(2 * x[:, 0] + x[:, 1] - 1))  # from 0 to (1, 1): by 2
    >>> x = torch.ones(1, 2, dtype=torch.float64)
    >>> [phi.numpy().round(4).tolist() for _, phi, _, _ in contributions(f, x, torch.zeros_like(x))]
    [[[1.3333, 0.6667]]]
    """
    check_same_shape("the reference", reference, x)
    check_scalar(Rescale.title, score)

    def run(part: slice) -> tuple[slice, Tensor, Tensor, Tensor]:
        own = take(target, part)
        n = len(x[part])
        pair = torch.cat([x[part], reference[part]])
        wide = None if own is None else torch.cat([own, own])
        values, multipliers = propagate(score, pair, wide, Rescale(), slice(0, n))
        phi = multipliers[:n].to(F64) * (x[part].to(F64) - reference[part].to(F64))
        return part, phi, values[:n].to(F64), values[n:].to(F64)

    return score.in_chunks(len(x), run, rows_each=2)


def check_sum(phi: Tensor, ends: Tensor, starts: Tensor, dtype: torch.dtype, name: str) -> None:
    """Raise unless the contributions to one sample sum to the difference of f.

    Rounding is allowed `ROUNDING` units of the size of the contributions and of both values.

    Args:
        phi: (R, *F) contributions from R references.
        ends: (R,) f at the input.
        starts: (R,) f at the references.
        dtype: In which the model ran.
        name: Of the sample.

    Raises:
        NotDefinedError: An operation of the model has no rule; the message has the gap.
    """
    gap = (phi.flatten(1).sum(dim=1) - (ends - starts)).abs()
    size = phi.flatten(1).abs().sum(dim=1) + ends.abs() + starts.abs()
    worst = int((gap - ROUNDING * torch.finfo(dtype).eps * size).argmax())
    if not bool(gap[worst] <= ROUNDING * torch.finfo(dtype).eps * size[worst]):
        raise NotDefinedError(
            f"DeepLIFT has no rule for an operation of the model: contributions to {name!r} sum to "
            f"{float(phi[worst].sum()):.4g}, and f(x) - f(x') is "
            f"{float(ends[worst] - starts[worst]):.4g}; {Rules.advice}."
        )
