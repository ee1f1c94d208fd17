"""Language models of Hugging Face: the same probabilities, and what has no influence on them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from igbench import evaluate, methods
from igbench.core.model import Model
from igbench.core.score import Score
from igbench.core.tokens import DELETED, HIDDEN
from igbench.data.prompts import Prompt, prompts_data
from igbench.errors import InputError, SampleError
from igbench.models.hf_causal import hf_causal, language_model
from tests.helpers.tokenizers_of import byte_bpe

transformers = pytest.importorskip("transformers")

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 48, "initializer_range": 0.3},
    "llama": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "num_attention_heads": 2, "max_position_embeddings": 48, "initializer_range": 0.3,
    },
}  # fmt: skip
PROMPTS = (
    Prompt("the movie was good", " and bad"),
    Prompt("a café", " day"),
    Prompt("don't re-watch it,", " the end"),
    Prompt("the actors were", " good", foil=" bad"),
)


def made(kind: str) -> Any:
    """A tiny random decoder of transformers."""
    classes = {"gpt2": transformers.GPT2LMHeadModel, "llama": transformers.LlamaForCausalLM}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=len(byte_bpe()), bos_token_id=0, eos_token_id=0, **SIZES[kind]
    )
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return classes[kind](config).eval()


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def plain(kind):
    return made(kind)


@pytest.fixture(scope="module")
def model(kind):
    return language_model(made(kind), byte_bpe(), name=kind, source="", chat=False, mean=False)


def prompts(model: Model, *chosen: Prompt, **arguments: Any) -> Any:
    own = chosen or PROMPTS
    ids = [f"p{i}" for i in range(len(own))]
    return prompts_data("p", model, own, sample_ids=ids, source="", **arguments)


def rows(model: Model) -> torch.Tensor:
    data = prompts(model)
    return torch.stack([data.load(i) for i in range(len(data))])


def tokens(text: str) -> list[int]:
    return byte_bpe().encode(text, add_special_tokens=False)


def test_log_probabilities_are_those_of_the_plain_model(model, plain):
    found = Score(model.module, "log_probability").evaluate(rows(model), None)
    for i, prompt in enumerate(PROMPTS[:3]):
        front, after = [0, *tokens(prompt.text)], tokens(prompt.continuation)
        logits = plain(torch.tensor([[*front, *after]])).logits[0].log_softmax(dim=1)
        expected = sum(logits[len(front) - 1 + t, k].item() for t, k in enumerate(after))
        assert found[i].item() == pytest.approx(expected, abs=2e-5)


def test_contrast_is_a_difference_of_logits(model, plain):
    prompt = PROMPTS[3]
    good, bad = tokens(prompt.continuation), tokens(prompt.foil)
    first = prompts(model, prompt, score="first").load(0)[None]
    logits = plain(torch.tensor([[0, *tokens(prompt.text)]])).logits[0, -1]
    assert model.module(first).item() == pytest.approx(
        (logits[good[0]] - logits[bad[0]]).item(), abs=2e-5
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-9)])
def test_numbers_do_not_depend_on_order_neighbours_or_padding(kind, dtype, tolerance):
    model = language_model(made(kind), byte_bpe(), name="", source="", chat=False, mean=False)
    module, x = model.module.to(dtype), rows(model).to(dtype)
    x[0, 2, 16], x[0, 3, 16] = HIDDEN, DELETED
    with torch.no_grad():
        together = module(x)
        alone = torch.cat([module(one[None]) for one in x])
        wider = torch.cat([torch.zeros(4, 3, x.shape[2], dtype=dtype), x], dim=1)  # padding left
        wider[:, :3, 16] = DELETED
        assert (together - alone).abs().max() < tolerance
        assert (module(x.flip(0)).flip(0) - together).abs().max() < tolerance
        assert (module(wider) - together).abs().max() < tolerance


def test_a_hidden_last_token_has_no_influence(model):
    x = rows(model)[1:2]
    last = int((x[0, :, 17] > 0).nonzero()[0, 0]) - 1
    x[0, last, 16] = HIDDEN
    before = model.module(x)
    x[0, last, :16] += 1
    assert torch.equal(model.module(x), before)


def test_integrated_gradients_sum_to_the_difference(model):
    found = evaluate(
        model, prompts(model, *PROMPTS[:2], unit="token"), baseline="mean_token",
        methods={"ig": methods.IntegratedGradients(n_steps=256)}, metrics=["completeness"],
        output="log_probability",
    )  # fmt: skip
    assert found.frame[found.frame.metric == "completeness"].value.max() < 0.01


def test_the_users_model_and_tokenizer_stay_as_they_are(kind):
    tokenizer, own = byte_bpe(), made(kind)
    before = tokenizer.backend_tokenizer.to_str()
    model = language_model(own, tokenizer, name="", source="", chat=False, mean=False)
    assert model.text.encode("<|endoftext|>").ids.tolist()[0] == 0
    assert 0 not in model.text.encode("<|endoftext|>").ids.tolist()[1:]
    assert tokenizer.backend_tokenizer.to_str() == before
    assert model.text.longest == 48


def test_chat_templates_are_no_features(kind, plain):
    tokenizer = byte_bpe()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<|endoftext|>"
    )
    with pytest.raises(InputError, match="no chat template"):
        language_model(made(kind), tokenizer, name="", source="", chat=True, mean=False)
    tokenizer.chat_template = (
        "{% for m in messages %}<|endoftext|>user: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}bot:{% endif %}"
    )
    model = language_model(made(kind), tokenizer, name="", source="", chat=True, mean=False)
    prompt = Prompt("a good movie", " good")
    own = model.text.encode(prompt.text)
    message = [{"role": "user", "content": prompt.text}]
    whole = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    assert own.ids.tolist() == list(whole)
    data = prompts(model, prompt)
    assert data.feature_names(0) == ("a", "good", "movie")
    with pytest.raises(SampleError, match="spells out a special token"):
        prompts(model, replace(prompt, text="a <|endoftext|> movie")).load(0)
    with pytest.raises(SampleError, match=r"have \d+ tokens; the model takes 48"):
        prompts(model, replace(prompt, text="good movie " * 30 + "!")).load(0)


def test_folders_are_loaded_and_others_are_refused(tmp_path, kind, model):
    folder = tmp_path / kind
    made(kind).save_pretrained(folder)
    byte_bpe().save_pretrained(folder)
    found = hf_causal(path=str(folder))
    assert found.weights_hash == model.weights_hash
    assert found.name == kind
    assert torch.equal(found.module(rows(found)), model.module(rows(model)))
    config = json.loads((folder / "config.json").read_text())
    for change, why in (
        ({"auto_map": {"AutoModel": "code.Model"}}, "needs code of its own"),
        ({"architectures": ["BertModel"]}, "holds BertModel, not a model ForCausalLM"),
        ({"vocab_size": 7}, r"do not fit|cannot be loaded"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=why):
            hf_causal(path=str(folder))
    with pytest.raises(InputError, match=r"set model\.path=DIR"):
        hf_causal()
    with pytest.raises(InputError, match="is not a folder"):
        hf_causal(path=str(tmp_path / "none"))
