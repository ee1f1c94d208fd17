"""The players of one sample as switches: which of them are present, and what f says then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.features import Features, on, spread
from igbench.core.perturb import remove
from igbench.core.score import Score
from igbench.errors import NotDefinedError

F64 = torch.float64


@dataclass(frozen=True)
class Switches:
    """One sample of which n players are present or hidden.

    Players whose elements are the same present and hidden change nothing: they are no switches.

    Attributes:
        score: f.
        target: (1,) class index, or None.
        x: (*F) the sample.
        fill: (*F) what is in place of hidden players.
        features: All G players, on the device of the sample.
        moved: (n,) numbers of the players that change the sample, rising.
    """

    score: Score
    target: Tensor | None
    x: Tensor
    fill: Tensor
    features: Features
    moved: Tensor

    @property
    def count(self) -> int:
        """Number of switches, n."""
        return len(self.moved)

    def values(self, draws: int, hidden: Callable[[Tensor], Tensor]) -> Tensor:
        """Values of f with some players hidden, (D,) in float64 on the CPU.

        Args:
            draws: D.
            hidden: Maps numbers of draws (rows,) to booleans (rows, n), true where hidden.
        """
        moved = self.moved.to(self.x.device)

        def rows(draw: Tensor) -> Tensor:
            gone = torch.zeros(len(draw), self.features.count, dtype=torch.bool, device=draw.device)
            gone[:, moved] = hidden(draw)
            return remove(self.x, self.fill, gone, self.features)

        found = self.score.evaluate_draws(draws, self.target, rows, device=self.x.device, full=True)
        return found.to("cpu", F64)

    def share(self, contributions: Tensor) -> Tensor:
        """Contributions of players (n,), evenly over their elements, (*F) in float64 on the CPU."""
        index = self.features.index.cpu()
        sizes = torch.bincount(index.flatten(), minlength=self.features.count)
        each = torch.zeros(self.features.count, dtype=F64)
        each[self.moved] = contributions.to("cpu", F64)
        return spread((each / sizes)[None], on(self.features, index.device))[0]


def switches(batch: Batch, i: int, features: Features, fill: Tensor | None = None) -> Switches:
    """The players of one sample as switches.

    Args:
        batch: Samples.
        i: Position of the sample.
        features: The players.
        fill: (*F) what is in place of hidden players; None for the baseline.
    """
    x = batch.x[i]
    fill = batch.baseline[i] if fill is None else fill
    differs = (x != fill).flatten().cpu()
    moved = features.index.cpu().flatten()[differs].unique()
    own = on(features, x.device)
    return Switches(batch.score, batch.target_of(i), x, fill, own, moved)


def segment_means(x: Tensor, features: Features) -> Tensor:
    """The mean of each channel over the elements of each player, (C, H, W).

    Args:
        x: (C, H, W).
        features: The players.

    Raises:
        NotDefinedError: The sample is no image.

    >>> numbers = torch.tensor([[[0, 0, 1]]])
    >>> segment_means(torch.tensor([[[1.0, 3.0, 5.0]]]), Features("", numbers, 2)).tolist()
    [[[2.0, 2.0, 5.0]]]
    """
    if x.dim() != 3:
        raise NotDefinedError(
            f"means of segments need images (C, H, W), not samples of shape {tuple(x.shape)}; set "
            "method.lime.hidden=baseline."
        )
    index = features.index.to(x.device)
    own = (index + features.count * torch.arange(len(x), device=x.device)[:, None, None]).flatten()
    total = torch.zeros(len(x) * features.count, dtype=F64, device=x.device)
    size = total.scatter_add(0, own, torch.ones_like(own, dtype=F64))
    total = total.scatter_add(0, own, x.flatten().to(F64))
    return (total / size.clamp(min=1))[own].view(x.shape).to(x.dtype)
