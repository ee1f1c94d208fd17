"""Gaussian scale space as a path: from the blurred image to the sharp one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.errors import NotDefinedError, check_positive


@dataclass(frozen=True)
class BlurPath:
    """Gaussian blurs of images, from standard deviation `sigma` at a = 0 to none at a = 1.

    p(a) = exp(s^2 L / 2) x with s = sigma (1 - a) ** pace, where L is the discrete Laplacian with
    mirrored edges: Lindeberg's discrete Gaussian (1990, "Scale-space for discrete signals"), which
    has variance s^2, keeps the mean of the image, composes exactly (s^2 adds up) and solves
    dp/ds = s L p.  It is diagonal in the cosine transform, so any blur costs two matrix products.

    Attributes:
        x: (N, C, H, W) sharp images.
        spectrum: (N, C, H, W) float64, their cosine transform.
        vertical: (H, H) orthonormal cosine basis, one frequency for each row.
        horizontal: (W, W).
        decay: (H, W) eigenvalues of -L.
        sigma: Standard deviation at the start, in pixels.
        pace: 1 for equal steps of s (the paper's); larger spends more steps on small s.
    """

    x: Tensor
    spectrum: Tensor
    vertical: Tensor
    horizontal: Tensor
    decay: Tensor
    sigma: float
    pace: float

    def exact(self, sample: Tensor, a: Tensor) -> Tensor:
        """Blurred images (rows, C, H, W) float64."""
        s = self.sigma * (1 - a).view(-1, 1, 1, 1) ** self.pace
        damped = torch.exp(-0.5 * s**2 * self.decay) * self.spectrum[sample]
        return self.vertical.T @ damped @ self.horizontal


def blur_path(x: Tensor, *, sigma: float, pace: float = 2.0) -> BlurPath:
    """The path from blurred to sharp images (Xu, Venugopalan and Sundararajan 2020).

    Args:
        x: (N, C, H, W).
        sigma: Largest standard deviation, in pixels; the integral sums to f(x) - f(x blurred by
            it).
        pace: See `BlurPath`.

    Raises:
        InputError: Not images, or a sigma or pace that is not above zero.
    """
    check_positive("sigma", sigma)
    check_positive("pace", pace)
    if x.dim() != 4:
        raise NotDefinedError(
            f"a blur path needs images (N, C, H, W), not inputs of shape {tuple(x.shape)}."
        )
    vertical, horizontal = (_cosines(n).to(x.device) for n in x.shape[2:])
    by_row, by_column = (_eigenvalues(n).to(x.device) for n in x.shape[2:])
    return BlurPath(
        x,
        vertical @ x.detach().double() @ horizontal.T,
        vertical,
        horizontal,
        by_row[:, None] + by_column[None, :],
        sigma,
        pace,
    )


def _cosines(n: int) -> Tensor:
    """Orthonormal cosine transform (type II), (n, n) float64: rows are frequencies."""
    position = torch.arange(n, dtype=torch.float64) + 0.5
    frequency = torch.arange(n, dtype=torch.float64)[:, None]
    basis = torch.cos(math.pi / n * frequency * position) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def _eigenvalues(n: int) -> Tensor:
    """Eigenvalues 2 - 2 cos(pi k / n) of minus the second difference with mirrored ends, (n,)."""
    return 2 - 2 * torch.cos(math.pi / n * torch.arange(n, dtype=torch.float64))
