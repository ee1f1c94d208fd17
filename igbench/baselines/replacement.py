"""Baselines of what data offer in place of removed features, such as the tokens of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igbench.baselines.base import like
from igbench.core.dataset import Data
from igbench.errors import NotDefinedError


class Replacement:
    """Base of baselines that the data offer in place of removed features.

    Class attributes:

        name: Name among `igbench.core.dataset.Data.replacements`.
    """

    name: ClassVar[str]

    def __call__(self, x: Tensor, sample_ids: Sequence[str], data: Data, seed: int) -> Tensor:
        """Reference inputs (N, *F)."""
        known = {} if data is None else data.replacements
        if self.name not in known:
            has = f"has {', '.join(known)}" if known else "has none: they belong to texts"
            raise NotDefinedError(
                f"baseline={self.name} needs data with a replacement of that name, and data "
                f"{data.name!r} {has}; choose another baseline, for example baseline=zero."
            )
        return like(torch.stack([known[self.name](one.clone()) for one in x]), x)


@dataclass(frozen=True)
class Mask(Replacement):
    """Mask: x' = the embedding of the [MASK] token at every token.  The default of masked models.

    The closest to what such a model saw in training.
    """

    name: ClassVar[str] = "mask"


@dataclass(frozen=True)
class Pad(Replacement):
    """Pad: x' = the embedding of the [PAD] token at every token, still attended to.

    Padding was never attended to in training, so that row means nothing in particular.
    """

    name: ClassVar[str] = "pad"


@dataclass(frozen=True)
class Unknown(Replacement):
    """Unknown: x' = the embedding of the token for unknown words at every token."""

    name: ClassVar[str] = "unk"


@dataclass(frozen=True)
class MeanToken(Replacement):
    """Mean token: x' = the mean of all word embeddings at every token.

    The default of decoders, which have no [MASK].
    """

    name: ClassVar[str] = "mean"
