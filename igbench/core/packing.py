"""Several input tensors packed into one, so that methods and metrics see a single input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.model import is_differentiable
from igbench.errors import InputError


@dataclass(frozen=True)
class Packing:
    """The layout of several inputs in one: each is flattened, and they follow each other.

    Attributes:
        shapes: The shape *F of one sample of every input.

    >>> packing = Packing(((2,), (1, 3)))
    >>> first, second = packing.unpack(torch.arange(5.0)[None])
    >>> first.tolist(), second.tolist()
    ([[0.0, 1.0]], [[[2.0, 3.0, 4.0]]])
    """

    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> list[int]:
        """Number of elements of every input."""
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def owner(self) -> Tensor:
        """Number of the input that each packed element belongs to, (F,): features, if wanted."""
        return torch.arange(len(self.shapes)).repeat_interleave(torch.tensor(self.sizes))

    def pack(self, inputs: Sequence[Tensor]) -> Tensor:
        """Inputs, baselines or maps, (N, *F) each, as one tensor (N, F).

        Raises:
            InputError: Other shapes, integers, or more than one dtype.
        """
        shapes = tuple(tuple(x.shape[1:]) for x in inputs)
        if shapes != self.shapes or len({len(x) for x in inputs}) != 1:
            raise InputError(
                f"the inputs have shapes {[tuple(x.shape) for x in inputs]}; expected one length N "
                f"for all, and samples of shapes {list(self.shapes)}."
            )
        dtypes = {x.dtype for x in inputs}
        if len(dtypes) > 1 or not inputs[0].is_floating_point():
            raise InputError(
                f"the inputs have dtypes {', '.join(str(x.dtype) for x in inputs)}; attributions "
                "need one floating-point dtype. Explain the embeddings of integer tokens instead, "
                "and keep masks and ids in the model."
            )
        return torch.cat([x.flatten(1) for x in inputs], dim=1)

    def unpack(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Packed inputs or a map of them, (N, F), as the tensors that they were; differentiable."""
        parts = packed.split(self.sizes, dim=1)
        return tuple(
            part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


def pack(inputs: Sequence[Tensor]) -> tuple[Tensor, Packing]:
    """Pack several inputs, (N, *F) each, into one (N, F), with the layout that undoes it.

    Raises:
        InputError: Integers, more than one dtype, or another number of samples.

    >>> x, packing = pack((torch.zeros(4, 3, 8, 8), torch.ones(4, 5)))
    >>> x.shape, packing.shapes
    (torch.Size([4, 197]), ((3, 8, 8), (5,)))
    """
    packing = Packing(tuple(tuple(x.shape[1:]) for x in inputs))
    return packing.pack(inputs), packing


class PackedModel(nn.Module):
    """A model of several inputs as a model of one packed input.

    Args:
        model: Called with the inputs one by one: model(first, second, ...).
        packing: Their layout.
    """

    def __init__(self, model: nn.Module | Callable[..., Any], packing: Packing) -> None:
        super().__init__()
        self.model = model
        self.packing = packing
        self.differentiable = is_differentiable(model)
        self.training = False

    def forward(self, packed: Tensor) -> Any:
        """What the model returns for packed rows (N, F)."""
        return self.model(*self.packing.unpack(packed))
