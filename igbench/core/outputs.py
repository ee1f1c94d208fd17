"""Outputs of a model as one tensor, and the scalar that is explained among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from igbench.core import callers
from igbench.errors import InputError, NotDefinedError

Output = Literal["logit", "probability", "log_probability"]
Target = int | tuple[int, ...] | Sequence[int] | Sequence[tuple[int, ...]] | Tensor | None
"""Which output is explained, see `as_target`."""

KEYS = ("logits", "out")
"""Names under which models return their outputs, in the order in which they are looked up."""

SINGLE = {
    "logit": lambda z: z,
    "probability": torch.sigmoid,
    "log_probability": nn.functional.logsigmoid,
}
"""Readouts of a single output."""


def logits(raw: Any, rows: int) -> Tensor:
    """Tensor of outputs in whatever a model returned for N rows: (N,), (N, K) or (N, K, ...).

    Tensors come back as they are.  Other values hold the outputs as the attribute `logits` (the
    outputs of Hugging Face transformers), under the key "logits" or "out", as their only tensor,
    or as the first tensor of a tuple or list.

    Args:
        raw: What the model returned.
        rows: N.

    Raises:
        InputError: There is no such tensor, or its first axis does not have N entries.

    >>> logits({"logits": torch.zeros(2, 3), "attentions": torch.zeros(4)}, rows=2).shape
    torch.Size([2, 3])
    """
    found = raw if isinstance(raw, Tensor) else _tensor_in(raw)
    if found is None or found.dim() == 0 or len(found) != rows:
        raise InputError(
            f"the model's output is {described(raw)} for {rows} rows; expected a tensor (N,), "
            "(N, K) or (N, K, ...) with N rows, an object with .logits, a dict with 'logits' or "
            "'out', or a tuple that starts with such a tensor. Wrap the model to return one."
        )
    return found


def _tensor_in(raw: Any) -> Tensor | None:
    """The tensor that holds the outputs; None where that is not clear."""
    named = [getattr(raw, "logits", None)]
    tensors: list[Tensor] = []
    if isinstance(raw, Mapping):
        named += [raw.get(key) for key in KEYS]
        tensors = [v for v in raw.values() if isinstance(v, Tensor)]
        tensors = tensors if len(tensors) == 1 else []
    elif isinstance(raw, tuple | list):
        tensors = [v for v in raw if isinstance(v, Tensor)][:1]
    return next((v for v in (*named, *tensors) if isinstance(v, Tensor)), None)


def described(raw: Any) -> str:
    """Type and shape of a value, for messages.

    >>> described((torch.zeros(2, 3), 1.0))
    'tuple of Tensor (2, 3), float'
    """
    name = type(raw).__name__
    if isinstance(raw, Tensor):
        return f"{name} {tuple(raw.shape)}"
    if isinstance(raw, Mapping):
        return f"{name} with {', '.join(f'{k!r}: {described(v)}' for k, v in raw.items())}"
    if isinstance(raw, tuple | list):
        return f"{name} of {', '.join(described(v) for v in raw)}"
    return name


def select(
    outputs: Tensor, target: Tensor | None, output: Output, probabilities: bool = False
) -> Tensor:
    """The explained output of every row, (N,).

    Args:
        outputs: (N,), (N, 1), (N, K) or (N, K, ...).
        target: For K outputs, (N,) class indices or (N, 1); for more axes, (N, k) indices, one
            for each axis after the first.  Ignored for single outputs.
        output: "logit" (the output itself), or its "probability" or "log_probability": by the
            softmax over K classes, or the sigmoid of a single output.
        probabilities: Whether the outputs are probabilities: then these are the probability.

    Raises:
        InputError: A target is missing or has another number of indices, or a probability is asked
            for among more than one axis of outputs.
        NotDefinedError: The logarithm of probabilities, some of which may be zero.

    >>> select(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]), "logit")
    tensor([2., 3.])
    """
    output = _of_probabilities(output) if probabilities else output
    if outputs.dim() == 2 and outputs.shape[1] == 1:
        outputs = outputs[:, 0]
    if outputs.dim() == 1:
        return SINGLE[output](outputs)
    n, axes = len(outputs), outputs.dim() - 1
    if target is None:
        raise InputError(
            f"the model returns outputs of shape {tuple(outputs.shape[1:])} for each row; give "
            "target=, the class index of each sample (one index for each axis)."
        )
    if len(target) != n or target[0].numel() != axes:
        raise InputError(
            f"target has shape {tuple(target.shape)}, the model's output {tuple(outputs.shape)}; "
            f"expected {(n,) if axes == 1 else (n, axes)}: {axes} for each row."
        )
    if axes == 1:
        if output == "probability":
            outputs = outputs.softmax(dim=1)
        elif output == "log_probability":
            outputs = outputs.log_softmax(dim=1)
        return outputs.gather(1, target.to(outputs.device).view(-1, 1))[:, 0]
    if output != "logit":
        raise InputError(
            f"which axis of the model's output {tuple(outputs.shape)} holds the classes is not "
            f"known, so there is no {output}; use output=logit, or wrap the model to return (N, K)."
        )
    return outputs[(torch.arange(n, device=outputs.device), *target.to(outputs.device).T)]


def _of_probabilities(output: Output) -> Output:
    """The readout of outputs that are probabilities already."""
    if output == "log_probability":
        raise NotDefinedError(
            "the model returns probabilities, whose logarithm is infinite where one of them is 0; "
            "use output=probability, or a model that returns log-odds."
        )
    return "logit"


def as_target(target: Target, n: int, device: torch.device) -> Tensor | None:
    """Targets of N samples, (N,) or (N, k) integers; None for models with a single output.

    Args:
        target: A number (also one of NumPy or torch) or a tuple for all samples; a list of numbers
            or of tuples, one for each sample; or a tensor (N,) or (N, k).
        n: N.
        device: Where they are put.

    Raises:
        InputError: Not one for each sample, or no whole numbers.

    >>> as_target((1, 0), 2, torch.device("cpu")).tolist()
    [[1, 0], [1, 0]]
    """
    if target is None:
        return None
    own: Any = target
    if getattr(own, "ndim", 1) == 0:  # a number of NumPy's or torch's, as argmax returns it
        own = own.item()
    one = isinstance(own, int | float | tuple)
    found = callers.tensor("target", [own] * n if one else own).to(device)
    if found.dim() not in (1, 2) or len(found) != n:
        raise InputError(
            f"target has shape {tuple(found.shape)}, expected ({n},), or ({n}, k) for outputs of k "
            "axes: one for each sample."
        )
    if found.is_floating_point() or found.dtype == torch.bool:
        raise InputError(
            f"target has dtype {str(found.dtype).removeprefix('torch.')}; expected whole numbers, "
            "the class index of each sample."
        )
    return found.long()


def repeat_target(target: Tensor | None, count: int) -> Tensor | None:
    """The target of one sample, (1,) or (1, k), for as many rows of it."""
    return None if target is None else target.expand(count, *target.shape[1:])
