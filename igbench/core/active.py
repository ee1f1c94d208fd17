"""Samples of which some elements take no part: padding, special tokens, constant columns.

`Batch.active` marks the elements that take part.  A sample is explained and scored as the smaller
problem on these alone: x and x' restricted to its A active elements, (1, A), and f as a function of
them, with the other elements at their values in x.  Metrics see that problem and nothing else, so
each gives the number that it gives for a model that never had the other elements.  Methods see the
whole sample, without the padding behind a text, and the function that does not depend on the
others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.batch import Attribution, Batch, Method
from igbench.core.features import Features, resolve
from igbench.core.inference import InferenceOptions
from igbench.core.outputs import Output
from igbench.core.returned import check_map
from igbench.core.score import Score, Wrapped
from igbench.core.tokens import DELETED
from igbench.core.watch import same_bits
from igbench.errors import InputError
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class Elements:
    """The active elements of one sample.

    Attributes:
        x: (*F) the sample.
        index: (A,) positions of the active elements in the flattened sample, rising.
    """

    x: Tensor
    index: Tensor

    def gather(self, full: Tensor) -> Tensor:
        """Active elements of rows, (N, *F) to (N, A)."""
        return full.flatten(1)[:, self.index]

    def restore(self, part: Tensor) -> Tensor:
        """Rows with the sample around their active elements, (N, A) to (N, *F); differentiable."""
        return self._around(part, self.x)

    def place(self, part: Tensor) -> Tensor:
        """Maps with zeros around the active elements, (N, A) to (N, *F)."""
        return self._around(part, torch.zeros_like(self.x))

    def _around(self, part: Tensor, other: Tensor) -> Tensor:
        rows = other.to(part).flatten().expand(len(part), -1)
        return rows.index_copy(1, self.index, part).view(len(part), *other.shape)


def elements(batch: Batch, i: int) -> Elements:
    """Active elements of sample `i`.

    Raises:
        InputError: The mask has another shape or type, or the sample has no active element.
    """
    x, active = batch.x[i], batch.active
    if active is None:
        return Elements(x, torch.arange(x.numel(), device=x.device))
    if active.shape != batch.x.shape or active.dtype != torch.bool:
        raise InputError(
            f"active has shape {tuple(active.shape)} and type {active.dtype}; expected booleans of "
            f"shape {tuple(batch.x.shape)}, true where an element takes part."
        )
    index = active[i].flatten().nonzero()[:, 0]
    if not len(index):
        raise InputError(f"sample {batch.sample_ids[i]!r} has no active element to explain.")
    return Elements(x, index)


def restrict(batch: Batch, i: int) -> Batch:
    """The problem on the active elements of sample `i`, with x and x' of shape (1, A).

    >>> x, active = torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[True, False, True]])
    >>> batch = Batch(Score(lambda z: z.sum(1)), x, 0 * x, None, ("a",), active=active)
    >>> part = restrict(batch, 0)
    >>> part.x, part.score(part.baseline)
    (tensor([[1., 2.]]), tensor([5.]))
    """
    part, own = elements(batch, i), slice(i, i + 1)
    return replace(
        batch,
        score=Restricted(batch.score, part),
        x=part.gather(batch.x[own]),
        baseline=part.gather(batch.baseline[own]),
        target=batch.target_of(i),
        sample_ids=batch.sample_ids[own],
        features=restrict_features(batch.features, batch, i),
        active=None,
        replacements={name: part.gather(fill[own]) for name, fill in batch.replacements.items()},
        still=None if batch.still is None else part.gather(batch.still[None])[0],
    )


def restrict_features(features: str | Tensor, batch: Batch, i: int) -> str | Tensor:
    """Features of the active elements of sample `i`: "element", or numbers (A,).

    A feature consists of its active elements; one that has none does not count.

    Args:
        features: Name, or numbers (*F) for all samples or (N, *F).
        batch: Samples.
        i: Position of the sample.
    """
    shape = tuple(batch.x.shape[1:])
    if isinstance(features, Tensor) and features.dim() > len(shape):
        features = features[i]
    if isinstance(features, Tensor):  # numbers of features without active elements may be anything
        full = Features("custom", features, 0)
    else:
        full = resolve(features, shape)
    own = full.index.flatten()[elements(batch, i).index.to(full.index.device)]
    numbers, index = own.unique(return_inverse=True)
    return "element" if len(numbers) == len(own) else index


def restrict_maps(
    attributions: Mapping[str, Attribution], batch: Batch, i: int
) -> dict[str, Attribution]:
    """Maps of the active elements of sample `i`, (1, A), by methods that explain these alone."""
    part = elements(batch, i)
    return {
        name: replace(
            a,
            values=part.gather(a.values[i : i + 1]),
            explain=None if a.explain is None else lift(a.explain, batch, i),
        )
        for name, a in attributions.items()
    }


def lift(method: Method, batch: Batch, i: int) -> Lifted:
    """The method for problems on the active elements of sample `i`, see `restrict`.

    The padding behind a text is cut off: what a method draws, and what it takes for the range of
    the sample, would hang on the longest text of the data otherwise.
    """
    features, part = batch.features, elements(batch, i)
    if isinstance(features, Tensor) and features.dim() == batch.x.dim():
        features = features[i]
        own = (features >= 0).reshape(len(features), -1).any(dim=1).to(part.x.device)
        padding = ~own & (part.x == DELETED).reshape(len(features), -1).any(dim=1)
        length = int((~padding).nonzero().max()) + 1
        features, part = features[:length], replace(part, x=part.x[:length])
    return Lifted(method, part, features)


@dataclass(frozen=True)
class Lifted:
    """A method for whole samples, as a method for their active elements.

    Attributes:
        method: The method.
        part: The active elements.
        features: Features of the whole sample.
    """

    method: Method
    part: Elements
    features: str | Tensor

    @property
    def spec(self) -> MethodSpec:
        """That of the method."""
        return self.method.spec

    @property
    def foldable(self) -> bool:
        """Whether a folded copy of the model may stand in."""
        return getattr(self.method, "foldable", False)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute whole samples and keep the active elements, (N, A)."""
        full = replace(
            batch,
            score=Gathered(batch.score, self.part),
            x=self.part.restore(batch.x),
            baseline=self.part.restore(batch.baseline),
            features=self.features,
            replacements={n: self.part.restore(fill) for n, fill in batch.replacements.items()},
            still=self._still(batch),
        )
        given = [(name, value, value.clone()) for name, value in _tensors(full)]
        maps = self.method(full)
        for name, value, before in given:
            if not same_bits(before, value):
                raise InputError(f"the method wrote into the inputs (batch.{name}).")
        check_map(maps, full.x)
        return self.part.gather(maps)

    def _still(self, batch: Batch) -> Tensor:
        """What noise leaves alone in whole samples: marks, and what takes no part, (*F)."""
        moving = torch.ones_like(batch.x[:1])
        if batch.still is not None:
            moving = moving.masked_fill(batch.still, 0.0)
        return self.part.place(moving)[0] == 0


def _tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    return [("x", batch.x), ("baseline", batch.baseline)]


class Restricted(Wrapped):
    """f as a function of the active elements (N, A) of one sample, the others as they are.

    Args:
        score: f of whole samples.
        part: The active elements.
    """

    def __init__(self, score: Score, part: Elements) -> None:
        super().__init__(score)
        self.quick, self.part = score.quick, part

    def inputs(self, x: Tensor) -> Tensor:
        """Whole samples."""
        return self.inner.inputs(self.part.restore(x))

    def as_output(self, output: Output) -> Score:
        """The same restriction of another readout."""
        return Restricted(self.inner.as_output(output), self.part)

    def sibling(
        self, model: nn.Module | Callable[[Tensor], Any], output: Output, quick: InferenceOptions
    ) -> Score:
        """The same restriction of another function of whole samples."""
        return Restricted(self.inner.sibling(model, output, quick), self.part)


class Gathered(Wrapped):
    """A function of active elements as a function of whole samples, which ignores the others.

    Args:
        score: f of active elements (N, A).
        part: The active elements.
    """

    def __init__(self, score: Score, part: Elements) -> None:
        super().__init__(score)
        self.part = part

    def inputs(self, x: Tensor) -> Tensor:
        """Whole samples with the other elements as they are in the sample."""
        return self.inner.inputs(self.part.gather(x))

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Scalar of every row, (N,)."""
        out: Tensor = self.inner(self.part.gather(x), target)
        return out

    def as_output(self, output: Output) -> Score:
        """Another readout, where the function has one."""
        return Gathered(self.inner.as_output(output), self.part)
