"""A function of the user's as a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.content import short_hash
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class CallableMethod(BaseMethod):
    """Any function as a method: of one sample and its class, or of a whole `Batch`.

    By default the function gets one sample at a time, and the global generators are seeded for
    each, so that a function that draws from them does not depend on what was explained before.  For
    an explainer of Captum's: `CallableMethod(lambda x, t: explainer.attribute(x, target=t),
    kind="global")`.  Such a function keeps explaining its own model from its own baseline; metrics
    that change either (randomisation, baseline sensitivity, some axioms) need `per_batch=True`.

    Args:
        function: Maps x (1, *F) and target (1,) or None to (1, *F); with `per_batch`, maps a
            `Batch` to (N, *F), explaining `batch.score` from `batch.baseline`.
        kind: "global" (contributions, which sum to a difference of f) or "local" (sensitivities,
            per unit of input): metrics depend on it.
        signed: False where the map is a magnitude.
        title: Name in tables.
        per_batch: Whether the function maps a `Batch`.
        needs_gradient: False for a function that takes no gradients of the model, so that it is
            allowed for models without any.

    >>> from igbench.methods import explain
    >>> doubled = CallableMethod(lambda x, target: 2 * x, kind="global")
    >>> explain(doubled, lambda x: 2 * x.sum(dim=1), torch.tensor([[1.0, 3.0]])).tolist()
    [[2.0, 6.0]]
    """

    function: Callable[..., Tensor]
    kind: Literal["global", "local"]
    signed: bool = True
    title: str = "given by the caller"
    per_batch: bool = False
    needs_gradient: bool = True

    label = "{title}"
    reference = "given by the caller"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        if self.per_batch:
            first = batch.sample_ids[0] if batch.sample_ids else ""
            with rng.global_state(batch.seed, "given", first):
                return self.function(batch).detach()
        return one_by_one(batch, "given", lambda x, i: self.function(x, batch.target_of(i)))


@dataclass(frozen=True)
class Explainer(BaseMethod):
    """An explainer of another library, which explains its own model, one sample at a time.

    Args:
        function: Maps x (1, *F), target (1,) or None, and baseline (1, *F) to a map (1, *F).
        kind: "global" (contributions) or "local" (sensitivities).
        signed: False where the map is a magnitude.
        title: Name in tables.
        needs_gradient: Whether it takes gradients of the model.
    """

    function: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    kind: Literal["global", "local"]
    signed: bool = True
    title: str = "given by the caller"
    needs_gradient: bool = True

    label = "{title}"
    reference = "given by the caller"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""

        def explained(x: Tensor, i: int) -> Tensor:
            return self.function(x, batch.target_of(i), batch.baseline[i : i + 1].clone())

        return one_by_one(batch, "given", explained)


@dataclass(frozen=True, eq=False, repr=False)
class Precomputed(BaseMethod):
    """Maps that exist already, as a method; it cannot explain anything else.

    Metrics that explain again (robustness, randomisation) are undefined for it.

    Args:
        values: (S, *F), one map for each sample.
        sample_ids: S names.
        kind: "global" (contributions) or "local" (sensitivities).
        signed: False where the maps are magnitudes.

    >>> Precomputed(torch.ones(2, 3), ("a", "b"))
    Precomputed(maps of 2 samples, 88f8780c)
    """

    values: Tensor
    sample_ids: tuple[str, ...]
    kind: Literal["global", "local"] = "global"
    signed: bool = True

    label = "maps given by the caller"
    reference = "given by the caller"
    needs_gradient = False
    explains_again = False

    def __call__(self, batch: Batch) -> Tensor:
        """The maps of the samples of a batch, (N, *F)."""
        place = {s: i for i, s in enumerate(self.sample_ids)}
        rows = torch.tensor([place[s] for s in batch.sample_ids])
        return self.values[rows].to(batch.x)

    def __repr__(self) -> str:
        return f"Precomputed(maps of {len(self.sample_ids)} samples, {short_hash(self.values)})"


def one_by_one(batch: Batch, purpose: str, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Maps by foreign code, (N, *F), with the global generators seeded for each sample.

    Args:
        batch: The samples.
        purpose: With the batch's seed and the sample id, the key of what is drawn.
        function: Maps x (1, *F), which requires a gradient, and its position to a map (1, *F).
    """
    maps = []
    for i, sample_id in enumerate(batch.sample_ids):
        with rng.global_state(batch.seed, purpose, sample_id):
            x = batch.x[i : i + 1].detach().clone().requires_grad_()
            maps.append(function(x, i).detach())
    return torch.cat(maps)
