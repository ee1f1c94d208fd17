"""SmoothGrad, its square and its variance: the gradient under noise on the input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import check_positive, check_whole
from igbench.integration.expected import Moments, noisy_gradients
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class _Noisy(BaseMethod):
    foldable = True

    draws: int = 50
    noise: float = 0.15

    kind = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("draws", self.draws, least=1)
        check_positive("noise", self.noise)

    def _moments(self, batch: Batch) -> Moments:
        return noisy_gradients(
            batch.score,
            batch.x,
            batch.target,
            sample_ids=batch.sample_ids,
            draws=self.draws,
            noise=self.noise,
            seed=batch.seed,
            still=batch.still,
        )


@dataclass(frozen=True)
class SmoothGrad(_Noisy):
    """SmoothGrad: the mean gradient over noisy copies of the input, signed.

    phi = mean over e of grad f(x + e), e normal with a standard deviation of `noise` times
    max - min of the sample; the noise is that of `smooth_ig`.  Entries are sensitivities, and sum
    to nothing in particular.  Cost: `draws` gradients for each sample.

    Args:
        draws: Noisy copies of each sample.
        noise: Standard deviation, as a share of max - min of each sample; 0.1 to 0.2 in the paper.

    Raises:
        InputError: Draws or noise that are not above zero.

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 2.

    >>> from igbench.methods import explain
    >>> explain(SmoothGrad(), lambda x: 2 * x[:, 0] - x[:, 1], [[1.0, 3.0]]).tolist()
    [[2.0, -1.0]]
    """

    label = "SmoothGrad ({draws} draws, noise {noise:g})"
    reference = "Smilkov et al. 2017, section 2"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return self._moments(batch).mean.to(batch.x.dtype)


@dataclass(frozen=True)
class SmoothGradSquared(_Noisy):
    """SmoothGrad squared: the mean squared gradient over noisy copies of the input.

    phi = mean over e of (grad f(x + e))^2, elementwise, with the noise of `SmoothGrad`: its square
    plus the (biased) variance of the gradient.  Magnitudes.  Cost: `draws` gradients for each
    sample.

    Args:
        draws: Noisy copies of each sample.
        noise: Standard deviation, as a share of max - min of each sample.

    Raises:
        InputError: Draws or noise that are not above zero.

    Source: Hooker et al. 2019, "A benchmark for interpretability methods in deep neural networks"
    (NeurIPS).

    >>> from igbench.methods import explain
    >>> explain(SmoothGradSquared(), lambda x: 2 * x[:, 0] - x[:, 1], [[1.0, 3.0]]).tolist()
    [[4.0, 1.0]]
    """

    label = "SmoothGrad squared ({draws} draws, noise {noise:g})"
    reference = "Hooker et al. 2019"
    signed = False

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        found = self._moments(batch)
        biased = found.variance * (1 - 1 / self.draws)
        return (found.mean.square() + biased).to(batch.x.dtype)


@dataclass(frozen=True)
class VarGrad(_Noisy):
    """VarGrad: the variance of the gradient over noisy copies of the input.

    phi = sum over e of (grad f(x + e) - mean)^2 / (draws - 1), elementwise, with the noise of
    `SmoothGrad`; unbiased, where Captum's divides by the number of draws.  Zero where f is linear
    around the sample.  Magnitudes.  Cost: `draws` gradients for each sample.

    Args:
        draws: Noisy copies of each sample, at least two.
        noise: Standard deviation, as a share of max - min of each sample.

    Raises:
        InputError: Fewer than two draws, or noise that is not above zero.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps" (NeurIPS), appendix.

    >>> from igbench.methods import explain
    >>> explain(VarGrad(), lambda x: 2 * x[:, 0] - x[:, 1], [[1.0, 3.0]]).tolist()
    [[0.0, 0.0]]
    """

    label = "VarGrad ({draws} draws, noise {noise:g})"
    reference = "Adebayo et al. 2018"
    signed = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("draws", self.draws, least=2)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return self._moments(batch).variance.to(batch.x.dtype)
