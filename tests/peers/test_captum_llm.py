"""Captum's attributions of language models: equal without its cache, and not with it."""

from __future__ import annotations

import pytest
import torch

from igbench.core.score import Score
from igbench.data.prompts import Prompt, prompts_data
from igbench.models.hf_causal import language_model
from tests.helpers.tokenizers_of import byte_bpe
from tests.models.test_hf_causal import made

captum = pytest.importorskip("captum.attr")

PROMPT = Prompt("<|endoftext|>the movie was", " good and bad")


def ours(kind: str) -> list[float]:
    """Drop of ln p of the continuation with the first token in place of each token."""
    model = language_model(made(kind), byte_bpe(), name="", source="")
    text = PROMPT.text.removeprefix("<|endoftext|>")
    prompt = Prompt(text, PROMPT.continuation)
    x = prompts_data("p", model, [prompt], sample_ids=["p"], source="", unit="token").load(0)
    count = len(model.text.encode(text).ids)
    rows = x.repeat(count, 1, 1)
    for i in range(1, count):
        rows[i, i, : model.text.width] = model.text.table[0]
    values = Score(model.module, "log_probability").evaluate(rows, None)
    return (values[0] - values[1:]).tolist()


def theirs(kind: str, **arguments: bool) -> list[float]:
    tokenizer, model = byte_bpe(), made(kind)
    explainer = captum.LLMAttribution(captum.FeatureAblation(model), tokenizer)
    given = captum.TextTokenInput(PROMPT.text, tokenizer, baselines=0)
    target = torch.tensor(tokenizer.encode(PROMPT.continuation, add_special_tokens=False))
    found = explainer.attribute(given, target=target, **arguments)
    return found.seq_attr.tolist()[1:]  # the first token stays as it is


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.filterwarnings("ignore")
def test_ablations_are_captums_without_its_cache(kind):
    assert ours(kind) == pytest.approx(theirs(kind, use_cached_outputs=False), abs=1e-4)
    assert ours(kind) != pytest.approx(theirs(kind), abs=1e-2)  # its default loses the prompt
