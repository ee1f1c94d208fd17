"""`Data`: samples that are loaded one by one, with what baselines and reports need to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Data:
    """Samples that are loaded one by one, when they are needed.

    Attributes:
        name: Name in every table.
        kind: Decides which baselines and displays make sense.
        shape: *F, the shape of one sample.
        sample_ids: S identifiers, stable across runs; their order is the order of evaluation.
        labels: S true classes; None where unknown.
        load: Index to (*F) float32, ready for the model; raises `SampleError` with the reason.
        features: Name of the default features: "pixel" for images, "element" for vectors, and a
            word for what `groups` are where there are any ("token", "word", "column").
        display: (*F) to (H, W, 3) uint8, undoing the normalisation; None where not an image.
        black: Value of black (or of absence) in the space of the model, one for each channel.
        reference: Returns (R, *F) samples that are never evaluated: a pool for baselines; None
            where there are none.
        source: Where the samples come from, in words.
        white: Value of white in the space of the model, one for each channel; empty where there is
            none.
        reference_labels: Returns the R true classes of `reference()`, None where unknown; None
            where there are no references.
        mask: Index to (H, W) boolean, true where people marked what the sample shows, None where
            nobody did; None where there are no masks at all.  With `groups` a boolean for each
            feature, (G,): marked words of a text.
        active: Index to (*F) boolean, true where an element takes part in explanations; false for
            padding, special tokens and constant columns, which keep their value everywhere.  None
            where all elements take part.
        files: Index to the files that a sample is read from, its mask included: a run finds out
            when one of them changes, and evaluates that sample again.  None where samples come from
            no files, or nobody says which: then all files whose paths `load` and `mask` hold count
            for every sample.
        groups: Feature number 0..G-1 of every element: (*F) for all samples, or index to (*F),
            with -1 where an element belongs to no feature (special tokens, padding) and takes no
            part.  None where features are named.
        feature_names: Index to the G names of the features of a sample, in the order of their
            numbers: words of a text, columns of a table.  None where features are shown in place.
        feature_values: Index to the G values of the features of a sample, as people read them;
            None where names say all.
        feature_gaps: Index to the G + 1 texts before, between and after the features of a sample,
            as they stand in a text; None where spaces do.
        feature_rarity: Index to G numbers, larger where a feature of a sample is rarer in texts
            that are never explained; None where nothing is known.
        replacements: What may stand in place of removed features, by name: from a sample (*F) to
            (*F); for texts see `igbench.core.tokens.replacements`.
        still: (*F) boolean, true where an element is a mark and no quantity, such as whether a
            token is there: `replacements` may change it, noise and baselines never do.  None where
            all are quantities.
    """

    name: str
    kind: Literal["image", "table", "text", "series"]
    shape: tuple[int, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int | None, ...]
    load: Callable[[int], Tensor]
    features: str
    display: Callable[[Tensor], np.ndarray] | None
    black: tuple[float, ...]
    reference: Callable[[], Tensor] | None
    source: str
    white: tuple[float, ...] = ()
    reference_labels: Callable[[], Sequence[int | None]] | None = None
    mask: Callable[[int], Tensor | None] | None = None
    active: Callable[[int], Tensor] | None = None
    files: Callable[[int], Sequence[Path]] | None = None
    groups: Tensor | Callable[[int], Tensor] | None = None
    feature_names: Callable[[int], Sequence[str]] | None = None
    feature_values: Callable[[int], Sequence[float | str]] | None = None
    feature_gaps: Callable[[int], Sequence[str]] | None = None
    feature_rarity: Callable[[int], Sequence[float]] | None = None
    replacements: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    still: Tensor | None = None

    def features_of(self, index: int) -> str | Tensor:
        """Default features of a sample: their name, or the feature number of each element (*F)."""
        if self.groups is None:
            return self.features
        return self.groups if isinstance(self.groups, Tensor) else self.groups(index)

    def active_of(self, index: int) -> Tensor | None:
        """Which elements of a sample take part, (*F) boolean; None where all do."""
        if self.active is not None:
            return self.active(index)
        if self.groups is None or isinstance(self.groups, Tensor):
            return None
        return self.groups(index) >= 0

    def __len__(self) -> int:
        return len(self.sample_ids)

    def only(self, index: int) -> Data:
        """The data with one sample alone."""

        def of(function: Any) -> Any:
            return partial(_at, function, index) if callable(function) else function

        indexed = (
            "load", "mask", "active", "files", "groups", "feature_names", "feature_values",
            "feature_gaps", "feature_rarity",
        )  # fmt: skip
        own = {name: of(getattr(self, name)) for name in indexed}
        part = slice(index, index + 1)
        return replace(self, sample_ids=self.sample_ids[part], labels=self.labels[part], **own)


def _at(function: Callable[[int], Any], index: int, _: int) -> Any:
    """What a function of the number of a sample returns for one, whatever it is asked for."""
    return function(index)
