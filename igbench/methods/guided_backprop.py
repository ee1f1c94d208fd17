"""Guided backprop and deconvolution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.methods.base import BaseMethod
from igbench.propagation.guided import guided_gradient


@dataclass(frozen=True)
class GuidedBackprop(BaseMethod):
    """The gradient with negative parts cut off at every ReLU, through the ReLUs that are on.

    A picture of what excites the network rather than of what it decides by: it hardly changes when
    the weights are drawn anew (Adebayo et al. 2018, Sixt et al. 2020).  Entries are sensitivities
    with a sign, and sum to nothing in particular.  Cost: one gradient for each sample.

    Explains logits of networks whose activations are ReLUs, bounded ones (ReLU6) among them;
    undefined for others (GELU, SiLU, leaky ReLU).

    Source: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net" (ICLR
    workshop), section 3.4.

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: torch.relu(x[:, 0] - x[:, 1]) - torch.relu(x[:, 1])
    >>> explain(GuidedBackprop(), f, torch.tensor([[2.0, 1.0]])).tolist()
    [[1.0, -1.0]]
    """

    foldable = True
    label = "Guided backprop"
    reference = "Springenberg et al. 2015, section 3.4"
    kind = "local"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` for networks with other activations."""
        return guided_gradient(batch.score, batch.x, batch.target, gated=True, title=self.label)


@dataclass(frozen=True)
class Deconvolution(BaseMethod):
    """The gradient with negative parts cut off at every ReLU, whether it is on or off.

    Entries are sensitivities with a sign, and sum to nothing in particular.  Max-pools pass the
    gradient to the element that they chose.  Cost: one gradient for each sample.  Explains what
    `GuidedBackprop` explains.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (ECCV),
    section 2.1.

    >>> import torch
    >>> from igbench.methods import explain
    >>> f = lambda x: torch.relu(x[:, 0] - x[:, 1])  # off at (1, 2)
    >>> explain(Deconvolution(), f, torch.tensor([[1.0, 2.0]])).tolist()
    [[1.0, -1.0]]
    """

    foldable = True
    label = "Deconvolution"
    reference = "Zeiler, Fergus 2014, section 2.1"
    kind = "local"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` for networks with other activations."""
        return guided_gradient(batch.score, batch.x, batch.target, gated=False, title=self.label)
