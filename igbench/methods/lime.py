"""LIME: the weights of a linear surrogate of f on the players of a sample."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.features import Features
from igbench.core.perturb import all_subsets
from igbench.core.players import players
from igbench.errors import (
    InputError,
    NotDefinedError,
    check_choice,
    check_positive,
    check_whole,
)
from igbench.methods.coalitions import Game, PlayersMethod, game
from igbench.surrogates.linear import KERNELS, Surrogate, likeness, surrogate

MOST_ENUMERATED = 12
"""Players of which all masks are evaluated where the samples allow it."""

PRESETS: dict[str, dict[str, Any]] = {
    "lime": {
        "samples": 1000,
        "kernel": "cosine",
        "width": 0.25,
        "ridge": 1.0,
        "hidden": "mean",
    }
}
"""Settings of other implementations, by name."""


@dataclass(frozen=True)
class Lime(PlayersMethod):
    """Weights of the linear surrogate of f around a sample (LIME), one for each player.

    w of argmin over (b, w) of sum_m k(z_m) (f(z_m) - b - w . z_m)^2 + `ridge` |w|^2 over masks z_m
    in which each player is present with probability 1/2, spread evenly over the elements of each
    player.  Hidden players are at the baseline x'.  k(z) = exp(-d^2 / (2 `width`^2)), with the
    cosine distance d of z to the mask with all players.  Where all 2^n masks of n players, 12 at
    most, are no more than `samples`, each is evaluated once, and w is the exact limit.

    The entries are contributions, and exactly those of a linear f without a penalty; they do not
    sum to f(x) - f(x').  With the kernel "none" the limit is the Banzhaf value.  The standard error
    of w is that of `igbench.surrogates.linear.surrogate`; at 1000 samples it is some 6 to 9 % of
    the map for 12 players, and about 30 % for the 45 superpixels of a photograph.  Players with
    x = x' get 0.  Cost: `samples` forwards for each sample, or 2^n.

    Args:
        features: The players, see `igbench.core.players.players`: "superpixel:S", "patch:P",
            "pixel", "element", feature numbers (*F), or None for what fits the samples.
        samples: Masks for each sample.
        kernel: "cosine", or "none" for equal weights.
        width: Of the kernel, as in the library lime: the paper's divided by the root of 2.
        ridge: Penalty.
        hidden: What is in place of hidden players: "baseline", or "mean", the mean colour of each
            (images alone).
        preset: "lime" for the settings of the library lime for images: width 0.25, 1000 samples,
            ridge 1, mean colours, and the sample itself as the first mask; the settings above stay
            at their defaults then.  None for these.

    Raises:
        InputError: Settings out of range, or given beside a preset.

    Source: Ribeiro, Singh and Guestrin 2016, "Why Should I Trust You?" (KDD), eq. 1; the kernel is
    that of their library.

    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, -2.0, 3.0])
    >>> explain(Lime(), f, torch.ones(1, 3)).numpy().round(4).tolist()
    [[1.0, -2.0, 3.0]]
    """

    features: str | Tensor | None = None
    samples: int = 1000
    kernel: str = "cosine"
    width: float = 0.25
    ridge: float = 0.0
    hidden: str = "baseline"
    preset: str | None = None

    reference = "Ribeiro, Singh, Guestrin 2016, eq. 1"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("samples", self.samples, least=2)
        check_choice("kernel", self.kernel, KERNELS)
        check_choice("hidden", self.hidden, ("baseline", "mean"))
        check_positive("width", self.width)
        if not self.ridge >= 0:
            raise InputError(f"ridge is {self.ridge}; it must be at least 0.")
        if self.preset is None:
            return
        check_choice("preset", self.preset, tuple(PRESETS))
        own = [f.name for f in fields(self) if f.name in PRESETS[self.preset]]
        moved = [n for n in own if getattr(self, n) != getattr(type(self), n)]
        if moved:
            raise InputError(
                f"lime: preset={self.preset} sets {', '.join(moved)} itself; leave out one of them."
            )

    @property
    def label(self) -> str:  # type: ignore[override]
        """Title, with the settings that hold."""
        own = self.settings
        kernel = f"cosine, width {own.width:g}" if own.kernel == "cosine" else "no kernel"
        return f"LIME ({own.samples} samples, {kernel}, ridge {own.ridge:g}, {own.hidden})"

    @property
    def settings(self) -> Lime:
        """The method with the settings of its preset."""
        if self.preset is None:
            return self
        return replace(self, preset=None, **PRESETS[self.preset])

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where the masks do not determine w."""
        fits = [self.fit(batch, i) for i in range(len(batch))]
        return torch.stack([own.spread(fit.values) for own, fit in fits])

    def fit(self, batch: Batch, i: int) -> tuple[Game, Surrogate]:
        """The game of one sample, and its surrogate with standard errors."""
        own = self.settings
        absent = None
        if own.hidden == "mean":
            absent = segment_means(batch.x[i], players(own.features, batch, i))
        played = game(own.features, batch, i, absent)
        n = played.count
        if not n:
            return played, Surrogate(torch.zeros(0), torch.zeros(0), 0.0)
        exact = n <= MOST_ENUMERATED and 2**n <= own.samples
        present = all_subsets(n) if exact else self._masks(batch, i, n)
        weights = likeness(present, own.kernel, own.width)
        values = played.value(present)
        return played, surrogate(present, values, weights, ridge=own.ridge, drawn=not exact)

    def _masks(self, batch: Batch, i: int, n: int) -> Tensor:
        """Masks (N, n) in which each player is present with probability 1/2."""
        g = rng.generator(batch.seed, "lime", batch.sample_ids[i])
        masks = torch.randint(2, (self.settings.samples, n), generator=g).bool()
        if self.preset == "lime":
            masks[0] = True
        return masks


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
    total = torch.zeros(len(x) * features.count, dtype=torch.float64, device=x.device)
    size = total.scatter_add(0, own, torch.ones_like(own, dtype=torch.float64))
    total = total.scatter_add(0, own, x.flatten().to(torch.float64))
    return (total / size.clamp(min=1))[own].view(x.shape).to(x.dtype)
