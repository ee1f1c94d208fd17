"""Changed inputs near a sample, and the change of the map there; shared by robustness metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Method, attribute
from igbench.core.outputs import repeat_target
from igbench.core.returned import check_map
from igbench.errors import check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.reexplain import method_of
from igbench.metrics.robustness.embeddings import median_norm, swaps

NO_SCALE = "the map is zero or not finite, or so is that of a changed input"


@dataclass(frozen=True)
class Neighbourhood(BaseMetric):
    """Base of the metrics of random inputs near x, the same inputs for all methods.

    The draws of a sample come one after the other from one stream, so the first D of a larger
    number are the same ones: a maximum over draws never falls when D rises, and it is a lower bound
    of the maximum over the ball.  Compare only values of equal `draws`, `radius`, `ball` and
    `noise`.

    Args:
        radius: Radius r of the ball, in units of `scale`.
        draws: Number D of changed inputs for each sample.
        ball: "linf" (every element changes by at most r) or "l2" (Euclidean norm of at most r).
        noise: "uniform" in the ball, or "extremes": its corners (every element by +r or -r, with
            equal odds) or, for "l2", its surface.  Where a map is locally affine its largest change
            is at an extreme point, so "extremes" is the tighter bound for the same cost.  Or
            "synonym" for texts: one token becomes one of its nearest, both drawn at random.
        scale: Unit of the radius: "input", 1 in units of the model's input; or "row", the median
            norm of the word embeddings of a model of texts.  None: "row" for texts.
        neighbours: Number of nearest embeddings among which "synonym" draws.

    Raises:
        InputError: A radius or a number of draws that is not above zero, an unknown ball or noise,
            or no method to explain with.
        NotDefinedError: "row" or "synonym" with a model that has no word embeddings.
    """

    foldable = True
    family = "robustness"
    needs_method = True
    direction = "lower"
    range = (0, math.inf)
    unit = "element"
    undefined = NO_SCALE
    image_defaults: ClassVar[Mapping[str, Any]] = {"scale": "input"}
    other_defaults: ClassVar[Mapping[str, Any]] = {"scale": "input"}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"text": {"scale": "row"}}

    radius: float = 0.02
    draws: int = 10
    ball: Literal["linf", "l2"] = "linf"
    noise: Literal["uniform", "extremes", "synonym"] = "uniform"
    scale: Literal["input", "row"] | None = None
    neighbours: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("radius", self.radius)
        check_positive("draws", self.draws)
        check_choice("ball", self.ball, ("linf", "l2"))
        check_choice("noise", self.noise, ("uniform", "extremes", "synonym"))
        check_positive("neighbours", self.neighbours)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same neighbours share the maps of these."""
        return self._plain()

    def _plain(self) -> Neighbourhood:
        return Neighbourhood(
            self.radius, self.draws, self.ball, self.noise, self.scale, self.neighbours
        )

    def observe(self, batch: Batch) -> Responses:
        """Empty store of changes; neighbours are explained on first use, once for each method."""
        return Responses(batch, self._plain())

    def deltas(self, batch: Batch, i: int) -> Tensor:
        """Changes of one sample, (D, *F) in the dtype of the input; marks stay as they are.

        Raises:
            NotDefinedError: The model has no word embeddings, and they are asked for.
        """
        g = rng.generator(batch.metric_seed, "neighbours", batch.sample_ids[i])
        if self.noise == "synonym":
            return swaps(batch, i, self.draws, self.neighbours, g)
        unit = median_norm(batch) if self.scale == "row" else 1.0
        shape = batch.x.shape[1:]
        made = [
            perturb.drawn(lambda size: self._delta(size, g), shape, batch.still)
            for _ in range(self.draws)
        ]
        return (unit * torch.stack(made)).to(batch.x)

    def _delta(self, shape: torch.Size, g: torch.Generator) -> Tensor:
        if self.ball == "linf":
            unit = 2 * torch.rand(shape, generator=g, dtype=torch.float64) - 1
            return self.radius * (unit if self.noise == "uniform" else torch.sign(unit))
        normal = torch.randn(shape, generator=g, dtype=torch.float64)
        share = float(torch.rand((), generator=g, dtype=torch.float64)) ** (1 / normal.numel())
        length = self.radius * (share if self.noise == "uniform" else 1.0)
        return length * normal / normal.norm()

    def describe(self) -> str:
        """Short description of the neighbourhood, for titles."""
        if self.noise == "synonym":
            return f"one token to one of its {self.neighbours} nearest, {self.draws} draws"
        unit = " of the median norm of embeddings" if self.scale == "row" else ""
        return f"{self.ball} ball, r = {self.radius:g}{unit}, {self.draws} draws, {self.noise}"


@dataclass(frozen=True)
class Responses:
    """Changes of the maps of one batch, computed once for each method.

    Attributes:
        batch: The samples.
        neighbourhood: Where the changed inputs lie.
        known: Changes so far, by method.
    """

    batch: Batch
    neighbourhood: Neighbourhood
    known: dict[str, Tensor] = field(default_factory=dict)

    def changes(self, name: str, attribution: Attribution) -> Tensor:
        """|phi(x + delta) - phi(x)|_2 for every draw, (N, D) float64; NaN for maps of zeros.

        Args:
            name: Name of the method.
            attribution: Its maps, and itself.

        Raises:
            InputError: The map was given without its method.
        """
        if name not in self.known:
            method = method_of(name, attribution)
            self.known[name] = torch.stack(
                [
                    moves(
                        self.batch,
                        i,
                        self.batch.x[i] + self.neighbourhood.deltas(self.batch, i),
                        attribution.values[i],
                        method,
                    )
                    for i in range(len(self.batch))
                ]
            )
        return self.known[name]

    def distances(self) -> Tensor:
        """|delta|_2 for every draw, (N, D) float64."""
        found = []
        for i in range(len(self.batch)):
            # What the input really moved by: adding rounds delta to the spacing of x.
            moved = self.batch.x[i] + self.neighbourhood.deltas(self.batch, i) - self.batch.x[i]
            found.append(moved.flatten(1).double().norm(dim=1))
        return torch.stack(found)


def sizes(batch: Batch, attribution: Attribution) -> Tensor:
    """Norm |phi(x)|_2 of every map by feature, (N,) float64; NaN for a map of zeros."""
    norms = batch.per_feature(attribution.values).norm(dim=1)
    return norms.where(norms > 0, math.nan)


def moves(batch: Batch, i: int, inputs: Tensor, clean: Tensor, method: Method) -> Tensor:
    """Changes |phi(changed x) - phi(x)|_2 for D versions of one sample, (D,) float64.

    A clean map that is zero or not finite is not explained again: NaN.

    Args:
        batch: The batch of the sample.
        i: Its position.
        inputs: (D, *F) its changed versions.
        clean: (*F) its map.
        method: The method that made the map.

    Raises:
        InputError: A new map is not what a map has to be.
    """
    if not bool(torch.isfinite(clean).all()) or not bool((clean != 0).any()):
        return torch.full((len(inputs),), math.nan, dtype=torch.float64, device=inputs.device)
    maps = attribute(method, copies(batch, i, inputs))
    check_map(maps, inputs, "the attribution of changed inputs")
    return batch.per_feature(maps - clean).norm(dim=1)


def copies(batch: Batch, i: int, inputs: Tensor) -> Batch:
    """Changed versions of one sample as a batch.

    Target and baseline are those of the sample.  So is the identifier: a method that draws at
    random gets the same numbers for every version as for the clean sample, so only the input
    changes the map.

    Args:
        batch: The batch of the sample.
        i: Its position.
        inputs: (D, *F).
    """
    return replace(
        batch,
        x=inputs,
        baseline=batch.baseline[i : i + 1].expand_as(inputs),
        target=repeat_target(batch.target_of(i), len(inputs)),
        sample_ids=(batch.sample_ids[i],) * len(inputs),
        replacements={n: f[i : i + 1].expand_as(inputs) for n, f in batch.replacements.items()},
    )
