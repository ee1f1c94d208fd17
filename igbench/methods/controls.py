"""Control maps that know nothing of the model: every metric must rank explanations above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from igbench.core import perturb, rng
from igbench.core.batch import Batch
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
