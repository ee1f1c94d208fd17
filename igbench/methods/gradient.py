"""The gradient of the output: its size (saliency), and its product with the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.features import on, resolve, spread, total
from igbench.integration.integrate import gradients, take
from igbench.methods.base import BaseMethod
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class Saliency(BaseMethod):
    """The absolute gradient, |df/dx|.

    Entries are magnitudes of sensitivities, and sum to nothing in particular.  Cost: one gradient
    for each sample.

    Args:
        norm: What the entries of a feature sum to: the "l1" norm of its gradient, with entries
            |g_i|, or the "l2" norm, with entries g_i^2 / ||g||.  For words, the length of the
            gradient by their embeddings.

    Source: Simonyan, Vedaldi and Zisserman 2013, "Deep inside convolutional networks", section 3.

    >>> from igbench.methods import explain
    >>> explain(Saliency(), lambda x: 2 * x[:, 0] - x[:, 1], [[1.0, 3.0]]).tolist()
    [[2.0, 1.0]]
    """

    foldable = True

    norm: Literal["l1", "l2"] = "l1"

    label = "Saliency (absolute gradient)"
    reference = "Simonyan, Vedaldi, Zisserman 2013, section 3"
    kind = "local"
    signed = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        found = gradients_of(batch)
        if self.norm == "l1":
            return found.abs()
        return torch.stack([_share_of_length(found[i], batch, i) for i in range(len(batch))])

    @property
    def spec(self) -> MethodSpec:
        """The definition, whose title names the norm where it is not that of single entries."""
        found = super().spec
        return found if self.norm == "l1" else replace(found, title="Saliency (length of gradient)")


def _share_of_length(gradient: Tensor, batch: Batch, i: int) -> Tensor:
    """g_j^2 / ||g|| of one sample, (*F): the norm is over the feature of j."""
    unit = batch.features
    if isinstance(unit, Tensor):
        numbers = unit[i] if unit.dim() == batch.x.dim() else unit
        unit = numbers.where(numbers >= 0, numbers.max() + 1)  # one more for all that has none
    own = resolve(unit, tuple(gradient.shape))
    square = gradient.double().square()
    length = total(square[None], own).sqrt()
    shares = square / spread(length, on(own, square.device))[0].clamp(min=1e-300)
    return shares.to(gradient)


@dataclass(frozen=True)
class InputXGradient(BaseMethod):
    """The input times the gradient, x df/dx, elementwise.

    Contributions to first order from a baseline of zero: they sum to f(x) - f(0) for functions that
    are linear between 0 and x, and to nothing in particular for others.  The batch's baseline takes
    no part.  Cost: one gradient for each sample.

    Source: Shrikumar et al. 2016, "Not just a black box".

    >>> from igbench.methods import explain
    >>> explain(InputXGradient(), lambda x: (x**2).sum(dim=1), [[1.0, 3.0]]).tolist()
    [[2.0, 18.0]]
    """

    foldable = True
    label = "Input x gradient"
    reference = "Shrikumar et al. 2016"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return batch.x * gradients_of(batch)


def gradients_of(batch: Batch) -> Tensor:
    """The gradient of every sample by its own input, (N, *F), in chunks of the score's rows."""

    def rows(part: slice) -> tuple[Tensor, Tensor | None]:
        return batch.x[part], take(batch.target, part)

    found = [gradient for _, _, gradient in gradients(batch.score, len(batch), rows)]
    return torch.cat(found) if found else torch.zeros_like(batch.x)
