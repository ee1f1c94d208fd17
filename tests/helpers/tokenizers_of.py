"""Tokenizers of three kinds, trained in a moment: WordPiece, byte-level BPE, Unigram."""

from __future__ import annotations

from functools import cache
from typing import Any

SENTENCES = (
    "the movie was wonderful and the actors were good",
    "don't re-watch it, it was bad and the end was worse",
    "a café with good coffee, not bad at all",
    "hello world, this is a good day for a wonderful movie",
) * 3


@cache
def word_piece() -> Any:
    """As BERT has it: lower case, accents off, [CLS] and [SEP] around."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    found.train_from_iterator(SENTENCES, trainer)
    ends = [(name, found.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return _fast(
        found, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


@cache
def byte_bpe(around: bool = False) -> Any:
    """As GPT-2 has it, nothing around; or as RoBERTa has it, <s> and </s> around."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if around else ["<|endoftext|>"]
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator(SENTENCES, trainer)
    if not around:
        found.post_processor = processors.ByteLevel(trim_offsets=False)
        end = "<|endoftext|>"
        return _fast(found, bos_token=end, eos_token=end, unk_token=end)
    found.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return _fast(
        found, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        mask_token="<mask>",
    )  # fmt: skip


@cache
def unigram() -> Any:
    """As SentencePiece has it, spaces as ▁ and <s> in front: no MASK, no PAD."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    found = Tokenizer(models.Unigram())
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        special_tokens=["<unk>", "<s>", "</s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    found.train_from_iterator(SENTENCES, trainer)
    found.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return _fast(found, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _fast(tokenizer: Any, **named: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
