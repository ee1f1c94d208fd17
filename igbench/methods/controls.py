"""Controls that a metric must be able to tell from a real explanation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.errors import InputError
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class Random:
    """Independent standard normal numbers, keyed by (seed, sample id)."""

    @property
    def spec(self) -> MethodSpec:
        """Read as signed contributions."""
        return MethodSpec("Random", "control", kind="global", signed=True, role="control")

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        shape = batch.x.shape[1:]
        return rng.per_sample(
            lambda g: torch.randn(shape, generator=g, dtype=torch.float64),
            batch.seed,
            "method.random",
            batch.sample_ids,
            batch.x,
        )


@dataclass(frozen=True)
class Edges:
    """Sobel gradient magnitude of the mean over channels: the input without the model.

    It is shared out equally over the channels of a pixel.  Read as positive contributions.
    """

    @property
    def spec(self) -> MethodSpec:
        """Read as signed contributions that happen to be positive."""
        return MethodSpec("Edges (Sobel)", "control", kind="global", signed=True, role="control")

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        if batch.x.dim() != 4:
            raise InputError(f"edges need images, not inputs of shape {tuple(batch.x.shape)}.")
        grey = batch.x.detach().mean(dim=1).cpu().double().numpy()
        size = np.stack([np.hypot(ndimage.sobel(g, 0), ndimage.sobel(g, 1)) for g in grey])
        channels = batch.x.shape[1]
        return (torch.from_numpy(size)[:, None] / channels).to(batch.x).expand_as(batch.x)
