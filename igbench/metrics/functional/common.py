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
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from igbench import checks
from igbench.methods.given import Given
from igbench.rows import MethodSpec
from igbench.types import Attribution, Batch, Method, Metric, Score, frozen, mismatch

Forward = nn.Module | Callable[[Tensor], Tensor]
Maps = Tensor | Mapping[str, Tensor]
Scores = Tensor | dict[str, Tensor]
Kind = Literal["global", "local"]


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
