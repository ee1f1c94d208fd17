"""The 8 x 8 digits of scikit-learn, with a fixed split for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.errors import InputError, check_positive

SPLIT_SEED = 0
HELD_OUT = 0.2
"""Share of each class that is never trained on."""

POOL = 64
"""Number of training digits that baselines may use."""

ENLARGED = 8
"""Side of the square that displays one pixel."""


@dataclass(frozen=True, eq=False)
class Digits:
    """All digits and the split.

    Attributes:
        images: (1797, 1, 8, 8) float32 in [0, 1], 0 is background.
        labels: (1797,) int64 in 0..9.
        train: Indices to train on.
        held_out: Indices to evaluate, a fifth of every class.
    """

    images: Tensor
    labels: Tensor
    train: tuple[int, ...]
    held_out: tuple[int, ...]


def digit_id(index: int) -> str:
    """Identifier of the digit at `index` of scikit-learn's data set."""
    return f"digit-{index:04d}"


def load_split() -> Digits:
    """The digits, scaled by 1/16, with their fixed split.

    Both parts are in a fixed random order, so that their first n are a fair sample for every n.
    The order depends on the identifiers alone, not on a library's shuffling.
    """
    bunch = load_digits()
    images = torch.from_numpy(bunch.images / 16).float().unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    order = sorted(
        range(len(labels)), key=lambda i: rng.key(SPLIT_SEED, "digits split", digit_id(i))
    )
    held_out: set[int] = set()
    known = labels.tolist()
    for k in range(10):
        members = [i for i in order if known[i] == k]
        held_out.update(members[: round(HELD_OUT * len(members))])
    return Digits(
        images=images,
        labels=labels,
        train=tuple(i for i in order if i not in held_out),
        held_out=tuple(i for i in order if i in held_out),
    )


@checked
def digits(model: Model, *, limit: int | None) -> Data:
    """The held-out digits, (1, 8, 8) in [0, 1].

    Args:
        model: Must take digits: ten classes and no preprocessing of photographs.
        limit: Number of samples; None for all.

    Raises:
        InputError: The model does not fit, or the limit is not above zero.

    Source: Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (test part),
    in scikit-learn.
    """
    if model.preprocess is not None or len(model.class_names) != 10:
        raise InputError(
            f"model {model.name!r} does not take digits (1 x 8 x 8, 10 classes); choose "
            "model=digits_resnet, or data=photographs for this model."
        )
    if limit is not None:
        check_positive("limit", limit)
    split = load_split()
    chosen = list(split.held_out[:limit])
    return Data(
        name="digits",
        kind="image",
        shape=(1, 8, 8),
        sample_ids=tuple(digit_id(i) for i in chosen),
        labels=tuple(split.labels[chosen].tolist()),
        load=_Pick(split.images[chosen]),
        features="pixel",
        display=display,
        black=(0.0,),
        reference=partial(torch.clone, split.images[list(split.train[:POOL])]),
        source="scikit-learn digits (UCI Optical Recognition of Handwritten Digits), held out",
        white=(1.0,),
        reference_labels=split.labels[list(split.train[:POOL])].tolist,
    )


def display(x: Tensor) -> np.ndarray:
    """Enlarge (1, 8, 8) in [0, 1] to a grey (64, 64, 3) uint8; every pixel becomes a square."""
    grey = (x[0].detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    large = np.kron(grey, np.ones((ENLARGED, ENLARGED), dtype=np.uint8))
    return np.repeat(large[:, :, None], 3, axis=2)


@dataclass(frozen=True, eq=False)
class _Pick:
    """One row, as a copy."""

    images: Tensor

    def __call__(self, index: int) -> Tensor:
        return self.images[index].clone()
