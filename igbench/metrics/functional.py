"""Metrics as plain functions of a model, inputs and maps.

Every function has the same first arguments, and its metric's own parameters after them:

- `forward`: maps (N, *F) to (N,), or to (N, K) with `target`;
- `inputs`: (N, *F);
- `attributions`: (N, *F), or a dict of such maps, which share one observation;
- `target`: class of each sample, (N,) or one number for all;
- `baselines`: what absence is, a number or a tensor that broadcasts to the inputs;
- `features`: what one feature is, see `igbench.features.resolve`;
- `kind`: "global" (contributions) or "local" (sensitivities);
- `explain`: for robustness metrics, the method itself: maps (x (1, *F), target (1,)) to a map;
- `method`: the method itself, in place of `explain`, where a metric explains another model: maps a
  `Batch` to a map of its `score`; an object of `igbench.methods`, or a function;
- `seed`, `sample_ids`: key of everything random; the ids are 0..N-1 by default.

They return (N,) tensors, NaN where undefined, or a dict of them for a dict of maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from igbench import checks
from igbench.methods.given import Given
from igbench.metrics.aopc import Aopc
from igbench.metrics.avg_sensitivity import AvgSensitivity
from igbench.metrics.completeness import Completeness
from igbench.metrics.complexity import Complexity
from igbench.metrics.comprehensiveness import Comprehensiveness
from igbench.metrics.deletion import Deletion
from igbench.metrics.effective_complexity import EffectiveComplexity
from igbench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness_estimate import FaithfulnessEstimate
from igbench.metrics.infidelity import Infidelity
from igbench.metrics.insertion import Insertion
from igbench.metrics.local_lipschitz import LocalLipschitz
from igbench.metrics.max_sensitivity import MaxSensitivity
from igbench.metrics.max_sensitivity_n import MaxSensitivityN
from igbench.metrics.monotonicity_correlation import MonotonicityCorrelation
from igbench.metrics.pixel_flipping import PixelFlipping
from igbench.metrics.road import Road
from igbench.metrics.sensitivity_n import FRACTIONS, SensitivityN
from igbench.metrics.sparseness import Sparseness
from igbench.metrics.srg import SymmetricRelevanceGain
from igbench.metrics.sufficiency import Sufficiency
from igbench.rows import MethodSpec
from igbench.types import Attribution, Batch, Method, Metric, Score, frozen, mismatch

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
    explain: Callable[[Tensor, Tensor | None], Tensor] | None
    method: Callable[[Batch], Tensor] | None


@dataclass(frozen=True)
class Called:
    """A function from a `Batch` to a map as a method.

    Args:
        function: Maps a batch to (N, *F).
        spec: Kind and sign of the map.
    """

    function: Callable[[Batch], Tensor]
    spec: MethodSpec

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return self.function(batch).detach()


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
    explain: Callable[[Tensor, Tensor | None], Tensor] | None = None,
    method: Callable[[Batch], Tensor] | None = None,
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
        torch.as_tensor(baselines, dtype=inputs.dtype, device=inputs.device).expand_as(inputs),
        target,
        tuple(map(str, range(n))) if sample_ids is None else tuple(sample_ids),
        features,
        seed,
    )
    again: Method | None = None if explain is None else Given(explain, kind)
    if method is not None:
        again = Called(method, spec)
    given = {name: Attribution(values, spec, again) for name, values in maps.items()}
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


def aopc(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    order: Literal["morf", "lerf", "difference"] = "morf",
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f along a removal curve (Samek et al. 2017); see `Aopc`."""
    return measure(
        Aopc(step=step, occluder=occluder, scalar=scalar, order=order),
        forward,
        inputs,
        attributions,
        **common,
    )


def avg_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Mean change of the map in a ball around the input; needs `explain`; see `AvgSensitivity`."""
    return measure(
        AvgSensitivity(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def complexity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Entropy of the shares of |phi|; see `Complexity`."""
    return measure(Complexity(), forward, inputs, attributions, **common)


def comprehensiveness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f when the top features go; see `Comprehensiveness`."""
    return measure(
        Comprehensiveness(fractions=fractions, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )


def effective_complexity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    threshold: float = 0.1,
    **common: Unpack[Common],
) -> Scores:
    """Number of features with a large |phi|; see `EffectiveComplexity`."""
    return measure(
        EffectiveComplexity(threshold=threshold), forward, inputs, attributions, **common
    )


def faithfulness_correlation(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float = 0.2,
    subsets: int = 100,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of sums of phi with the change of f at one set size; see the class."""
    return measure(
        FaithfulnessCorrelation(n=n, subsets=subsets), forward, inputs, attributions, **common
    )


def faithfulness_estimate(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of phi with the drop for each feature; see `FaithfulnessEstimate`."""
    return measure(FaithfulnessEstimate(), forward, inputs, attributions, **common)


def local_lipschitz(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Largest ratio of change of map to change of input; needs `explain`; see the class."""
    return measure(
        LocalLipschitz(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def max_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Largest change of the map in a ball around the input; needs `explain`; see the class."""
    return measure(
        MaxSensitivity(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def max_sensitivity_n(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float | Sequence[float] = (0.01, 0.1, 0.5),
    mode: Literal["noise", "ablate"] = "noise",
    radius: float = 0.02,
    draws: int = 10,
    **common: Unpack[Common],
) -> Scores:
    """Largest change of the map when at most n features move; needs `explain`; see the class."""
    return measure(
        MaxSensitivityN(n=n, mode=mode, radius=radius, draws=draws),
        forward,
        inputs,
        attributions,
        **common,
    )


def monotonicity_correlation(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    draws: int = 8,
    **common: Unpack[Common],
) -> Scores:
    """Rank correlation of |phi| with the effect of each feature; see the class."""
    return measure(MonotonicityCorrelation(draws=draws), forward, inputs, attributions, **common)


def pixel_flipping(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Mean of f along the removal of the most important features; see `PixelFlipping`."""
    return measure(
        PixelFlipping(step=step, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )


def road(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    order: Literal["both", "morf", "lerf"] = "both",
    scalar: Literal["accuracy", "probability", "logit", "score"] = "probability",
    noise: float = 0.01,
    **common: Unpack[Common],
) -> Scores:
    """Removal with noisy linear imputation (Rong et al. 2022); see `Road`."""
    return measure(
        Road(order=order, scalar=scalar, noise=noise), forward, inputs, attributions, **common
    )


def sparseness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Gini index of |phi|; see `Sparseness`."""
    return measure(Sparseness(), forward, inputs, attributions, **common)


def sufficiency(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    occluder: str = "baseline",
    scalar: Scalar = "score",
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f when only the top features stay; see `Sufficiency`."""
    return measure(
        Sufficiency(fractions=fractions, occluder=occluder, scalar=scalar),
        forward,
        inputs,
        attributions,
        **common,
    )
