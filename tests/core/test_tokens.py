"""Texts as tensors: removal in place, hidden and closed up, whatever the neighbours."""

from __future__ import annotations

import pytest
import torch

from igbench.core.tokens import DELETED, HIDDEN, TokenModel, marked, packed, word_numbers
from igbench.errors import InputError
from tests.helpers.words import Bag


class Convolution(TokenModel):
    """Kernel (1, 2, -1) with zeros at both ends, ReLU, sum: tokens of width 1."""

    def __init__(self) -> None:
        super().__init__(1)

    def run(self, embeddings, visible, context):
        x = (embeddings[..., 0] * visible)[:, None]
        kernel = x.new_tensor([[[1.0, 2.0, -1.0]]])
        return torch.nn.functional.conv1d(x, kernel, padding=1).relu().sum(dim=(1, 2))


def test_padding_of_the_tensor_is_no_part_of_the_text():
    model, tokens = Convolution(), torch.tensor([[1.0], [-2.0], [3.0]])
    for length in (3, 5, 9):
        assert model(packed(tokens, length)[None]).item() == 8.0


def test_tokens_are_deleted_hidden_and_replaced():
    model, x = Convolution(), packed(torch.tensor([[1.0], [-2.0], [3.0]]), 5)
    drops = {}
    for mark in (HIDDEN, DELETED):
        gone = marked(x, 1, mark)
        rows = torch.stack([torch.where(torch.arange(5)[:, None] == i, gone, x) for i in range(3)])
        drops[mark] = (8 - model(rows)).tolist()
    assert drops[DELETED] == [4.0, 1.0, 4.0]
    assert drops[HIDDEN] == [2.0, 0.0, 4.0]  # as zero in place


def test_rows_of_several_lengths_are_evaluated_as_they_are_alone():
    model, x = Convolution().double(), torch.randn(6, 7, 2, dtype=torch.float64)
    x[..., 1] = torch.tensor([0, 0, 0, HIDDEN, 0, DELETED, DELETED])
    x[2, :3, 1], x[4, 6, 1] = DELETED, 0
    together = model(x)
    assert torch.equal(together, torch.cat([model(row[None]) for row in x]))
    assert torch.equal(model(x.flip(0)), together.flip(0))


def test_gradients_reach_embeddings_alone():
    x = packed(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), 3)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(Bag()(x).sum(), x)
    assert gradient[0].tolist() == [[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]


def test_other_rows_are_refused():
    with pytest.raises(InputError, match="expected tokens by 2 embeddings"):
        Bag()(torch.zeros(1, 4, 2))


@pytest.mark.parametrize(
    ("text", "spans", "numbers"),
    [
        ("not good", [(0, 3), (3, 8)], [0, 1]),  # byte-level BPE: the space is the token's
        ("don't stop!", [(0, 3), (3, 4), (4, 5), (6, 10), (10, 11)], [0, 0, 0, 1, 2]),
        ("“so...”", [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7)], [0, 1, 2, 3, 4, 5]),
        ("été 👩‍🚀", [(0, 3), (4, 7), (4, 7)], [0, 1, 1]),
        ("...", [(0, 3)], [0]),
        ("a  b \n", [(0, 1), (1, 2), (2, 4), (4, 5), (5, 6)], [0, 1, 1, 1, 1]),  # spaces as tokens
        (" ", [(0, 1)], [0]),
    ],
)
def test_words_are_what_stands_between_white_space(text, spans, numbers):
    assert word_numbers(text, spans, torch.zeros(len(spans), dtype=torch.bool)) == numbers
