"""Localisation metrics: agreement of a map with annotated regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from scipy import ndimage
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.dataset import Data
from igbench.core.features import Features
from igbench.errors import InputError, NotDefinedError, check_choice
from igbench.metrics.base import BaseMetric
from igbench.metrics.similarity import ranks

UNDEFINED = "the sample has no mask, the mask is empty, or the map has no relevance to place"
TOLERANCE = 15
"""Pixels by which a maximum may miss the mask in the pointing game."""
MaskOf = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class Masked(BaseMetric):
    """Base of the localisation metrics: relevance of pixels inside and outside annotated regions.

    Relevance is that of pixels, the sum over their channels: its positive part, or its magnitude.
    Where the data have features of their own, such as the words of a text, it is theirs, and a mask
    is a boolean for each feature, (G,).
    The metric measures the agreement of model and map together with people, not faithfulness: a
    right map of a model that uses the background scores low.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W), None where there is none; or a function from a
            sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.
    """

    family = "localisation"
    direction = "higher"
    range = (0, 1)
    undefined = UNDEFINED
    label: ClassVar[str] = ""

    part: Literal["positive", "absolute"] = "positive"
    data: Data | None = field(default=None, repr=False, compare=False)
    masks: MaskOf | Tensor | Sequence[Tensor | None] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def unit(self) -> str:
        """Unit of the marks: pixels, or the features of data that have their own."""
        return "pixel" if self.data is None or self.data.groups is None else self.data.features

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"{self.label} ({self.part} part)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("part", self.part, ("positive", "absolute"))
        if self.masks is None and self.data is not None and self.data.mask is None:
            raise InputError(
                f"data {self.data.name!r} has no masks to compare maps with; leave this metric "
                "out, or give data with Data(mask=...)."
            )

    def for_samples(self, sample_ids: Sequence[str]) -> Self:
        """The same metric for N samples, with masks given in their order.

        Raises:
            InputError: There are not as many masks as samples.
        """
        if self.masks is None or callable(self.masks):
            return self
        if len(self.masks) != len(sample_ids):
            raise InputError(
                f"there are {len(self.masks)} masks for {len(sample_ids)} samples; give None where "
                "there is no mask."
            )
        return replace(self, masks=dict(zip(sample_ids, self.masks, strict=True)).get)

    def restricted(self, batch: Batch, i: int) -> Self:
        """The same metric where marks are of features; marks of pixels need whole samples.

        Raises:
            NotDefinedError: The samples have no features of their own.
        """
        if isinstance(batch.features, Tensor):
            return self.for_shape(batch.x.shape[1:])
        raise NotDefinedError(
            f"{self.title} compares whole samples with marks, and some elements of the sample "
            f"{batch.sample_ids[i]!r} take no part; leave the metric out, or active."
        )

    @property
    def sharing_key(self) -> object:
        """All localisation metrics of the same data share the masks."""
        return (Masked, id(self.data), id(self.masks))

    def observe(self, batch: Batch) -> list[Tensor | None]:
        """Masks of the samples, (H*W,) or (G,) boolean each; None where there is none or no mark.

        Raises:
            InputError: No masks were given, or one has another size than its sample.
        """
        shape = positions(batch)
        what = "features" if isinstance(batch.features, Tensor) else "pixels"
        found: list[Tensor | None] = []
        for sample_id in batch.sample_ids:
            mask = self._mask(sample_id)
            if mask is not None and tuple(mask.shape) != shape:
                raise InputError(
                    f"the mask of sample {sample_id!r} has shape {tuple(mask.shape)}, its {what} "
                    f"{shape}; they must match."
                )
            flat = None if mask is None else mask.bool().flatten().to(batch.x.device)
            found.append(flat if flat is not None and bool(flat.any()) else None)
        return found

    def _mask(self, sample_id: str) -> Tensor | None:
        if callable(self.masks):
            return self.masks(sample_id)
        if self.data is None or self.data.mask is None:
            raise NotDefinedError(
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
        features = units(batch)
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
            result[name] = Measurement(value, reason=self.undefined)
        return result

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Agreement of one sample.

        Args:
            relevance: (H*W,) or (G,), at least 0 everywhere and above somewhere.
            mask: Boolean of the same shape, true somewhere.
            batch: The batch of the sample.
            i: Its position.
        """
        raise NotImplementedError


def units(batch: Batch) -> Features:
    """What marks are of: the features that the data have, otherwise pixels."""
    own = batch.features if isinstance(batch.features, Tensor) else "pixel"
    return feature_units.resolve(own, tuple(batch.x.shape[1:]))


def positions(batch: Batch) -> tuple[int, ...]:
    """Shape of the marks: pixels of a sample without channels (a vector has one), or (G,)."""
    if isinstance(batch.features, Tensor):
        return (units(batch).count,)
    shape = tuple(batch.x.shape[1:])
    return shape[1:] or shape


@dataclass(frozen=True)
class PointingGame(Masked):
    """Pointing game: 1 if the maximum of the map is within `tolerance` of the mask, 0 if not.

    Relevance is that of pixels, the sum over their channels: its positive part, or its magnitude.
    The metric measures the agreement of model and map together with people, not faithfulness: a
    right map of a model that uses the background scores low.

    Distances are Euclidean, between centres of pixels.  Tied maxima count equally: the value is the
    share of them that hit, the expectation of drawing one.  The mean over samples is the paper's
    accuracy.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: Zhang et al. 2018, Top-down neural attention by excitation backprop, section 4.2.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W), None where there is none; or a function from a
            sample id to its mask.
        tolerance: In pixels, or in words of texts.  None: for images that of the paper, 15, whose
            images have a short side of some 224; 0 for all other samples.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.
        InputError: A negative tolerance.

    Example:
        The maximum, 4, is in the second row, which is annotated.

        >>> import torch
        >>> from igbench.metrics import pointing_game
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> mask = torch.tensor([[[False, False], [True, True]]])
        >>> pointing_game(lambda x: x.sum(dim=(1, 2, 3)), x, x, masks=mask, tolerance=0).tolist()
        [1.0]
    """

    name = "pointing_game"
    explains = "Is the largest value of the map on what people marked?"
    reference = "Zhang et al. 2018, section 4.2"

    image_defaults: ClassVar[Mapping[str, Any]] = {"tolerance": TOLERANCE}
    other_defaults: ClassVar[Mapping[str, Any]] = {"tolerance": 0}

    tolerance: float | None = None

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        far = TOLERANCE if self.tolerance is None else self.tolerance
        return f"Pointing game, {far:g} {self.unit}s ({self.part} part)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance is not None and self.tolerance < 0:
            raise InputError(f"tolerance is {self.tolerance}; it must not be negative.")

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the maxima that hit."""
        pixels = mask.view(positions(batch)).cpu().numpy()
        far = torch.from_numpy(ndimage.distance_transform_edt(~pixels)).flatten()
        first = (relevance == relevance.max()).cpu()
        tolerance = TOLERANCE if self.tolerance is None else self.tolerance
        return float((far[first] <= tolerance).double().mean())


@dataclass(frozen=True)
class RelevanceRank(Masked):
    """Relevance rank accuracy: |top K pixels on the mask| / K with K the size of the mask.

    Relevance is that of pixels, the sum over their channels: its positive part, or its magnitude.
    The metric measures the agreement of model and map together with people, not faithfulness: a
    right map of a model that uses the background scores low.

    A random order has the share of the mask in the image.  Where only some of several tied pixels
    are among the top K, they count equally: the value is the expectation over their orders.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: Arras, Osman and Samek 2022, section 3.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W), None where there is none; or a function from a
            sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.

    Example:
        The top two pixels are those of the second row; the second column is annotated.

        >>> import torch
        >>> from igbench.metrics import relevance_rank
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> mask = torch.tensor([[[False, True], [False, True]]])
        >>> relevance_rank(lambda x: x.sum(dim=(1, 2, 3)), x, x, masks=mask).tolist()
        [0.5]
    """

    name = "relevance_rank"
    explains = "How many of the top pixels are on what people marked?"
    reference = "Arras, Osman, Samek 2022, section 3"
    label = "Relevance rank accuracy"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the top pixels on the mask."""
        many = int(mask.sum())
        least = relevance.topk(many).values[-1]
        above, tied = relevance > least, relevance == least
        share = (many - int(above.sum())) / int(tied.sum())
        return (int(mask[above].sum()) + share * int(mask[tied].sum())) / many


@dataclass(frozen=True)
class RelevanceMass(Masked):
    """Relevance mass accuracy: relevance on the mask / relevance of the image.

    Relevance is that of pixels, the sum over their channels: its positive part, or its magnitude.
    The metric measures the agreement of model and map together with people, not faithfulness: a
    right map of a model that uses the background scores low.

    A constant map has the share of the mask in the image.  On mosaics, see `igbench.data.mosaic`,
    this is Focus (Arias-Duart et al. 2022) or the localisation score of the grid pointing game
    (Boehle et al. 2021).

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: Arras, Osman and Samek 2022, section 3.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W), None where there is none; or a function from a
            sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.

    Example:
        (3 + 4) of 10 are in the second row.

        >>> import torch
        >>> from igbench.metrics import relevance_mass
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).double()
        >>> mask = torch.tensor([[[False, False], [True, True]]])
        >>> relevance_mass(lambda x: x.sum(dim=(1, 2, 3)), x, x, masks=mask).tolist()
        [0.7]
    """

    name = "relevance_mass"
    explains = "How much of the map is on what people marked?"
    reference = "Arras, Osman, Samek 2022, section 3"
    label = "Relevance mass accuracy"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the relevance on the mask."""
        return min(1.0, float(relevance[mask].sum() / relevance.sum()))


@dataclass(frozen=True)
class LocalisationAuc(Masked):
    """Localisation AUC: share of pairs of a marked and an unmarked pixel that are in order.

    (R - m (m + 1) / 2) / (m u) with m marked and u unmarked pixels, and R the sum of the ranks of
    the relevance of the marked ones, ties averaged: the area under the receiver operating
    characteristic of relevance as a score of "is this pixel marked?" (Fawcett 2006).

    A random or constant map has 1/2 whatever the size of the mask, where the mass and the rank
    accuracy have the share of the mask in the image.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty or
    covers the image, or the map has no relevance.  Cost: no model rows.

    Source: Bylinskii et al. 2019, area under the ROC curve.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W), None where there is none; or a function from a
            sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.

    Example:
        Marked are 2 and 4, unmarked 1 and 3: 3 of 4 pairs are in order.

        >>> import torch
        >>> from igbench.metrics import localisation_auc
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).double()
        >>> mask = torch.tensor([[[False, True], [False, True]]])
        >>> localisation_auc(lambda x: x.sum(dim=(1, 2, 3)), x, x, masks=mask).tolist()
        [0.75]
    """

    name = "localisation_auc"
    explains = "Do marked pixels rank above unmarked ones?"
    reference = "Bylinskii et al. 2019, area under the ROC curve"
    label = "Localisation AUC"
    undefined = f"{UNDEFINED}, or the mask covers the image"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Share of the pairs of a marked and an unmarked pixel that are in order."""
        marked = int(mask.sum())
        pairs = marked * (len(mask) - marked)
        above = float(ranks(relevance)[mask].sum()) - marked * (marked + 1) / 2
        return above / pairs if pairs else math.nan
