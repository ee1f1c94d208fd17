"""Similarity of two maps: rank correlation and structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core.batch import Batch
from igbench.errors import InputError, NotDefinedError, check_choice

REASON_FLAT_PAIR = "a map is flat or not finite, so nothing can be compared"


@dataclass(frozen=True)
class Similarity:
    """Similarity of two maps: Spearman's rank correlation or structural similarity.

    - "spearman": Spearman's rank correlation over the features, ties averaged;
    - "ssim": structural similarity (Wang et al. 2004) of the images of pixel sums, each divided by
      its largest magnitude (signed ones are scaled from [-1, 1] to [0, 1]), with a flat window.

    Both lie in [-1, 1], are 1 for equal maps, and do not depend on a positive scale.  Values that
    differ by rounding alone count as ties.  NaN where a map is flat or not finite.

    Args:
        kind: "spearman" or "ssim".
        absolute: Compare magnitudes of the features; otherwise signs count.  Magnitudes are similar
            wherever the input itself shapes the map; a map and its negative are then the same.
        features: Unit that is compared, for "spearman"; None for the unit of the batch.
        window: Side of the window of "ssim", odd, in pixels.

    Raises:
        InputError: Unknown kind, or a window that is even or below 3.
    """

    kind: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    features: str | Tensor | None = None
    window: int = 7

    def __post_init__(self) -> None:
        check_choice("similarity", self.kind, ("spearman", "ssim"))
        if self.window < 3 or self.window % 2 == 0:
            raise InputError(f"window is {self.window}; it must be an odd number of at least 3.")

    def describe(self) -> str:
        """Short description, for titles."""
        name = "Spearman" if self.kind == "spearman" else f"SSIM, window {self.window}"
        return f"{name}, {'magnitudes' if self.absolute else 'signed'}"

    def between(self, a: Tensor, b: Tensor, batch: Batch) -> Tensor:
        """Similarity of each pair of maps (N, *F), (N,) float64.

        Args:
            a: (N, *F).
            b: (N, *F).
            batch: The samples, for the unit of the features.

        Raises:
            InputError: SSIM of samples that are not images, or smaller than the window.
        """
        shape = tuple(a.shape[1:])
        spec = batch.features if self.features is None else self.features
        units = feature_units.resolve("pixel" if self.kind == "ssim" else spec, shape)
        sums = [feature_units.total(v, units) for v in (a, b)]
        if self.absolute:
            sums = [v.abs() for v in sums]
        grid = max(torch.finfo(a.dtype).eps, 1e-12)
        if self.kind == "spearman":
            return rank_correlation(*(on_grid(v, grid) for v in sums))
        if len(shape) != 3 or min(shape[1:]) < self.window:
            raise NotDefinedError(
                f"similarity=ssim needs images of at least {self.window} x {self.window} pixels, "
                f"not samples of shape {shape}; use similarity=spearman or a smaller window."
            )
        return self._ssim(*(on_grid(v, grid).view(-1, *shape[1:]) for v in sums))

    def _ssim(self, a: Tensor, b: Tensor) -> Tensor:
        from skimage.metrics import structural_similarity

        values = []
        for one, other in zip(a.cpu().numpy(), b.cpu().numpy(), strict=True):
            if not all(np.isfinite(m).all() and np.ptp(m) > 0 for m in (one, other)):
                values.append(math.nan)
                continue
            one, other = (m / np.abs(m).max() for m in (one, other))
            if not self.absolute:  # means below zero would turn the sign of the measure
                one, other = (1 + one) / 2, (1 + other) / 2
            found = structural_similarity(one, other, win_size=self.window, data_range=1.0)
            values.append(float(np.clip(found, -1, 1)))
        return torch.tensor(values, dtype=torch.float64, device=a.device)


def on_grid(values: Tensor, grid: float) -> Tensor:
    """Values (N, G) rounded to multiples of `grid` times the largest magnitude of their row."""
    step = grid * values.abs().amax(dim=1, keepdim=True)
    return torch.where(step > 0, (values / step).round(), values)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of every row, (N, G) twice to (N,); NaN where a row is flat.

    Example:
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]])
        >>> rank_correlation(a, b).round(decimals=6).tolist()
        [0.5]
    """
    own, other = (r - r.mean(dim=1, keepdim=True) for r in (ranks(a), ranks(b)))
    size = own.norm(dim=1) * other.norm(dim=1)
    return ((own * other).sum(dim=1) / size).where(size > 0, math.nan).clamp(-1, 1)


def ranks(values: Tensor) -> Tensor:
    """Ranks 1..G over the last axis, ties averaged, (..., G) float64; NaN where a value is.

    Example:
        >>> ranks(torch.tensor([0.5, 2.0, 0.5])).tolist()
        [1.5, 3.0, 1.5]
    """
    from scipy.stats import rankdata  # a third of a second that other metrics need not wait for

    found = rankdata(values.detach().cpu().double().numpy(), axis=-1, nan_policy="propagate")
    return torch.from_numpy(np.asarray(found)).to(values.device)
