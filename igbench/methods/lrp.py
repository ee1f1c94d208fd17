"""Layer-wise relevance propagation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.errors import InputError, check_choice
from igbench.methods.base import BaseMethod
from igbench.propagation.relevance import (
    AlphaBeta,
    Box,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    relevance,
)

PRESETS = (
    "epsilon_plus_flat",
    "epsilon_plus",
    "epsilon_gamma_box",
    "epsilon_gamma",
    "alpha2_beta1_flat",
    "alpha2_beta1",
    "montavon",
    "epsilon",
)
ROUNDING = 1e-6
"""Share of the deviation of z that keeps dense layers from dividing by rounding."""
QUARTER = 0.25
"""Share of the deviation of z, and weight of gamma, of Montavon et al. 2019 for VGG-16."""


@dataclass(frozen=True)
class LRP(BaseMethod):
    """Layer-wise relevance propagation with a rule for each kind of layer.

    R_i = sum over j of a_i rho(w_ij) / (e + sum over i of a_i rho(w_ij)) R_j, from the logit back
    to the input.  Batch norms are folded into the layer before them, on the fly.  Biases keep what
    they contribute, so entries do *not* sum to f(x) in general, and the batch's baseline takes no
    part.  Cost: one row forward, and up to five passes through the weights backward, for each
    sample.

    `preset` names the rules of (first convolution; other convolutions; dense layers):

    - epsilon_plus_flat: flat; z+; epsilon.  The default, as z+ stays bounded in deep networks with
      residual sums, where gamma and epsilon in convolutions do not, and as flat needs no range.
    - epsilon_plus: z+; z+; epsilon.
    - epsilon_gamma_box: z^B; gamma; epsilon.  For networks without residual sums, as VGG.
    - epsilon_gamma: gamma; gamma; epsilon.
    - alpha2_beta1_flat, alpha2_beta1: flat, or as the others; alpha 2, beta 1; epsilon.
    - montavon: z^B; gamma in the lower half, epsilon in the upper half; LRP-0.  In networks of
      dense layers alone, these halves are the layers below the last.
    - epsilon: everywhere.  A dense layer that comes first takes epsilon, with any preset but
      montavon: its flat map would say nothing of a table.

    LRP-0 itself is input times gradient for networks of ReLUs, and is no preset.  Explains logits;
    undefined for networks with layer norms or attention.

    Args:
        preset: One of the above.
        epsilon: Share of the standard deviation of a layer's outputs that stabilises the epsilon
            rule; None for 1e-6, and 0.25 for the presets `montavon` and `epsilon`.
        gamma: Weight of contributions of the sign of the output; None for 0.25.
        low: Smallest value of the input, one for all channels or one for each, where z^B needs it;
            None for the black of the data.
        high: Largest value likewise; None for the white of the data.
        data: Defines black and white.  An experiment gives its own.

    Source: Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation" (PLOS ONE); Montavon et al. 2019, "Layer-Wise Relevance
    Propagation: An Overview".

    >>> import torch
    >>> from igbench.methods import explain
    >>> layer = torch.nn.Linear(2, 1, bias=False).eval().requires_grad_(False)
    >>> _ = layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
    >>> explain(LRP(), layer, torch.tensor([[1.0, 1.0]])).tolist()
    [[2.0, -1.0]]
    """

    preset: str = PRESETS[0]
    epsilon: float | None = None
    gamma: float | None = None
    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None
    data: Data | None = None

    label = "LRP ({preset})"
    reference = "Bach et al. 2015; Montavon et al. 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("preset", self.preset, PRESETS)
        for name in ("epsilon", "gamma"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"{name}={value} must be a number of at least 0.")
        if self.gamma is not None and not ("gamma" in self.preset or self.preset == "montavon"):
            raise InputError(f"preset={self.preset} has no gamma; leave it out.")

    @property
    def composite(self) -> Composite:
        """The rule of each kind of layer."""
        small = Epsilon(ROUNDING if self.epsilon is None else self.epsilon)
        large = Epsilon(QUARTER if self.epsilon is None else self.epsilon)
        gamma = Gamma(QUARTER if self.gamma is None else self.gamma)
        box = Box(self._range("low", "black"), self._range("high", "white"))
        plus, signed = AlphaBeta(1.0, 0.0), AlphaBeta(2.0, 1.0)
        return {
            "epsilon_plus_flat": Composite(Flat(), plus, plus, small),
            "epsilon_plus": Composite(None, plus, plus, small),
            "epsilon_gamma_box": Composite(box, gamma, gamma, small),
            "epsilon_gamma": Composite(None, gamma, gamma, small),
            "alpha2_beta1_flat": Composite(Flat(), signed, signed, small),
            "alpha2_beta1": Composite(None, signed, signed, small),
            "montavon": Composite(box, gamma, large, Epsilon(0.0), by_depth=True),
            "epsilon": Composite(None, large, large, large),
        }[self.preset]

    def _range(self, name: str, of_data: str) -> tuple[float, ...] | None:
        given = getattr(self, name)
        if given is None:
            return (getattr(self.data, of_data) if self.data else None) or None
        return tuple(given) if isinstance(given, tuple | list) else (float(given),)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where an operation has no rule."""
        return relevance(batch.score, batch.x, batch.target, composite=self.composite)
