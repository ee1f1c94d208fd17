"""Implementation invariance: do two networks that compute the same get the same map?"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from igbench import checks
from igbench.metrics.again import (
    LOST,
    explained,
    method_of_batch,
    relative_l1,
    rescored,
)
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BENDS = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True)
class ImplementationInvariance:
    """|phi(f_2) - phi(f)|_1 / |phi(f)|_1 for a network f_2 that computes the same function as f.

    Sundararajan, Taly and Yan 2017, section 2.  f_2 is a copy of the network in which

    - "split": every linear and convolutional layer is the sum of two layers with half the weights
      and half the bias each;
    - "bend": every ReLU and ReLU6 module is a choice between x and its bounds, with the same values
      and derivatives and no such module;
    - "both": both.

    Halves are exact in binary, so outputs agree to rounding, which is checked.  What depends on the
    function alone has 0 to within rounding; rules that go by kinds of layers need not.  Layers keep
    their names.  Range [0, inf).

    Args:
        rewrite: "split", "bend" or "both".

    Raises:
        InputError: Unknown rewrite, a model that is no torch module, nothing to rewrite, or a
            network that works differently when rewritten.
    """

    rewrite: Literal["split", "bend", "both"] = "both"

    def __post_init__(self) -> None:
        checks.known_name("rewrite", self.rewrite, ("split", "bend", "both"))

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        words = {"split": "layers split", "bend": "ReLU rewritten", "both": "layers, ReLU"}
        return MetricSpec(
            f"Implementation invariance (relative L1 gap, {words[self.rewrite]})",
            "lower",
            0,
            math.inf,
            1,
            "Sundararajan, Taly, Yan 2017, section 2",
            unit="element",
            undefined=LOST,
            min_effect=0.01,
        )

    @property
    def observation_key(self) -> object:
        """The second network."""
        return self

    def observe(self, batch: Batch) -> nn.Module:
        """The second network, which is checked to compute the same on these samples."""
        model = batch.score.model
        if not isinstance(model, nn.Module):
            raise checks.InputError(
                "layers are rewritten one by one, so the model must be a torch module, not a "
                "function."
            )
        twin = rewritten(model, self.rewrite)
        want = batch.score.evaluate(batch.x, batch.target)
        got = rescored(batch.score, twin).evaluate(batch.x, batch.target)
        # A thousand roundings: sums of halves add one each, and every layer carries them on.
        allowed = 1e3 * torch.finfo(want.dtype).eps * (1 + want.abs())
        if bool(((got - want).abs() > allowed).any()):
            raise checks.InputError(
                "the rewritten network computes something else, so the model depends on more than "
                f"what its layers return (rewrite={self.rewrite}); try rewrite=bend."
            )
        return twin

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: nn.Module
    ) -> dict[str, Measurement]:
        """The gap of every attribution."""
        changed = replace(batch, score=rescored(batch.score, observation))
        result = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            gap = relative_l1(explained(name, attribution, changed), attribution.values)
            result[name] = Measurement(gap, reason=LOST)
        return result


class Halves(nn.Module):
    """A linear layer as the sum of two with half its weights.

    Args:
        layer: What is split; it is not changed.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.second = copy.deepcopy(layer), copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer returns."""
        out: Tensor = self.first(x) + self.second(x)
        return out


class Bend(nn.Module):
    """x between 0 and a bound, with a derivative of 0 at and beyond both, as in ReLU and ReLU6.

    Args:
        bound: The upper one; infinite for ReLU.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """Values (*), like x."""
        out = torch.where(x > 0, x, 0.0)
        return out if math.isinf(self.bound) else torch.where(x < self.bound, out, self.bound)


def rewritten(model: nn.Module, rewrite: str) -> nn.Module:
    """A copy that computes the same in another way; see `ImplementationInvariance`.

    Raises:
        InputError: There is nothing to rewrite.
    """
    twin = copy.deepcopy(model)
    made: dict[int, nn.Module] = {}  # a module that is used in two places stays one
    for parent in list(twin.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if id(child) not in made:
                found = _rewritten_layer(child, rewrite)
                if found is None:
                    continue
                made[id(child)] = found
            setattr(parent, name, made[id(child)])
    if not made:
        raise checks.InputError(
            f"the model has no layer that rewrite={rewrite} applies to (linear and convolutional "
            "layers for split, ReLU modules for bend)."
        )
    return twin.eval()


def _rewritten_layer(layer: nn.Module, rewrite: str) -> nn.Module | None:
    """The layer in other words; None for layers that stay.  Exact classes only."""
    if rewrite in ("split", "both") and type(layer) in LINEAR:
        return Halves(layer)
    if rewrite in ("bend", "both") and type(layer) in BENDS:
        return Bend(6.0 if isinstance(layer, nn.ReLU6) else math.inf)
    return None
