"""Language models with known answers, and their prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.prompts import CONTEXT
from igbench.core.tokens import Encoded
from igbench.data.prompts import Prompt, prompts_data
from igbench.models.causal import CausalModel, behind

VOCABULARY = ("<s>", "the", "cat", "cats", "is", "are", "here", "not")
ROWS = torch.tensor(
    [
        [0.0, 0.0],
        [0.5, 0.5],
        [2.0, 0.0],
        [0.0, 3.0],
        [1.0, 0.0],
        [0.0, 1.0],
        [0.5, 0.0],
        [-1.0, 1.0],
    ]
)
"""Embeddings: evidence for "is" and for "are"."""


class Counts(nn.Module):
    """Logits z = W sum of the visible embeddings so far, W = 1 for "is" and "are", else 0."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, ...]] = []

    @property
    def table(self) -> Tensor:
        return ROWS

    def forward(self, embeddings: Tensor, visible: Tensor, keep: Tensor) -> Tensor:
        self.calls.append((*embeddings.shape[:2], len(keep)))
        sums = (embeddings * visible[..., None]).cumsum(dim=1)[:, keep]
        logits = embeddings.new_zeros(*sums.shape[:2], len(VOCABULARY))
        logits[..., 4:6] = sums
        return logits


class WordEncoder:
    """Splits at spaces; every prompt begins with <s>."""

    width, context, longest = 2, CONTEXT, 8

    @property
    def special_rows(self) -> Mapping[str, Tensor]:
        return {"mean": ROWS.mean(dim=0)}

    def encode(self, text: str) -> Encoded:
        return behind(0, self.continuation(text))

    def continuation(self, text: str) -> Encoded:
        found = list(re.finditer(r"\S+", text))
        ids = torch.tensor([VOCABULARY.index(m.group()) for m in found], dtype=torch.long)
        special = torch.zeros(len(ids), dtype=torch.bool)
        return Encoded(text, ids, special, tuple(m.span() for m in found))

    def embed(self, ids: Tensor) -> Tensor:
        return ROWS[ids]


def counts(mean: bool = False) -> Model:
    """The counting model as an igbench model."""
    module = CausalModel(Counts(), mean=mean).eval()
    return Model(
        "counts", module, ("continuation",), "", "0" * 64, "closed form", text=WordEncoder()
    )


def data(*prompts: Prompt, model: Model | None = None, **arguments: Any) -> Data:
    """Prompts of words for the counting model."""
    return prompts_data(
        "prompts",
        model or counts(),
        prompts,
        sample_ids=[f"prompt-{i}" for i in range(len(prompts))],
        source="closed form",
        **arguments,
    )
