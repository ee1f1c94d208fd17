"""The small GPT: the same weights from the same recipe, kept in a cache, and a language model."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest
import torch

from igbench import evaluate
from igbench.core.score import Score
from igbench.core.tokens import HIDDEN
from igbench.data.next_token import next_token
from igbench.data.tweets import load_split
from igbench.errors import InputError
from igbench.models import text_gpt as module
from igbench.models.text_gpt import FIRST, Recipe, encoded, perplexity, train
from tests.helpers.toy import same_rng

TINY = Recipe(vocabulary=300, width=16, layers=2, heads=2, longest=400, steps=2, batch=2, length=16)
TEXTS = ["I love the bread. é", "not good, not bad"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return module.train_tokenizer(TEXTS, TINY)


@pytest.fixture(scope="module")
def decoder(tokenizer):
    with same_rng():
        return train([encoded(tokenizer, text) for text in TEXTS], TINY)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The factory with a recipe that takes no time; whatever it has learned will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Recipe", lambda: TINY)
        patch.setattr(module, "WORST_PERPLEXITY", math.inf)
        cache = tmp_path_factory.mktemp("cache")
        yield lambda: module.text_gpt(cache_dir=str(cache))


@pytest.fixture(scope="module")
def model(tiny):
    return tiny()


def test_training_gives_the_same_weights_again(tokenizer, decoder):
    again = train([encoded(tokenizer, text) for text in TEXTS], TINY).state_dict()
    assert all(torch.equal(own, again[name]) for name, own in decoder.state_dict().items())


def test_training_learns_what_it_reads(tokenizer):
    texts = [encoded(tokenizer, text) for text in TEXTS]
    before = perplexity(module._initial(TINY).eval(), texts)
    after = perplexity(train(texts, replace(TINY, steps=60, peak_rate=1e-2)), texts)
    assert before == pytest.approx(300, rel=0.1)  # as likely as one another
    assert after < 30


def test_perplexity_is_that_of_one_text_after_the_other(tokenizer, decoder):
    texts = [encoded(tokenizer, text) for text in ("bread", "not good at all")]
    losses = []
    for text in texts:
        ids = torch.tensor([text])
        logits = decoder(decoder.words(ids), torch.ones_like(ids).bool(), torch.arange(len(text)))
        chosen = logits.log_softmax(dim=2)[0, range(len(text) - 1), text[1:]]
        losses += (-chosen).tolist()
    assert perplexity(decoder, texts) == pytest.approx(math.exp(sum(losses) / len(losses)), 1e-5)


def test_tokens_are_bytes_and_first_is_special(tokenizer):
    text = "née 👩‍🚀 <|text|>"
    ids = encoded(tokenizer, text)
    assert ids[0] == tokenizer.token_to_id(FIRST) == 0
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.get_vocab_size() <= 300


def test_hidden_and_later_tokens_have_no_influence(decoder):
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))
    visible = torch.tensor([[True, True, False, True, True, True]])
    keep = torch.tensor([1, 4])
    found = decoder(x, visible, keep)
    x[0, 2] += 1
    x[0, 5] += 1
    assert torch.equal(decoder(x, visible, keep), found)
    assert found.shape == (1, 2, 300)


def test_the_model_is_trained_once_and_says_its_perplexity(tiny, caplog):
    with caplog.at_level(logging.INFO):
        first = tiny()
        assert "training text_gpt" in caplog.text
        caplog.clear()
        again = tiny()
        assert "training" not in caplog.text
    assert first.weights_hash == again.weights_hash
    assert "perplexity" in first.source
    assert not any(p.requires_grad for p in first.module.parameters())


def test_prompts_are_words_of_held_out_sentences(model):
    found = next_token(model, limit=3, next_words=2)
    held_out = {s.sample_id: s.text for s in load_split()[1]}
    assert len(found) == 3
    for i, sample_id in enumerate(found.sample_ids):
        prompt = "".join(found.feature_names(i))
        assert "".join(held_out[sample_id].split()).startswith(prompt)
    with pytest.raises(InputError, match="at least 4"):
        next_token(model, limit=3, prompt_words=3)


def test_numbers_do_not_depend_on_padding_order_or_neighbours(model):
    found = next_token(model, limit=4, next_words=2)
    x = torch.stack([found.load(i) for i in range(4)]).double()
    x[1, 2, 16] = HIDDEN
    score = Score(model.module.double(), "log_probability")
    together = score.evaluate(x, None)
    alone = torch.cat([score.evaluate(x[i : i + 1], None) for i in range(4)])
    assert (together - alone).abs().max() < 1e-9
    assert (score.evaluate(x.flip(0), None).flip(0) - together).abs().max() < 1e-9
    model.module.float()


def test_attributions_are_complete(model):
    found = evaluate(
        model, next_token(model, limit=2), methods=["ig", "random"], baseline="mean_token",
        metrics=["completeness", "comprehensiveness", "deletion"], output="log_probability",
    )  # fmt: skip
    rows = found.frame[found.frame.metric == "completeness"]
    assert rows[rows.method == "ig"].value.max() < 1e-3
    assert (found.frame.status == "ok").all()


@pytest.mark.slow
def test_held_out_sentences_are_predicted():
    model = module.text_gpt()
    assert float(model.source.split("perplexity ")[1].split()[0]) < 110
