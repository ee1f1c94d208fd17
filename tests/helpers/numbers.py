"""Texts whose words are numbers, and models that add them up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.tokens import Encoded, TokenModel
from igbench.data.texts import texts_data

ROWS = torch.arange(-32.0, 33.0)
"""Embeddings of one column: the number itself."""


class NumberEncoder:
    """Splits at spaces; a word is worth what it says.  Every text begins with a special 0."""

    width, context = 1, 0

    @property
    def special_rows(self) -> Mapping[str, Tensor]:
        return {"mask": torch.tensor([-1.0]), "pad": torch.tensor([0.5])}

    def encode(self, text: str) -> Encoded:
        words = [(int(m.group()), m.span()) for m in re.finditer(r"\S+", text)]
        ids = torch.tensor([32, *[32 + n for n, _ in words]])
        special = torch.tensor([True, *[False] * len(words)])
        return Encoded(text, ids, special, ((0, 0), *(span for _, span in words)))

    def embed(self, ids: Tensor) -> Tensor:
        return ROWS[ids][:, None]


class Adder(TokenModel):
    """A function of the sum of the visible numbers: (N,) to (N,) or (N, K)."""

    def __init__(self, readout: Callable[[Tensor], Tensor]) -> None:
        super().__init__(1)
        self.function = readout

    @property
    def table(self) -> Tensor:
        return ROWS[:, None]

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        return self.function((embeddings[..., 0] * visible).sum(dim=1))


def adder(readout: Callable[[Tensor], Tensor] = lambda total: total) -> Model:
    """The sum, or a function of it, as an igbench model."""
    module = Adder(readout).eval()
    return Model("adder", module, (), "", "0" * 64, "closed form", text=NumberEncoder())


def two_classes(total: Tensor) -> Tensor:
    """Logits (z, 0) for a sum z."""
    return torch.stack([total, torch.zeros_like(total)], dim=1)


def data(*texts: str, model: Model | None = None) -> Data:
    """Texts of numbers."""
    return texts_data(
        "numbers",
        model or adder(),
        texts,
        sample_ids=[f"text-{i}" for i in range(len(texts))],
        labels=[None] * len(texts),
        source="closed form",
    )
