"""Tiny classifiers of transformers with random weights, one for each family."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from tests.helpers import tokenizers_of

FAMILIES = ("bert", "distilbert", "roberta", "deberta", "gpt2", "llama")


@cache
def tokenizer(family: str) -> Any:
    """The tokenizer that a family has."""
    kinds: dict[str, Any] = {
        "roberta": lambda: tokenizers_of.byte_bpe(True),
        "gpt2": tokenizers_of.byte_bpe,
        "llama": tokenizers_of.unigram,
    }
    return kinds.get(family, tokenizers_of.word_piece)()


@cache
def classifier(family: str) -> Any:
    """A classifier with three outputs in eval mode; nobody may change it."""
    import transformers

    tokens = tokenizer(family)
    common: dict[str, Any] = {
        "vocab_size": len(tokens),
        "id2label": {0: "bad", 1: "mixed", 2: "good"},
        **{
            f"{name}_token_id": getattr(tokens, f"{name}_token_id")
            for name in ("pad", "bos", "eos")
        },
        "attn_implementation": "eager",
    }
    width = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    size = {**width, "intermediate_size": 24}
    place = {"max_position_embeddings": 24}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "bert": ("Bert", {**size, **place}),
        "distilbert": (
            "DistilBert",
            {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, **place},
        ),
        "roberta": ("Roberta", {**size, "max_position_embeddings": 26, "type_vocab_size": 1}),
        "deberta": (
            "DebertaV2",
            {**size, **place, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
             "position_biased_input": False},
        ),
        "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}),
        "llama": ("Llama", {**size, "num_key_value_heads": 1, **place}),
    }  # fmt: skip
    name, own = kinds[family]
    config = getattr(transformers, f"{name}Config")(**common | own)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
        for parameter in found.parameters():  # away from the tiny weights of a first step
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return found
