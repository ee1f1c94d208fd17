"""Control maps that know nothing of the model: every metric must rank explanations above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from igbench.core import perturb, rng
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.core.features import spread, total
from igbench.core.players import players
from igbench.errors import NotDefinedError
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class Random(BaseMethod):
    """Independent standard normal numbers, drawn by (seed, sample id); read as contributions.

    Cost: none.
    """

    label = "Random"
    reference = "control"
    role = "control"
    needs_gradient = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        shape = batch.x.shape[1:]
        return rng.per_sample(
            lambda g: perturb.drawn(
                lambda size: torch.randn(size, generator=g, dtype=torch.float64), shape, batch.still
            ),
            batch.seed,
            "method.random",
            batch.sample_ids,
            batch.x,
        )


@dataclass(frozen=True)
class Edges(BaseMethod):
    """Sobel gradient magnitude of the mean over channels; read as positive contributions.

    It is shared out equally over the channels of a pixel.  Cost: none.
    """

    label = "Edges (Sobel)"
    reference = "control"
    role = "control"
    needs_gradient = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the inputs are no images."""
        if batch.x.dim() != 4:
            raise NotDefinedError(f"edges need images, not inputs of shape {tuple(batch.x.shape)}.")
        grey = batch.x.detach().mean(dim=1).cpu().double().numpy()
        size = np.stack([np.hypot(ndimage.sobel(g, 0), ndimage.sobel(g, 1)) for g in grey])
        channels = batch.x.shape[1]
        return (torch.from_numpy(size)[:, None] / channels).to(batch.x).expand_as(batch.x)


@dataclass(frozen=True)
class Position(BaseMethod):
    """The place of each of G features: G for the first, 1 for the last.

    For texts the words from the left; read as positive contributions.  Cost: none.
    """

    label = "Position (first features first)"
    reference = "control"
    role = "control"
    needs_gradient = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return torch.stack([_by_feature(batch, i, None) for i in range(len(batch))])


@dataclass(frozen=True)
class Rare(BaseMethod):
    """How rare each word of a text is: -ln of its share in texts that are never explained.

    Read as positive contributions.  Cost: none.

    Args:
        data: Knows the words.  An experiment gives its own.
    """

    data: Data | None = None

    label = "Rare words"
    reference = "control"
    role = "control"
    needs_gradient = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where no frequencies are known."""
        known = None if self.data is None else self.data.feature_rarity
        if known is None:
            raise NotDefinedError(
                "rare needs texts that tell how frequent a word is, and the data have none; give "
                "texts_data(references=...), or choose data=tweets."
            )
        return _of_data(batch, self.data, known)


@dataclass(frozen=True)
class Length(BaseMethod):
    """The number of letters of each word of a text; read as positive contributions.

    Cost: none.

    Args:
        data: Knows the words.  An experiment gives its own.
    """

    data: Data | None = None

    label = "Length of words"
    reference = "control"
    role = "control"
    needs_gradient = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where features have no names."""
        names = None if self.data is None else self.data.feature_names
        if names is None:
            raise NotDefinedError(
                "length needs features with names, such as the words of a text, and the data have "
                "none; choose another control, for example random."
            )
        return _of_data(batch, self.data, lambda index: [float(len(n)) for n in names(index)])


def _of_data(batch: Batch, data: Data | None, values: Callable[[int], Sequence[float]]) -> Tensor:
    """Maps of numbers that the data know of the features of each sample."""
    ids = () if data is None else data.sample_ids
    for sample_id in batch.sample_ids:
        if sample_id not in ids:
            raise NotDefinedError(f"the data know no sample {sample_id!r}.")
    every = [values(ids.index(sample_id)) for sample_id in batch.sample_ids]
    return torch.stack([_by_feature(batch, i, own) for i, own in enumerate(every)])


def _by_feature(batch: Batch, i: int, values: Sequence[float] | None) -> Tensor:
    """A number for each of the G features of a sample, spread evenly over its elements, (*F).

    None for G to 1.
    """
    unit = players("element" if isinstance(batch.features, str) else None, batch, i)
    count = unit.count
    if isinstance(batch.features, Tensor):
        own = batch.features[i] if batch.features.dim() == batch.x.dim() else batch.features
        count = int(own.max()) + 1  # one more is for elements without a feature
    numbers = torch.zeros(unit.count, dtype=torch.float64)
    numbers[:count] = torch.tensor(
        range(count, 0, -1) if values is None else values, dtype=torch.float64
    )
    sizes = total(torch.ones(1, *batch.x.shape[1:]), unit)[0]
    return spread((numbers / sizes)[None], unit)[0].to(batch.x)
