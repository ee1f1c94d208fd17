"""Give operations of a model another backward while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from igbench.core.score import Score, frozen
from igbench.errors import InputError, NotDefinedError
from igbench.integration.integrate import NO_GRADIENT

Evaluate = Callable[[Tensor], Tensor]
"""A function of one activation, with all of its other arguments bound."""

Rule = Callable[..., "Tensor | tuple[Tensor, ...]"]
"""Maps the gradient by an output, and the tensors that were saved, to those by the inputs."""

NORMALISATIONS = frozenset(
    {
        "group_norm",
        "instance_norm",
        "layer_norm",
        "local_response_norm",
        "log_softmax",
        "multi_head_attention_forward",
        "normalize",
        "rms_norm",
        "scaled_dot_product_attention",
        "softmax",
        "softmin",
    }
)
"""Operations that mix the elements of a sample in a way that is not linear."""

RECURRENT = frozenset({"gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_tanh"})
"""Recurrent layers, which run below the level of functions."""

COMPARISONS = frozenset(
    {
        "argmax",
        "argmin",
        "argsort",
        "ceil",
        "eq",
        "floor",
        "ge",
        "gt",
        "heaviside",
        "le",
        "lt",
        "ne",
        "round",
        "sign",
        "sort",
        "topk",
        "trunc",
    }
)
"""Operations that choose by the value of activations, which leaves no gradient."""

ELEMENTWISE = frozenset(
    {
        "abs",
        "atan",
        "celu",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clip",
        "cos",
        "elu",
        "erf",
        "exp",
        "expm1",
        "gelu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "log",
        "log1p",
        "logsigmoid",
        "mish",
        "pow",
        "prelu",
        "reciprocal",
        "relu",
        "relu6",
        "rrelu",
        "rsqrt",
        "selu",
        "sigmoid",
        "silu",
        "sin",
        "softplus",
        "softshrink",
        "softsign",
        "sqrt",
        "square",
        "tanh",
        "tanhshrink",
        "threshold",
    }
)
"""Functions of one element at a time, by the names of torch's functions and methods."""

POOLS = frozenset(f"{kind}max_pool{d}d" for kind in ("", "adaptive_") for d in (1, 2, 3))
"""Pools that choose the largest element of a window."""


class Replaced(torch.autograd.Function):
    """An operation with a rule as its backward."""

    @staticmethod
    def forward(
        ctx: Any, values: list[Tensor], rule: Rule, note: object, inputs: int, *tensors: Tensor
    ) -> Tensor:
        """Return the only value, and keep the tensors that the rule needs, after the inputs.

        The value comes in a list, as a tensor among the arguments that is returned would be a view,
        which the model could not change in place.
        """
        ctx.save_for_backward(*tensors[inputs:])
        ctx.rule, ctx.note, ctx.inputs = rule, note, inputs
        ctx.set_materialize_grads(False)
        return values.pop()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Apply the rule."""
        (gradient,) = gradients
        found: Any = None
        if gradient is not None:
            found = ctx.rule(gradient, *ctx.saved_tensors)
        found = found if isinstance(found, tuple) else (found,) * ctx.inputs
        return (None, None, None, None, *found, *(None,) * len(ctx.saved_tensors))


def with_rule(
    value: Tensor,
    inputs: tuple[Tensor, ...],
    rule: Rule,
    *saved: Tensor,
    note: object = None,
) -> Tensor:
    """A value whose gradients by its inputs are given by a rule.

    Args:
        value: What the operation returns; a tensor of its own.
        inputs: What the graph goes on to.
        rule: Maps the gradient by `value` and `saved` to one gradient for each input.
        saved: Tensors for the rule.
        note: Kept on the node of the graph, see `note_of`.

    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> with_rule(x.detach().clone(), (x,), lambda g: 10 * g).sum().backward()
    >>> x.grad
    tensor([10.])
    """
    own = value.clone() if value._is_view() else value
    return cast("Tensor", Replaced.apply([own], rule, note, len(inputs), *inputs, *saved))


def note_of(x: Tensor) -> Any:
    """The note on the operation that a tensor comes from, None where there is none."""
    return getattr(x.grad_fn, "note", None)


def is_activation(x: object) -> bool:
    """Whether an argument is an activation: it depends on the input, and is no parameter."""
    return isinstance(x, Tensor) and x.requires_grad and not x.is_leaf


class Rules(TorchFunctionMode):
    """The base of rules: dispatch by the name of an operation.

    Attributes:
        title: Name of the method in messages.
        handlers: By plain name ("relu" also stands for "relu_"): functions of a `Call`, which
            return what takes the place of the call, or None for the operation as it is.
        refused: Names of operations that the method has no rule for.
        advice: What to use instead, for messages.
    """

    title: str
    refused: frozenset[str] = NORMALISATIONS | RECURRENT
    advice: str = "use a method that needs no rules, such as ig or gradient_shap"

    def __init__(self) -> None:
        super().__init__()
        self.handlers: dict[str, Callable[[Call], Any]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation by its rule, or as it is."""
        call = Call(func, args, kwargs or {})
        if call.name in self.refused and call.activations():
            raise self.undefined(call.name)
        handler = self.handlers.get(call.name)
        if handler is None or not call.activations():
            return func(*args, **(kwargs or {}))
        found = handler(call)
        if found is None:
            return func(*args, **(kwargs or {}))
        return call.x.copy_(found) if call.inplace else found

    def undefined(self, operation: str) -> NotDefinedError:
        """The error for an operation without a rule."""
        return NotDefinedError(f"{self.title} has no rule for {operation}; {self.advice}.")

    def check(self, output: Tensor, x: Tensor) -> None:
        """Look at the graph from the inputs to the outputs before the backward pass."""


class Call:
    """One call of an operation.

    Attributes:
        name: Plain name: without the underscore of in-place methods.
        inplace: Whether the first argument is overwritten.
    """

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        name = getattr(func, "__name__", "").split(".")[0]
        kwargs = dict(kwargs)
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        self.inplace = bool(kwargs.pop("inplace", False))
        if not name.startswith("__") and name.endswith("_"):
            name, self.inplace = name[:-1], True
        self.name = name if name.startswith("__") else name.lstrip("_")
        self.func, self.args, self.kwargs = func, args, kwargs

    @property
    def x(self) -> Tensor:
        """The first argument."""
        return cast("Tensor", self.args[0])

    def activations(self) -> list[Tensor]:
        """Arguments that depend on the input, also those in lists."""
        flat = [a for v in self.args for a in (v if isinstance(v, list | tuple) else (v,))]
        return [a for a in (*flat, *self.kwargs.values()) if is_activation(a)]

    def evaluate(self, x: Tensor) -> Tensor:
        """The operation on another first argument, which it does not change."""
        own = x.clone() if self.inplace else x
        return cast("Tensor", self.func(own, *self.args[1:], **self.kwargs))

    def of_one(self) -> bool:
        """Whether the first argument alone is an activation."""
        return is_activation(self.args[0] if self.args else None) and len(self.activations()) == 1


@torch.no_grad()
def secant(evaluate: Evaluate, a: Tensor, b: Tensor) -> Tensor:
    """Slope of an element-wise function between two points of every element.

    Where they are equal up to rounding it is the derivative in the middle: in the quotient the
    rounding of the values would be divided by next to nothing.

    Args:
        evaluate: The function.
        a: One end.
        b: The other end, of the same shape.

    >>> secant(torch.relu, torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 1.0]))
    tensor([0.7500, 1.0000])
    """
    step = a - b
    close = step.abs() <= guard(a.dtype) * torch.maximum(a.abs(), b.abs())
    quotient = (evaluate(a) - evaluate(b)) / torch.where(close, 1.0, step)
    return torch.where(close, derivative(evaluate, (a + b) / 2), quotient)


def guard(dtype: torch.dtype) -> float:
    """Differences below this share of the values are rounding.

    >>> guard(torch.float64), guard(torch.float32)
    (1e-10, 1e-05)
    """
    return 1e-10 if dtype == torch.float64 else 1e-5


def derivative(evaluate: Evaluate, x: Tensor) -> Tensor:
    """Derivative of an element-wise function at every element."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(evaluate(x).sum(), x)[0]


def propagate(
    score: Score, x: Tensor, target: Tensor | None, mode: Rules, rows: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """Scores (N,), and their modified gradients by the inputs (N, *F).

    Args:
        score: f.
        x: (N, *F).
        target: (N,) or None.
        mode: The rules.
        rows: Rows that are explained; the others only take part in the rules.

    Raises:
        InputError: No gradient, or an operation without a rule.
    """
    x = x.detach().requires_grad_()
    gradient = None
    with torch.enable_grad(), frozen(score.model):
        with mode:
            out = score(x, target)
        if out.requires_grad:
            mode.check(out, x)
            gradient = torch.autograd.grad(out[rows].sum(), x, allow_unused=True)[0]
    if gradient is None:
        raise InputError(NO_GRADIENT)
    return out.detach(), gradient


def check_scalar(title: str, score: Score) -> None:
    """Raise unless rules see the operations of the model, and a logit is explained.

    Args:
        title: Name of the method.
        score: f.

    Raises:
        NotDefinedError: A probability, or a model that does not run as Python code.
    """
    if score.output != "logit":
        raise NotDefinedError(
            f"{title} explains logits: a softmax is not element-wise, so there is no rule for the "
            f"{score.output}; set output=logit."
        )
    model = score.model
    for module in model.modules() if isinstance(model, nn.Module) else [model]:
        how = _closed(module)
        if how:
            raise NotDefinedError(
                f"{title} replaces operations of a model while its Python code runs, and "
                f"{type(module).__name__} is {how}; give the torch module that it was made of."
            )


def _closed(module: object) -> str:
    """How a module came to hide its operations, "" where it does not."""
    if isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        return "TorchScript"
    if hasattr(module, "_torchdynamo_orig_callable") or hasattr(module, "_orig_mod"):
        return "compiled"
    if isinstance(module, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
    ):
        return "an exported program"
    return ""
