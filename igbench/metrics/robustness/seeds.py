"""Seed variance: relative Monte Carlo error of a map, from the same method at other seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import check_whole
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import jackknife
from igbench.metrics.reexplain import LOST, explained


@dataclass(frozen=True)
class SeedVariance(BaseMetric):
    """Seed variance: relative Monte Carlo error of a map; exactly 0 for methods that draw nothing.

    With phi_1..phi_R the maps of a sample at R seeds, the first that of the run,

        sqrt(sum over pairs of |phi_r - phi_s|^2 / (R (R - 1))) / |mean phi_r|,

    in Euclidean norms over all elements: the standard deviation of one map around what it is in
    expectation, which is the root mean square distance of two maps over sqrt 2, as a share of the
    mean map.  It falls with the root of the number of draws, whether or not entries sum to what
    they should.  The baseline, the model and the sample stay as they are.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite, or the mean map is
    zero.  The standard error is the jackknife's over the maps.  Cost: R - 1 explanations for each
    method (3 by default).

    Source: defined here.

    Args:
        seeds: Number R - 1 of further seeds; one alone gives no standard error.

    Raises:
        InputError: Less than one seed, or no method to explain with.

    Example:
        Noise of standard deviation 0.1 on 100 ones: a tenth, as far as four maps tell.

        >>> import torch
        >>> from igbench.metrics import seed_variance
        >>> x, f = torch.ones(1, 100), lambda x: x.sum(dim=1)
        >>> noisy = lambda x, target: x + 0.1 * torch.randn(x.shape)
        >>> found = seed_variance(f, x, x, explain=noisy)
        >>> 0.05 < float(found) < 0.15, seed_variance(f, x, x, explain=lambda x, target: x).tolist()
        (True, [0.0])
    """

    foldable = True
    name = "seed_variance"
    family = "robustness"
    needs_method = True
    explains = "How much of the map is chance: how far apart are maps of other seeds?"
    direction = "lower"
    reference = "defined here"
    range = (0, math.inf)
    unit = "element"
    undefined = LOST

    seeds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("seeds", self.seeds, least=1)

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Seed variance (relative Monte Carlo error, {self.seeds + 1} seeds)"

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The relative error of every attribution."""
        others = [
            replace(batch, seed=rng.key(batch.metric_seed, "seed variance", "", r))
            for r in range(1, self.seeds + 1)
        ]
        result = {}
        for name, attribution in attributions.items():
            maps = [attribution.values, *(explained(name, attribution, b) for b in others)]
            result[name] = relative_error(torch.stack([m.flatten(1).double() for m in maps]))
        return result


def relative_error(maps: Tensor) -> Measurement:
    """Standard deviation of R maps over the norm of their mean, (R, N, E) to N values.

    >>> relative_error(torch.tensor([[[3.0, 0.0]], [[3.0, 2.0]]]).double()).value
    tensor([0.4472], dtype=torch.float64)
    """
    count = len(maps)
    products = torch.einsum("rne,sne->nrs", maps, maps)
    distances = torch.stack([(maps - one).square().sum(dim=2).T for one in maps], dim=1)
    keep = torch.ones(count, dtype=torch.float64, device=maps.device)
    value = _ratio(products, distances, keep)
    if count < 3:
        return Measurement(value, reason=LOST)
    without = [_ratio(products, distances, one) for one in keep - torch.eye(count).to(keep)]
    return Measurement(value, jackknife(torch.stack(without, dim=-1)), LOST)


def _ratio(products: Tensor, distances: Tensor, keep: Tensor) -> Tensor:
    """The ratio of the maps that are kept, from (N, R, R) products and squared distances, (N,)."""
    count = float(keep.sum())
    variance = (distances @ keep @ keep) / 2 / (count * (count - 1))
    size = (products @ keep @ keep).clamp(min=0).sqrt() / count
    return (variance.sqrt() / size).where(size > 0, math.nan)
