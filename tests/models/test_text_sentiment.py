import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from igbench.core.tokens import DELETED, HIDDEN, packed
from igbench.data.tweets import load_split, tweets
from igbench.models import text_sentiment as module
from igbench.models import weights
from igbench.models.text_sentiment import (
    MASK,
    PAD,
    UNK,
    Recipe,
    SentimentNet,
    WordEncoder,
    accuracy,
    text_sentiment,
    train,
    vocabulary,
)  # fmt: skip
from tests.helpers.toy import same_rng

QUICK = Recipe(epochs=1, width=8, channels=8, batch=32)


def encoder(*words: str) -> WordEncoder:
    words = ("[PAD]", "[UNK]", "[MASK]", *words)
    return WordEncoder(words, torch.arange(float(len(words)))[:, None])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few sentences and a recipe of no time, whatever accuracy it gets."""
    train_part, held_out = load_split()
    monkeypatch.setattr(module, "load_split", lambda: (train_part[:256], held_out[:128]))
    monkeypatch.setattr(module, "Recipe", lambda: QUICK)
    monkeypatch.setattr(module, "LEAST_ACCURACY", 0.5)


# -- the net -----------------------------------------------------------------------------------


def kernel_of_three() -> SentimentNet:
    """A convolution (1, 2, -1) over numbers, ReLU, and the mean, which times l is a sum."""
    net = SentimentNet(1, Recipe(width=1, channels=1)).eval().requires_grad_(False)
    net.conv.weight.copy_(torch.tensor([[[1.0, 2.0, -1.0]]]))
    net.fc.weight.copy_(torch.tensor([[1.0], [0.0]]))
    for bias in (net.conv.bias, net.fc.bias):
        bias.zero_()
    return net


def summed(tokens: list[float], states: list[float]) -> float:
    """f of the text, times the number of its visible tokens."""
    x = torch.tensor([tokens, states], dtype=torch.float32).T[None]
    return float(kernel_of_three()(x)[0, 0]) * states.count(0.0)


@pytest.mark.parametrize("mark", [HIDDEN, DELETED])
def test_padding_never_leaks(mark: float) -> None:
    """Without masks 12.5, with one at the input alone 11, at the output alone 7.5."""
    assert summed([1, -2, 3], [0, 0, 0]) == pytest.approx(8)
    assert summed([1, -2, 3, 0.5, 0.5], [0, 0, 0, mark, mark]) == pytest.approx(8)


@pytest.mark.parametrize(
    ("mark", "left"), [(DELETED, [4, 7, 4]), (HIDDEN, [4, 3 + 6 - 1, 4])], ids=["delete", "hide"]
)
def test_absent_tokens_are_exact(mark: float, left: list[float]) -> None:
    found = []
    for i in range(3):
        states = [0.0] * 3
        states[i] = mark
        found.append(summed([1, -2, 3], states))
    assert found == pytest.approx(left)


@pytest.mark.parametrize("mark", [HIDDEN, DELETED])
def test_a_text_without_tokens_has_a_value_and_a_gradient(mark: float) -> None:
    x = torch.tensor([[1.0, mark], [2.0, mark]])[None].requires_grad_()
    out = kernel_of_three()(x)
    assert out.tolist() == [[0, 0]]
    out.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


# -- the tokens --------------------------------------------------------------------------------


def test_words_signs_and_faces_are_tokens() -> None:
    text = "Don't   @me :-) http://a.b/c &amp; #re-do!! <3 it’s 10:30 naïve"
    own = encoder().encode(text)
    assert own.pieces() == [
        "Don't", "@me", ":-)", "http://a.b/c", "&amp;", "#re-do", "!", "!", "<3", "it’s", "10",
        ":", "30", "naïve",
    ]  # fmt: skip
    assert not own.special.any()


def test_small_letters_are_looked_up_and_others_are_unknown() -> None:
    own = encoder("good").encode("GOOD bad")
    assert own.ids.tolist() == [3, UNK]


@pytest.mark.parametrize("text", ["[PAD]", "[MASK]", "[UNK]"])
def test_no_text_names_a_special_token(text: str) -> None:
    found = encoder("[", "]").encode(text).ids.tolist()
    assert found == [3, UNK, 4]


def test_what_stands_for_an_absent_word() -> None:
    rows = {name: row.tolist() for name, row in encoder("a", "b").special_rows.items()}
    assert rows == {"pad": [PAD], "unk": [UNK], "mask": [MASK], "mean": [3.5]}


def test_the_vocabulary_is_of_words_that_come_twice() -> None:
    words = vocabulary(load_split()[0], 2)
    assert words[:3] == ("[PAD]", "[UNK]", "[MASK]")
    assert len(words) == 2554
    assert {"good", ":)", "not", "&amp;"} <= set(words)


# -- training ----------------------------------------------------------------------------------


def test_training_hangs_on_the_recipe_alone() -> None:
    """Neither the global generators nor the number of threads nor gradient mode matter."""
    sentences = load_split()[0][:256]
    words, threads, hashes = vocabulary(sentences, 2), torch.get_num_threads(), []
    try:
        for seed, count in ((0, 1), (1, 2)):
            torch.set_num_threads(count)
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(seed)
                with same_rng():
                    hashes.append(weights.state_hash(train(sentences, words, QUICK)))
    finally:
        torch.set_num_threads(threads)
    assert hashes[0] == hashes[1]
    other = Recipe(**{**vars(QUICK), "seed": 1})
    assert weights.state_hash(train(sentences, words, other)) != hashes[0]


def test_masked_and_unknown_words_are_trained_and_padding_is_not() -> None:
    sentences = load_split()[0][:256]
    words = vocabulary(sentences, 2)
    start = module._initial(len(words), QUICK).table
    moved = (train(sentences, words, QUICK).table.double() - start).abs().amax(dim=1)
    assert moved[PAD] == 0
    assert moved[UNK] > 1e-4
    assert moved[MASK] > 1e-4


def test_every_field_and_word_names_the_file() -> None:
    words = ["a", "b"]
    found = [Recipe(version=2), Recipe(epochs=3), Recipe(seed=1), Recipe(grid=0.5), Recipe()]
    digests = {r.digest(words) for r in found} | {Recipe().digest(["a", "c"])}
    assert len(digests) == len(found) + 1


def test_a_bad_file_is_replaced_with_a_warning(
    quick: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = text_sentiment(cache_dir=str(tmp_path))
    assert not made.module.training
    assert not any(p.requires_grad for p in made.module.parameters())
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    assert text_sentiment(cache_dir=str(tmp_path)).weights_hash == made.weights_hash
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    other = {k: -v for k, v in made.module.state_dict().items()}
    save_file(other | {"fc.bias": torch.tensor([1e3, 0.0])}, path)  # everything is negative
    assert text_sentiment(cache_dir=str(tmp_path)).weights_hash == made.weights_hash
    assert "holds other weights" in caplog.text
    assert path.read_bytes() == before
    path.write_bytes(b"garbage")
    assert text_sentiment(cache_dir=str(tmp_path)).weights_hash == made.weights_hash
    assert "is not a safetensors file" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_warning(
    quick: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    text_sentiment(cache_dir=str(tmp_path / "file"))
    assert "text_sentiment is not cached" in caplog.text


@pytest.mark.slow
def test_held_out_sentences_are_classified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        model = text_sentiment(cache_dir=str(tmp_path))
    data = tweets(model, limit=None)
    x = torch.stack([data.load(i) for i in range(len(data))])
    right = (model.module(x).argmax(dim=1) == torch.tensor(data.labels)).double().mean()
    assert 0.84 < right < 0.9
    held_out = load_split()[1]
    assert accuracy(model.module, model.text.words, held_out) == right
    assert f"accuracy {right:.4f}" in caplog.text
    assert f"accuracy {right:.1%} on the 686 held out" in model.source
    # A text alone has the scores that it has among longer ones.
    own = model.text.encode(held_out[0].text)
    alone = model.module(packed(model.text.embed(own.ids), len(own.ids))[None])
    torch.testing.assert_close(model.module(x)[:1], alone, atol=1e-6, rtol=1e-6)
