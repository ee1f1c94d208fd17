"""`Data`: samples that are loaded one by one, with what baselines and reports need to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
        features: Name of the default features, "pixel" for images, "element" for tables.
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
            nobody did; None where there are no masks at all.
        active: Index to (*F) boolean, true where an element takes part in explanations; false for
            padding, special tokens and constant columns, which keep their value everywhere.  None
            where all elements take part.
        files: Index to the files that a sample is read from, its mask included: a run finds out
            when one of them changes, and evaluates that sample again.  None where samples come from
            no files, or nobody says which: then all files whose paths `load` and `mask` hold count
            for every sample.
    """

    name: str
    kind: Literal["image", "table", "text"]
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

    def __len__(self) -> int:
        return len(self.sample_ids)
