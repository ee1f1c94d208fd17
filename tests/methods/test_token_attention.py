"""Attention methods on texts: two layers by hand, and what transformers itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from igbench import evaluate
from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.core.token_attention import token_attentions
from igbench.core.tokens import HIDDEN, TokenModel, packed
from igbench.errors import NotDefinedError
from igbench.methods import AttentionRollout, Chefer
from igbench.methods.attention import relevance, rollout
from tests.helpers import classifiers, words

FIRST = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
LAST = torch.tensor([[0.4, 0.6, 0], [0.3, 0.3, 0.4], [0, 0.5, 0.5]], dtype=torch.float64)
ROWS = torch.tensor([[1.0, 2.0], [0.0, 1.0], [-1.0, 3.0]], dtype=torch.float64)
READ = {
    "first": torch.tensor([1.0, 0, 0], dtype=torch.float64),
    "last": torch.tensor([0, 0, 1.0], dtype=torch.float64),
    "mean": torch.full((3,), 1 / 3, dtype=torch.float64),
}


class TwoLayers(TokenModel):
    """Attention FIRST and then LAST whatever the tokens are; the sum of the columns is read."""

    def __init__(self, readout: Any) -> None:
        super().__init__(2)
        self.readout = readout

    def run(self, embeddings, visible, context):
        states = embeddings
        for matrix in (FIRST, LAST):
            nothing = 0 * states.sum()  # attention is a function of the tokens
            logits = matrix.log().expand(len(states), 1, 3, 3) + nothing
            states = (logits.softmax(dim=-1) @ states[:, None])[:, 0]
        return torch.einsum("t,nte->n", READ[str(self.readout)], states)


def batch(net: TokenModel, *rows: Tensor, target: Tensor | None = None) -> Batch:
    x = torch.stack(rows)
    ids = tuple(f"s{i}" for i in range(len(x)))
    return Batch(Score(net.eval()), x, torch.zeros_like(x), target, ids)


@pytest.mark.parametrize("readout", list(READ))
def test_two_layers_by_hand(readout):
    x = packed(ROWS, 5)
    own = batch(TwoLayers(readout), x, x * torch.tensor([2.0, 2.0, 1.0]))
    found = AttentionRollout()(own)
    half = [(torch.eye(3, dtype=torch.float64) + a) / 2 for a in (FIRST, LAST)]
    expected = READ[readout] @ half[1] @ half[0]
    if readout == "first":
        assert expected.tolist() == pytest.approx([0.555, 0.3275, 0.1175])
    for i in range(2):
        assert found[i].sum(dim=1)[:3].tolist() == pytest.approx(expected.tolist())
    assert found[:, 3:].abs().max() == found[..., 2].abs().max() == 0
    assert found[0, 0].tolist() == pytest.approx([float(expected[0]) / 2] * 2 + [0])


@pytest.mark.parametrize("readout", list(READ))
def test_relevance_of_two_layers_by_hand(readout):
    """f = r A2 A1 X 1: its gradient by A2 is r (A1 X 1)^T, by A1 (r A2)^T (X 1)^T."""
    found = Chefer()(batch(TwoLayers(readout), packed(ROWS, 3)))
    r, one = READ[readout], torch.eye(3, dtype=torch.float64)
    total = ROWS.sum(dim=1)
    by_last, by_first = torch.outer(r, FIRST @ total), torch.outer(r @ LAST, total)
    layers = [(FIRST * by_first).relu(), (LAST * by_last).relu()]
    expected = r @ (one + layers[1]) @ (one + layers[0])
    assert found[0].sum(dim=1).tolist() == pytest.approx(expected.tolist())


def test_what_is_hidden_is_not_read():
    x = packed(ROWS, 3)
    x[2, 2] = HIDDEN
    for readout, rows in (("last", [0, 1, 0]), ("mean", [0.5, 0.5, 0])):
        found = token_attentions(Score(TwoLayers(readout).eval()), x[None], None, "")
        assert found.rows.tolist() == rows


def given(family: str, text: str) -> tuple[Any, Tensor, Any, Tensor]:
    """A model, a packed text with places behind it, what transformers gives, and the rows read."""
    pytest.importorskip("transformers")
    from igbench.models.hf_text import wrapped

    model = wrapped(classifiers.classifier(family), classifiers.tokenizer(family))
    encoded = model.text.encode(text)
    x = packed(model.text.embed(encoded.ids), len(encoded.ids) + 2)
    out = classifiers.classifier(family)(input_ids=encoded.ids[None], output_attentions=True)
    rows = torch.zeros(len(encoded.ids))
    rows[-1 if family in ("gpt2", "llama") else 0] = 1
    return model, x, out, rows


@pytest.mark.parametrize("family", classifiers.FAMILIES)
def test_transformers_gives_the_same_attention(family):
    model, x, out, rows = given(family, "don't watch it")
    last = torch.autograd.grad(out.logits[0, 2], out.attentions[-1], retain_graph=True)[0]
    read = last.abs().sum(dim=(0, 1, 3)) > 1e-9
    assert read.tolist() == (rows > 0).tolist()  # the output depends on the row that is read alone
    maps = [a.detach().mean(dim=1) for a in out.attentions]
    found = AttentionRollout()(batch(model.module, x, target=torch.tensor([2])))[0]
    n = len(rows)
    torch.testing.assert_close(found[:n].sum(dim=1), rows @ rollout(maps)[0], atol=1e-6, rtol=1e-5)
    gradients = torch.autograd.grad(out.logits[0, 2], out.attentions)
    layers = [
        (a * g).relu().mean(dim=1).detach() for a, g in zip(out.attentions, gradients, strict=True)
    ]
    found = Chefer()(batch(model.module, x, target=torch.tensor([2])))[0]
    torch.testing.assert_close(
        found[:n].sum(dim=1), rows @ relevance(layers)[0], atol=1e-6, rtol=1e-5
    )
    assert found[n:].abs().max() == 0


def test_attention_in_an_evaluation_of_texts():
    model, *_ = given("roberta", "good")
    found = evaluate(
        model, ["the movie was bad", "good"], methods=["attention_rollout", "chefer"],
        metrics=["sparseness"],
    )  # fmt: skip
    maps = found.results.maps
    assert [len(m) for m in maps["chefer"].values()] == [4, 1]
    assert all((m > 0).all() for m in maps["attention_rollout"].values())
    assert 0 < maps["attention_rollout"]["sample-00000"].sum() < 1  # without the special tokens


def test_models_without_attention_say_so():
    for method in (AttentionRollout(), Chefer()):
        with pytest.raises(NotDefinedError, match="says which token its output reads"):
            method(batch(words.Bag(), packed(ROWS.float(), 3)))
    silent = words.Bag()
    silent.readout = "first"
    with pytest.raises(NotDefinedError, match="needs attention among all 3 tokens"):
        AttentionRollout()(batch(silent, packed(ROWS.float(), 3)))
