"""What several tests of sources share."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from igbench.core.model import Model, Preprocess


@contextmanager
def same_rng() -> Iterator[None]:
    """Fail if the body changes the global generators of torch, numpy or Python."""
    before: Any = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    after: Any = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1][0] == after[1][0]
    assert np.array_equal(before[1][1], after[1][1])
    assert before[1][2:] == after[1][2:]
    assert before[2] == after[2]


IMAGENET = tuple(_IMAGENET_CATEGORIES)
TINY = Preprocess(8, 6, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


def toy_model(names: tuple[str, ...] = IMAGENET, preprocess: Preprocess | None = TINY) -> Model:
    """A model that returns its input, flattened."""
    return Model("toy", nn.Flatten().eval(), names, "", "", "", preprocess)


def picture(path: Path, colour: tuple[int, int, int] = (10, 20, 30)) -> Path:
    """A small lossless image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path)
    return path
