"""Metrics as plain functions of a model, inputs and maps.

Every function has the same first arguments, and its metric's own parameters after them:

- `forward`: maps (N, *F) to (N,), or to (N, K) with `target`;
- `inputs`: (N, *F);
- `attributions`: (N, *F), or a dict of such maps, which share one observation;
- `target`: class of each sample, (N,) or one number for all;
- `baselines`: what absence is, a number or a tensor that broadcasts to the inputs;
- `features`: what one feature is, see `igbench.features.resolve`;
- `kind`: "global" (contributions) or "local" (sensitivities);
- `seed`, `sample_ids`: key of everything random; the ids are 0..N-1 by default.

They return (N,) tensors, NaN where undefined, or a dict of them for a dict of maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from igbench import checks
from igbench.metrics.completeness import Completeness
from igbench.metrics.deletion import Deletion
from igbench.metrics.infidelity import Infidelity
from igbench.metrics.insertion import Insertion
from igbench.metrics.sensitivity_n import FRACTIONS, SensitivityN
from igbench.metrics.srg import SymmetricRelevanceGain
from igbench.rows import MethodSpec
from igbench.types import Attribution, Batch, Metric, Score, frozen, mismatch

Forward = nn.Module | Callable[[Tensor], Tensor]
Maps = Tensor | Mapping[str, Tensor]
Scores = Tensor | dict[str, Tensor]
Kind = Literal["global", "local"]
Scalar = Literal["score", "logit", "probability"]


class Common(TypedDict, total=False):
    """Keyword arguments that every function takes; the module describes them."""

    target: Tensor | int | None
    baselines: float | Tensor
    features: str
    kind: Kind
    seed: int
    sample_ids: Sequence[str] | None


def measure(
    metric: Metric,
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    target: Tensor | int | None = None,
    baselines: float | Tensor = 0.0,
    features: str = "element",
    kind: Kind = "global",
    seed: int = 0,
    sample_ids: Sequence[str] | None = None,
) -> Scores:
    """Apply any metric object; see the module for the arguments.

    Raises:
        InputError: Shapes that do not fit, a map of the wrong kind, NaN in a map.
    """
    n = len(inputs)
    maps = {"": attributions} if isinstance(attributions, Tensor) else dict(attributions)
    spec = MethodSpec("given", "", kind, signed=True)
    reason = mismatch(metric.spec.needs, spec)
    if reason:
        raise checks.InputError(f"{metric.spec.title} {reason}.")
    for name, values in maps.items():
        checks.same_shape(
            f"the attribution {name!r}" if name else "the attribution", values, inputs
        )
        checks.finite("the attribution", values)
    if isinstance(target, int):
        target = torch.full((n,), target, device=inputs.device)
    if target is not None:
        checks.one_per_sample("target", target, n)
    batch = Batch(
        Score(forward),
        inputs,
        torch.as_tensor(baselines).to(inputs).expand_as(inputs),
        target,
        tuple(map(str, range(n))) if sample_ids is None else tuple(sample_ids),
        features,
        seed,
    )
    given = {name: Attribution(values, spec) for name, values in maps.items()}
    with frozen(forward):
        found = metric.measure(batch, given, metric.observe(batch))
    scores = {name: m.value for name, m in found.items()}
    return scores[""] if isinstance(attributions, Tensor) else scores


def completeness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    relative: bool = True,
    **common: Unpack[Common],
) -> Scores:
    """|sum phi - (f(x) - f(x'))|, relative to |f(x) - f(x')|; see `Completeness`."""
    return measure(Completeness(relative=relative), forward, inputs, attributions, **common)


def infidelity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    perturbation: Literal["square", "subset", "gaussian"] = "square",
    draws: int | Literal["all"] = 64,
    scale: float = 0.1,
    normalize: bool = False,
    **common: Unpack[Common],
) -> Scores:
    """Mean squared error of phi as a predictor of f(x) - f(x_p); see `Infidelity`."""
    return measure(
        Infidelity(perturbation=perturbation, draws=draws, scale=scale, normalize=normalize),
        forward,
        inputs,
        attributions,
        **common,
    )


def sensitivity_n(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float | Sequence[float] = FRACTIONS,
    subsets: int | Literal["all"] = 100,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of sums of phi over sets of n features with f's change; see `SensitivityN`."""
    return measure(SensitivityN(n=n, subsets=subsets), forward, inputs, attributions, **common)


def deletion(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Area under f as the most important features go first; see `Deletion`."""
    return measure(
        Deletion(step=step, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )


def insertion(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Area under f as the most important features come first; see `Insertion`."""
    return measure(
        Insertion(step=step, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )


def srg(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Area with least important first minus area with most important first."""
    return measure(
        SymmetricRelevanceGain(step=step, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )
