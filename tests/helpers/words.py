"""Models of texts with known answers, and a tokenizer that splits at spaces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.tokens import Encoded, TokenModel
from igbench.data.texts import Unit, texts_data

VOCABULARY = ("[CLS]", "[MASK]", "[PAD]", "[UNK]", "good", "movie", "bad", "not")
ROWS = torch.tensor(
    [[0.0, 0.0], [0.5, -0.5], [0.0, 0.0], [0.0, 0.0], [2.0, 1.0], [1.0, 0.0], [-1.0, -2.0],
     [0.0, -1.0]]
)  # fmt: skip
"""Embeddings of two columns: with w = (1, 2) "good" is worth 4, "movie" 1, "bad" -5."""


class SpaceEncoder:
    """Splits at spaces; every text begins with [CLS], which is special."""

    width, context = 2, 0

    @property
    def special_rows(self) -> Mapping[str, Tensor]:
        return {"mask": ROWS[1], "pad": ROWS[2], "unk": ROWS[3], "mean": ROWS.mean(dim=0)}

    def encode(self, text: str) -> Encoded:
        words = [(m.group(), m.span()) for m in re.finditer(r"\S+", text)]
        ids = [VOCABULARY.index(w) if w in VOCABULARY else 3 for w, _ in words]
        special = torch.tensor([True, *[False] * len(words)])
        return Encoded(text, torch.tensor([0, *ids]), special, ((0, 0), *(s for _, s in words)))

    def embed(self, ids: Tensor) -> Tensor:
        return ROWS[ids]


class Bag(TokenModel):
    """f = w . (sum or mean of the visible embeddings) + b, with w = (1, 2), b = 0.5.

    The mean is over the visible tokens without [CLS].
    """

    def __init__(self, pooling: str = "sum") -> None:
        super().__init__(2)
        self.pooling = pooling
        self.register_buffer("rows", ROWS.clone())
        self.register_buffer("weight", torch.tensor([1.0, 2.0]))

    @property
    def table(self) -> Tensor:
        return self.get_buffer("rows")

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        scores = embeddings @ self.get_buffer("weight").to(embeddings.dtype) * visible
        total = scores.sum(dim=1)
        if self.pooling == "mean":
            total = total / (visible.sum(dim=1) - 1)
        return total + 0.5


def bag(pooling: str = "sum") -> Model:
    """The bag as an igbench model."""
    return Model("bag", Bag(pooling).eval(), (), "", "0" * 64, "closed form", text=SpaceEncoder())


def data(
    *texts: str, model: Model | None = None, unit: Unit = "word", references: Sequence[str] = ()
) -> Data:
    """Texts of words for the bag."""
    return texts_data(
        "texts",
        model or bag(),
        texts,
        sample_ids=[f"text-{i}" for i in range(len(texts))],
        labels=[None] * len(texts),
        source="closed form",
        unit=unit,
        references=references,
    )
