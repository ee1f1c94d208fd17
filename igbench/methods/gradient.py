"""The gradient of the output: its size (saliency), and its product with the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.integrate import gradients, take
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class Saliency(BaseMethod):
    """The absolute gradient, |df/dx|.

    Entries are magnitudes of sensitivities, and sum to nothing in particular.  Cost: one gradient
    for each sample.

    Source: Simonyan, Vedaldi and Zisserman 2013, "Deep inside convolutional networks", section 3.

    >>> from igbench.methods import explain
    >>> explain(Saliency(), lambda x: 2 * x[:, 0] - x[:, 1], [[1.0, 3.0]]).tolist()
    [[2.0, 1.0]]
    """

    label = "Saliency (absolute gradient)"
    reference = "Simonyan, Vedaldi, Zisserman 2013, section 3"
    kind = "local"
    signed = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return gradients_of(batch).abs()


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
