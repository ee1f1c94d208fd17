"""Layer-wise relevance propagation as a modified gradient.

The relevance of an activation a is a times its modified gradient g, so sums, residuals, averages,
pools and reshapes need no rule: their gradient is right.  Linear layers and activations get
another backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import NotDefinedError
from igbench.integration.integrate import take
from igbench.propagation.graph import nodes, without_rule
from igbench.propagation.mode import (
    COMPARISONS,
    ELEMENTWISE,
    Call,
    Rules,
    check_scalar,
    is_activation,
    note_of,
    propagate,
    secant,
    with_rule,
)

CONVOLUTIONS = frozenset(f"{kind}{d}d" for kind in ("conv", "conv_transpose") for d in (1, 2, 3))

Linear = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""A linear operation of an activation, a weight and a bias."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer in the order of calls.

    Attributes:
        index: 0 for the first that is called.
        apply: Maps an activation, a weight and a bias to the output.
        convolution: Whether it is one, or else dense.
        first: Whether no other linear layer comes before it.
        support: (1, ...) 0 where the input is padding, 1 elsewhere; None for 1 everywhere.
        groups: Of a transposed convolution, whose weight has the outputs on its second axis; 0 for
            other layers, with the outputs on the first.
    """

    index: int
    apply: Linear
    convolution: bool
    first: bool
    support: Tensor | None = None
    groups: int = 0

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """The weight with every output times a number."""
        if not self.groups:
            return weight * scale.view(-1, *(1,) * (weight.dim() - 1))
        split = weight.unflatten(0, (self.groups, -1))
        by_group = scale.view(self.groups, 1, -1, *(1,) * (weight.dim() - 2))
        return (split * by_group).flatten(0, 1)

    def back(self, weight: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """Outputs times the transposed weight, (N, inputs)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.apply(x, weight, None), x, output)[0]


class LayerRule(Protocol):
    """A rule for linear layers: maps what a layer is and has to a modified gradient."""

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """The modified gradient by x, (N, *inputs), of that by the outputs."""


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j a_i w_ij / (z_j + e sign z_j) R_j; LRP-0 for e = 0.

    Args:
        epsilon: e, a share of the standard deviation of z over the layer.
        absolute: Whether e is in units of z.

    Source: Bach et al. 2015, eq. 58.
    """

    epsilon: float = 0.25
    absolute: bool = False

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """The modified gradient by x."""
        if self.epsilon:
            size = layer.apply(x, weight, bias)
            axes = tuple(range(1, size.dim()))
            unit = 1.0 if self.absolute else size.std(dim=axes, correction=0, keepdim=True)
            g = g * _ratio(size.abs(), size.abs() + self.epsilon * unit)
        return layer.back(weight, g, x)


@dataclass(frozen=True)
class Gamma:
    """Contributions c_ij = a_i w_ij of the sign of z_j count 1 + gamma times.

    R_i = sum_j (c_ij + gamma c_ij [c_ij z_j > 0]) / (the sum of these over i and the bias) R_j.

    Args:
        gamma: How much.

    Source: Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview", section 10.2.3.
    """

    gamma: float = 0.25

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """The modified gradient by x."""
        up, down = _sums_by_sign(layer, x, weight, bias)
        z = up + down
        r = g * _ratio(z, z + self.gamma * torch.where(z > 0, up, down))
        risen, fallen = torch.where(z > 0, r, 0), torch.where(z > 0, 0, r)
        more = _back_by_sign(layer, x, weight, risen, fallen)
        return layer.back(weight, r, x) + self.gamma * more


@dataclass(frozen=True)
class AlphaBeta:
    """Positive contributions share alpha R_j, and negative ones -beta R_j.

    Args:
        alpha: Share of the positive ones; 1 with beta = 0 is the z+ rule.
        beta: alpha - 1.

    Source: Bach et al. 2015, eq. 60; z+: Montavon et al. 2017.
    """

    alpha: float = 1.0
    beta: float = 0.0

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """The modified gradient by x."""
        up, down = _sums_by_sign(layer, x, weight, bias)
        relevance = (up + down) * g
        up = self.alpha * _ratio(relevance, up)
        down = -self.beta * _ratio(relevance, down)
        return _back_by_sign(layer, x, weight, up, down)


@dataclass(frozen=True)
class Flat:
    """Every input that an output sees gets the same share of its relevance."""

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """Relevance by x, as a modified gradient."""
        ones, seen = torch.ones_like(weight), _support(layer, x)
        share = _ratio(layer.apply(x, weight, bias) * g, layer.apply(seen, ones, None))
        return _as_gradient(seen * layer.back(ones, share, x), x)


@dataclass(frozen=True)
class Box:
    """The rule for inputs in a box, as pixels are: z^B.

    R_i = sum_j (a_i w_ij - l_i w_ij+ - h_i w_ij-) / (the sum of these over i) R_j.

    Args:
        low: l, by channel.
        high: h, by channel.

    Source: Montavon et al. 2017, "Explaining nonlinear classification decisions with deep Taylor
    decomposition", eq. 15.
    """

    low: tuple[float, ...] | None
    high: tuple[float, ...] | None

    def __call__(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, g: Tensor
    ) -> Tensor:
        """Relevance by x, as a modified gradient."""
        seen = _support(layer, x)
        low, high = (v * seen for v in self.ends(x))
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        outside = layer.apply(low, up, None) + layer.apply(high, down, None)
        share = _ratio(layer.apply(x, weight, bias) * g, layer.apply(x, weight, None) - outside)
        found = x * layer.back(weight, share, x) - low * layer.back(up, share, x)
        return _as_gradient(found - high * layer.back(down, share, x), x)

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends of the box, in the shape of the inputs of a layer (N, C, *P).

        Raises:
            NotDefinedError: Not known, not one for each channel, or inputs that lie outside.
        """
        if self.low is None or self.high is None:
            raise NotDefinedError(
                "this preset of LRP needs the range of the input, and the data do not define black "
                "and white; give LRP(low=..., high=...) from Python, or another preset."
            )
        if {len(self.low), len(self.high)} - {1, x.shape[1]}:
            raise NotDefinedError(
                f"LRP's range of the input has {len(self.low)} and {len(self.high)} numbers, and "
                f"the first layer {x.shape[1]} channels; give one number, or one for each channel."
            )
        low, high = (_by_channel(v, x) for v in (self.low, self.high))
        slack = 1e-4 * (high - low)
        if bool(((x < low - slack) | (x > high + slack)).any()):
            raise NotDefinedError(
                "this preset of LRP needs inputs of the first layer between black and white, and "
                f"they reach from {float(x.min()):.4g} to {float(x.max()):.4g}; give "
                "LRP(low=..., high=...) as that layer sees them, or another preset."
            )
        return low, high


def _by_channel(values: tuple[float, ...], x: Tensor) -> Tensor:
    """One number for each channel of (N, C, *P), or one for all."""
    return x.new_tensor(values).view(1, -1, *(1,) * (x.dim() - 2))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b, and 0 where b is 0: there is nothing to share then."""
    return torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))


def _support(layer: Layer, x: Tensor) -> Tensor:
    return torch.ones_like(x) if layer.support is None else layer.support.to(x).expand_as(x)


def tiny(dtype: torch.dtype) -> float:
    """What stands for 0 where relevance is divided by an input, to be multiplied by it later."""
    return float(torch.finfo(dtype).tiny ** 0.5)


def away_from_zero(x: Tensor) -> Tensor:
    """The same values, but none nearer to 0 than `tiny`.

    >>> away_from_zero(torch.tensor([-2.0, 0.0]))[0]
    tensor(-2.)
    """
    return torch.where(x.abs() < tiny(x.dtype), tiny(x.dtype), x)


def _as_gradient(relevance: Tensor, x: Tensor) -> Tensor:
    return relevance / away_from_zero(x)


def _signs(x: Tensor) -> list[tuple[Tensor, bool]]:
    """Parts of an activation by sign, those that are not empty."""
    parts = [(x.clamp(min=0), True), (x.clamp(max=0), False)]
    return [(part, positive) for part, positive in parts if positive or bool(part.any())]


def _sums_by_sign(
    layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums of the positive, and of the negative contributions to every output."""
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    of_bias = (None, None) if bias is None else (bias.clamp(min=0), bias.clamp(max=0))
    positive, *rest = _signs(x)
    sums = [layer.apply(positive[0], w, b) for w, b in zip((up, down), of_bias, strict=True)]
    for part, _ in rest:
        sums = [s + layer.apply(part, w, None) for s, w in zip(sums, (down, up), strict=True)]
    return sums[0], sums[1]


def _back_by_sign(layer: Layer, x: Tensor, weight: Tensor, risen: Tensor, fallen: Tensor) -> Tensor:
    """Modified gradients of positive contributions of outputs, and of negative ones of others.

    Args:
        layer: The layer.
        x: Its inputs.
        weight: Its weight.
        risen: What positive contributions are multiplied by, for each output.
        fallen: What negative contributions are multiplied by.
    """
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    some = bool(fallen.any())

    def back(to_risen: Tensor, to_fallen: Tensor) -> Tensor:
        found = layer.back(to_risen, risen, x)
        return found + layer.back(to_fallen, fallen, x) if some else found

    found = back(up, down)
    return torch.where(x < 0, back(down, up), found) if bool((x < 0).any()) else found


@dataclass(frozen=True)
class Composite:
    """Which rule each layer has.

    Attributes:
        first: Of convolutions before which there is no other linear layer; None for `lower`.
        lower: Of convolutions in the lower half of the network.
        upper: Of the other convolutions.
        dense: Of dense layers; where there are no convolutions, of the last one, and the others
            take the place of convolutions.
        by_depth: Whether dense layers take that place.
    """

    first: LayerRule | None
    lower: LayerRule
    upper: LayerRule
    dense: LayerRule
    by_depth: bool = False

    def rule_of(self, layer: Layer, layers: list[Layer]) -> LayerRule:
        """The rule of a layer among all of a network."""
        if layer.first and layer.convolution and self.first is not None:
            return self.first
        body = [n.index for n in layers if n.convolution]
        if not body and self.by_depth:
            body = [n.index for n in layers[:-1]]
        if layer.index not in body:
            return self.dense
        return self.lower if body.index(layer.index) < len(body) / 2 else self.upper


class Relevance(Rules):
    """Modified gradients of LRP.

    - Linear layers take the rules of the composite.  A batch norm right after one is folded into
      it; elsewhere it is a product with constants.
    - Sums, averages and products with constants are LRP-0; largest elements take all.
    - Activations pass on (y - y(0)) / x: all relevance where y(0) = 0.
    - Factors of a product of two activations get half of its relevance each.
    """

    title = "LRP"
    refused = Rules.refused | COMPARISONS | {"bilinear", "glu"}

    def __init__(self, composite: Composite) -> None:
        super().__init__()
        self.composite = composite
        self.layers: list[Layer] = []
        self.handlers = {
            **dict.fromkeys(ELEMENTWISE, _activation),
            **dict.fromkeys(CONVOLUTIONS, self._convolution),
            **dict.fromkeys(("mul", "multiply"), _product),
            "batch_norm": self._batch_norm,
            "linear": self._dense,
            "matmul": self._matrix,
            "mm": self._matrix,
            "pad": _pad,
        }

    @property
    def divides(self) -> bool:
        """Whether a rule of the first layer gives relevance that is divided by the input."""
        special = isinstance(self.composite.first, Flat | Box)
        return special and any(n.first and n.convolution for n in self.layers)

    def check(self, output: Tensor, x: Tensor) -> None:
        """Raise for an operation that the mode did not see, or has no rule for."""
        name = without_rule(output, x, linear_layers=False)
        if name:
            raise self.undefined(name)

    def _dense(self, call: Call) -> Tensor:
        weight, bias = _parameters(call)
        return self._layer(call.x, weight, bias, torch.nn.functional.linear, convolution=False)

    def _matrix(self, call: Call) -> Tensor | None:
        x, weight = call.args[:2]
        if not is_activation(x) or is_activation(weight) or weight.dim() != 2:
            return None
        linear = torch.nn.functional.linear
        return self._layer(x, weight.detach().t(), None, linear, convolution=False)

    def _convolution(self, call: Call) -> Tensor:
        weight, bias = _parameters(call)
        rest, options = call.args[3:], {k: v for k, v in call.kwargs.items() if k not in _OWN}
        groups = 0
        if "transpose" in call.name:
            groups = options.get("groups", rest[3] if len(rest) > 3 else 1)

        def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            found: Tensor = call.func(x, weight, bias, *rest, **options)
            return found

        return self._layer(call.x, weight, bias, apply, convolution=True, groups=groups)

    def _layer(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        apply: Linear,
        *,
        convolution: bool,
        groups: int = 0,
    ) -> Tensor:
        first = not any(isinstance(getattr(n, "note", None), Layer) for n in nodes(x))
        padded = note_of(x)
        support = padded if isinstance(padded, Tensor) else None
        layer = Layer(len(self.layers), apply, convolution, first, support, groups)
        self.layers.append(layer)
        return self._call(layer, x, weight, bias)

    def _call(self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.no_grad():
            value = layer.apply(x.detach(), weight, bias)

        def rule(g: Tensor, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
            chosen = self.composite.rule_of(layer, self.layers)
            return chosen(layer, x, weight, bias[0] if bias else None, g)

        saved = (x, weight) if bias is None else (x, weight, bias)
        return with_rule(value, (x,), rule, *saved, note=layer)

    def _batch_norm(self, call: Call) -> Tensor | None:
        names = ("mean", "var", "weight", "bias", "training", "momentum", "eps")
        given = dict(zip(names, call.args[1:], strict=False))
        given |= {k.removeprefix("running_"): v for k, v in call.kwargs.items()}
        if given.get("training") or given.get("mean") is None:
            raise self.undefined("a batch norm with the statistics of the batch")
        layer = note_of(call.x)
        if not isinstance(layer, Layer) or (not layer.convolution and call.x.dim() != 2):
            return None
        x, weight, *bias = call.x.grad_fn.saved_tensors  # type: ignore[union-attr]
        with torch.no_grad():
            scale = (given["var"] + given.get("eps", 1e-5)).rsqrt()
            if given.get("weight") is not None:
                scale = scale * given["weight"]
            shift = -given["mean"] * scale + (bias[0] * scale if bias else 0)
            if given.get("bias") is not None:
                shift = shift + given["bias"]
            folded = layer.scaled(weight, scale)
        return self._call(layer, x, folded, shift)


_OWN = ("input", "weight", "bias")


def _parameters(call: Call) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear layer, by position or by name, without a graph."""
    given = dict(zip(_OWN[1:], call.args[1:3], strict=False)) | call.kwargs
    bias = given.get("bias")
    return given["weight"].detach(), None if bias is None else bias.detach()


def _activation(call: Call) -> Tensor | None:
    """Relevance passes through, but for that of the value at 0, which is a bias."""
    if not call.of_one():
        return None
    with torch.no_grad():
        x = call.x.detach()
        value, slope = call.evaluate(x), secant(call.evaluate, x, torch.zeros_like(x))
    return with_rule(value, (call.x,), lambda g, slope: g * slope, slope)


def _product(call: Call) -> Tensor | None:
    a, b = call.args[:2]
    if not (is_activation(a) and is_activation(b)):
        return None
    shapes = a.shape, b.shape

    def rule(g: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return (g * b / 2).sum_to_size(shapes[0]), (g * a / 2).sum_to_size(shapes[1])

    with torch.no_grad():
        value, own = a * b, (a.detach().clone(), b.detach().clone())
    return with_rule(value, (a, b), rule, *own)


def _pad(call: Call) -> Any:
    """Padding by zeros, with a note on where it is."""
    how = dict(zip(("pad", "mode", "value"), call.args[1:], strict=False)) | call.kwargs
    if how.get("mode", "constant") != "constant" or how.get("value"):
        return None
    sides = list(how["pad"])
    with torch.no_grad():
        value = call.func(call.x.detach(), sides)
        support = call.func(torch.ones_like(call.x[:1]), sides)
    back = [-n for n in sides]
    return with_rule(value, (call.x,), lambda g: call.func(g, back), note=support)


def relevance(
    score: Score, x: Tensor, target: Tensor | None = None, *, composite: Composite
) -> Tensor:
    """Relevance of every input element, (N, *F).

    Args:
        score: f, a logit.
        x: (N, *F).
        target: (N,) or None.
        composite: The rules.

    Raises:
        NotDefinedError: An operation without a rule.

    >>> rules = Composite(None, AlphaBeta(), AlphaBeta(), AlphaBeta())
    >>> layer = torch.nn.Linear(2, 1, bias=False).requires_grad_(False).eval()
    >>> _ = layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
    >>> relevance(Score(layer), torch.tensor([[1.0, 1.0]]), composite=rules).tolist()
    [[1.0, 0.0]]
    """
    check_scalar(Relevance.title, score)

    def run(part: slice) -> Tensor:
        rules = Relevance(composite)
        _, gradient = propagate(score, x[part], take(target, part), rules)
        return gradient * (away_from_zero(x[part]) if rules.divides else x[part])

    return torch.cat(list(score.in_chunks(len(x), run)))
