"""Implementation and input invariance: maps of two networks that compute the same function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from igbench.core import callers
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score, Wrapped
from igbench.errors import InputError, NotDefinedError, check_choice
from igbench.metrics.base import BaseMetric
from igbench.metrics.reexplain import (
    LOST,
    explained,
    method_of_batch,
    relative_l1,
    rescored,
)

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BENDS = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True)
class ImplementationInvariance(BaseMetric):
    """Implementation invariance: |phi(f_2) - phi(f)|_1 / |phi(f)|_1 with f_2 computing the same.

    f_2 is a copy of the network f in which

    - "split": every linear and convolutional layer is the sum of two layers with half the weights
      and half the bias each;
    - "bend": every ReLU and ReLU6 module is a choice between x and its bounds, with the same values
      and derivatives and no such module;
    - "both": both.

    Halves are exact in binary, so outputs agree to rounding, which is checked.  A map that depends
    on the function alone has 0 to within rounding; rules that go by kinds of layers need not.
    Layers keep their names.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite.  Cost: 2 model rows
    for each sample, shared by all methods, and one explanation for each method.

    Source: Sundararajan, Taly and Yan 2017, section 2.

    Args:
        rewrite: "split", "bend" or "both".

    Raises:
        InputError: Unknown rewrite, a model that is not a torch module, nothing to rewrite, a
            network that computes something else when rewritten, or no method to explain with.

    Example:
        A rule that multiplies the input with the weights of the first layer finds halves of them.

        >>> import torch
        >>> from igbench.metrics import implementation_invariance
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 1)).eval()
        >>> rule = lambda batch: batch.x * next(batch.score.model.parameters())
        >>> x, phi = torch.ones(1, 2), net[0].weight.detach()
        >>> implementation_invariance(net, x, phi, method=rule).tolist()
        [0.5]
    """

    name = "implementation_invariance"
    family = "axiomatic"
    needs_method = True
    explains = "Do two networks that compute the same function get the same map?"
    direction = "lower"
    reference = "Sundararajan, Taly, Yan 2017, section 2"
    range = (0, math.inf)
    unit = "element"
    undefined = LOST

    rewrite: Literal["split", "bend", "both"] = "both"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = {"split": "layers split", "bend": "ReLU rewritten", "both": "layers, ReLU"}
        return f"Implementation invariance (relative L1 gap, {how[self.rewrite]})"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rewrite", self.rewrite, ("split", "bend", "both"))

    @property
    def sharing_key(self) -> object:
        """Metrics with the same rewrite share the second network."""
        return self

    def observe(self, batch: Batch) -> nn.Module:
        """The second network, checked to compute the same on these samples.

        Raises:
            InputError: A model that is not a torch module, nothing to rewrite, or other outputs.
        """
        model = batch.score.model
        if not isinstance(model, nn.Module):
            raise NotDefinedError(
                "layers are rewritten one by one, so the model must be a torch module, not a "
                "function."
            )
        twin = rewritten(model, self.rewrite)
        want = batch.score.evaluate(batch.x, batch.target)
        got = rescored(batch.score, twin).evaluate(batch.x, batch.target)
        # A thousand roundings: sums of halves add one each, and every layer carries them on.
        allowed = 1e3 * torch.finfo(want.dtype).eps * (1 + want.abs())
        if bool(((got - want).abs() > allowed).any()):
            raise InputError(
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
    """Linear or convolutional layer as the sum of two with half its weights.

    Args:
        layer: The layer to split; it is not changed.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.second = callers.duplicate(layer), callers.duplicate(layer)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Output of the layer."""
        out: Tensor = self.first(x) + self.second(x)
        return out


class Bend(nn.Module):
    """ReLU or ReLU6 as a choice: x between 0 and a bound, with derivative 0 at and beyond both.

    Args:
        bound: The upper bound; infinite for ReLU.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """Values between the bounds, same shape as x."""
        out = torch.where(x > 0, x, 0.0)
        return out if math.isinf(self.bound) else torch.where(x < self.bound, out, self.bound)


def rewritten(model: nn.Module, rewrite: str) -> nn.Module:
    """Copy of a model that computes the same in another way; see `ImplementationInvariance`.

    Args:
        model: The model; it is not changed.
        rewrite: "split", "bend" or "both".

    Raises:
        InputError: There is nothing to rewrite.
    """
    twin = callers.duplicate(model)
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
        raise NotDefinedError(
            f"the model has no layer that rewrite={rewrite} applies to (linear and convolutional "
            "layers for split, ReLU modules for bend)."
        )
    return twin.eval()


def _rewritten_layer(layer: nn.Module, rewrite: str) -> nn.Module | None:
    """A layer that computes the same in another way; None where the exact class has none."""
    if rewrite in ("split", "both") and type(layer) in LINEAR:
        return Halves(layer)
    if rewrite in ("bend", "both") and type(layer) in BENDS:
        return Bend(6.0 if isinstance(layer, nn.ReLU6) else math.inf)
    return None


@dataclass(frozen=True)
class InputInvariance(BaseMetric):
    """Input invariance: |phi(f_2, x + m) - phi(f, x)|_1 / |phi(f, x)|_1 for a shift m.

    The same constant m is added to every element of the input, and f_2(z) = f(z - m) subtracts it
    first, so both compute the same from the same image.  A baseline is an input too: moved along
    (`shift_baseline`), Integrated Gradients are invariant; left where it was, it means something
    else to f_2, and they are not.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite.  Cost: one
    explanation for each method.

    Source: Kindermans et al. 2019, The (un)reliability of saliency methods, section 2.

    Args:
        shift: m, in units of the model's input.
        shift_baseline: Move the baseline along with the input.

    Raises:
        InputError: The shift is zero, or no method to explain with.

    Example:
        IG of a linear f is w (x - x'): at x = 1 a shift of x alone by 1 doubles it.

        >>> import torch
        >>> from igbench.methods import IntegratedGradients
        >>> from igbench.metrics import input_invariance
        >>> x, w = torch.ones(1, 2, dtype=torch.float64), torch.tensor([1.0, 2.0]).double()
        >>> ig = IntegratedGradients()
        >>> input_invariance(lambda x: x @ w, x, w[None], method=ig).round(decimals=6).tolist()
        [1.0]
    """

    name = "input_invariance"
    family = "axiomatic"
    needs_method = True
    explains = "Does the map stay when the input is shifted and the model undoes the shift?"
    direction = "lower"
    reference = "Kindermans et al. 2019, section 2"
    range = (0, math.inf)
    unit = "element"
    undefined = LOST

    shift: float = 1.0
    shift_baseline: bool = False

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        along = "moved along" if self.shift_baseline else "left"
        return f"Input invariance (relative L1 gap, shift {self.shift:g}, baseline {along})"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shift == 0 or not math.isfinite(self.shift):
            raise InputError(f"shift is {self.shift}; it must be another number than zero.")

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The gap of every attribution."""
        shift: float | Tensor = self.shift
        if batch.still is not None:  # marks are no quantity that one can shift
            shift = torch.full_like(batch.x[0], self.shift).masked_fill(batch.still, 0)
        changed = replace(
            batch,
            score=Moved(batch.score, shift),
            x=batch.x + shift,
            baseline=batch.baseline + (shift if self.shift_baseline else 0.0),
        )
        result = {}
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
            gap = relative_l1(explained(name, attribution, changed), attribution.values)
            result[name] = Measurement(gap, reason=LOST)
        return result


class Moved(Wrapped):
    """Scalar f(z - m).

    Args:
        score: f.
        shift: m, a number or (*F).
    """

    def __init__(self, score: Score, shift: float | Tensor) -> None:
        super().__init__(score)
        self.shift = shift

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Scalar of every row, (N,)."""
        return super().forward(x - self.shift, target)
