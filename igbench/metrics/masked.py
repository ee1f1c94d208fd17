"""How does a map agree with what people marked?  What the metrics with masks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from igbench import checks
from igbench import features as feature_units
from igbench.rows import MetricSpec
from igbench.sources import Data
from igbench.types import Attribution, Batch, Measurement

UNDEFINED = "the sample has no mask, the mask is empty, or the map has no relevance to place"
MaskOf = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class Masked:
    """Metrics of where the relevance lies: on what people marked, or elsewhere.

    They measure agreement of model and map together with people, not faithfulness: a right map of a
    model that looks at the background scores low.

    Relevance is that of pixels, the sum over their channels: its positive part, or its magnitude.

    Args:
        part: "positive" or "absolute".
        data: Whose `mask` says what is marked; an experiment gives its own.
        masks: Instead of that, from a sample id to a mask (H, W), or None.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.
    """

    part: Literal["positive", "absolute"] = "positive"
    data: Data | None = field(default=None, repr=False, compare=False)
    masks: MaskOf | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.known_name("part", self.part, ("positive", "absolute"))
        if self.masks is None and self.data is not None and self.data.mask is None:
            raise checks.InputError(
                f"data {self.data.name!r} has no masks to compare maps with; leave this metric "
                "out, or give data with Data(mask=...)."
            )

    @property
    def observation_key(self) -> object:
        """They all look at the same masks."""
        return (Masked, id(self.data), id(self.masks))

    def observe(self, batch: Batch) -> list[Tensor | None]:
        """Masks of the samples, (H*W,) boolean each; None where there is none or it is empty."""
        shape = tuple(batch.x.shape[2:] if batch.x.dim() > 2 else batch.x.shape[1:])
        found: list[Tensor | None] = []
        for sample_id in batch.sample_ids:
            mask = self._mask(sample_id)
            if mask is not None and tuple(mask.shape) != shape:
                raise checks.InputError(
                    f"the mask of sample {sample_id!r} has shape {tuple(mask.shape)}, its pixels "
                    f"{shape}; they must match."
                )
            flat = None if mask is None else mask.bool().flatten().to(batch.x.device)
            found.append(flat if flat is not None and bool(flat.any()) else None)
        return found

    def _mask(self, sample_id: str) -> Tensor | None:
        if self.masks is not None:
            return self.masks(sample_id)
        if self.data is None or self.data.mask is None:
            raise checks.InputError(
                "this metric compares maps with masks; give masks= to the function, or data with "
                "Data(mask=...)."
            )
        return self.data.mask(self.data.sample_ids.index(sample_id))

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: list[Tensor | None],
    ) -> dict[str, Measurement]:
        """Agreement of every attribution."""
        features = feature_units.resolve("pixel", tuple(batch.x.shape[1:]))
        result = {}
        for name, attribution in attributions.items():
            sums = feature_units.total(attribution.values, features)
            relevance = sums.clamp(min=0) if self.part == "positive" else sums.abs()
            usable = torch.isfinite(sums).all(dim=1)
            values = [
                math.nan
                if mask is None or not bool(usable[i]) or not bool(own.any())
                else self.of(own, mask, batch, i)
                for i, (own, mask) in enumerate(zip(relevance, observation, strict=True))
            ]
            value = torch.tensor(values, dtype=torch.float64, device=sums.device)
            result[name] = Measurement(value, reason=UNDEFINED)
        return result

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Agreement of one sample.

        Args:
            relevance: (H*W,) at least 0 everywhere and above somewhere.
            mask: (H*W,) boolean, true somewhere.
            batch: Where the sample is from.
            i: Its position.
        """
        raise NotImplementedError

    def definition(self, title: str, reference: str) -> MetricSpec:
        """The definition of a metric with masks."""
        return MetricSpec(
            f"{title} ({self.part} part)",
            "higher",
            0,
            1,
            1,
            reference,
            unit="pixel",
            undefined=UNDEFINED,
            min_effect=0.01,
        )
