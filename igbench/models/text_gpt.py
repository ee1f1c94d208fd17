"""A small GPT for tweets, trained at first use and cached; needs no download.

It writes English of a kind: right for the mechanics of attributions to prompts, and for comparing
methods, but what it has learned of language is little; `model=smollm2` knows more.  Training uses
one thread and its own generators.  Its last digits may differ between processors, and so may the
hash of the weights, which every run records.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.prompts import CONTEXT
from igbench.data.tweets import load_split
from igbench.models import training, weights
from igbench.models.causal import CausalEncoder, CausalModel

logger = logging.getLogger(__name__)

FIRST = "<|text|>"
"""The token in front of every text."""

CHECKED = 200
"""Held-out tweets that tell the perplexity; all of them would take seconds at every start."""

WARM_UP = 0.1
"""Share of the steps in which the rate of learning rises."""
WORST_PERPLEXITY = 120.0
"""Cached weights with a higher perplexity are not the trained ones; the model is trained again."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained weights depend on.  Raise `version` with the code below."""

    version: int = 1
    seed: int = 0
    vocabulary: int = 1024
    width: int = 128
    layers: int = 4
    heads: int = 4
    longest: int = 96
    steps: int = 600
    batch: int = 16
    length: int = 64
    peak_rate: float = 2e-3
    weight_decay: float = 0.1

    def digest(self) -> str:
        """12 hexadecimal digits that change with any field."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


class Block(nn.Module):
    """Causal self-attention and a two-layer network, each behind a layer norm: (n, l, E).

    Attention is computed by its plain formula.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """New states of the tokens.

        Args:
            x: (n, l, E).
            allowed: (n or 1, 1, l, l) boolean, true where a token (row) attends to another.
        """
        n, length, width = x.shape
        parts = self.qkv(self.ln1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        weight = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
        x = x + self.out((weight @ v).transpose(1, 2).reshape(n, length, width))
        out: Tensor = x + self.down(self.gelu(self.up(self.ln2(x))))
        return out


class SmallGPT(nn.Module):
    """Decoder of the GPT-2 family, whose logits use the word embeddings.

    Args:
        recipe: Its sizes.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.words = nn.Embedding(recipe.vocabulary, recipe.width)
        self.positions = nn.Embedding(recipe.longest, recipe.width)
        self.blocks = nn.ModuleList(Block(recipe.width, recipe.heads) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.width)

    @property
    def table(self) -> Tensor:
        """Word embeddings, (V, E)."""
        return self.words.weight

    def forward(self, embeddings: Tensor, visible: Tensor, keep: Tensor) -> Tensor:
        """Logits (n, k, V), see `igbench.models.causal.Decoder`."""
        length = embeddings.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=embeddings.device).tril()
        own = torch.eye(length, dtype=torch.bool, device=embeddings.device)
        allowed = (earlier & visible[:, None, :] | own)[:, None]  # a hidden token sees itself
        x = embeddings + self.positions.weight[:length]
        for block in self.blocks:
            x = block(x, allowed)
        out: Tensor = self.norm(x[:, keep]) @ self.words.weight.T
        return out


@checked
def text_gpt(*, mean: bool = False, cache_dir: str | None = None) -> Model:
    """The small GPT for `data=next_token`, trained on tweets in about two minutes at first use.

    Four layers of width 128, a byte-level vocabulary of 1,024 tokens: 0.93 million parameters.

    Args:
        mean: Score the geometric mean of the probabilities of a continuation's tokens, instead of
            their product.
        cache_dir: Where the trained model is kept; None for `$IGBENCH_CACHE`, or else the user's
            cache folder (on Linux `~/.cache/igbench`).
    """
    recipe = Recipe()
    train_texts, held_out = ([s.text for s in part] for part in load_split())
    tokenizer = train_tokenizer(train_texts, recipe)
    path = weights.cache_folder(cache_dir) / f"text_gpt-{recipe.digest()}.safetensors"
    checks = [encoded(tokenizer, text) for text in held_out[:CHECKED]]
    decoder = training.cached(
        path,
        lambda: SmallGPT(recipe),
        "text_gpt",
        lambda own: perplexity(own, checks) <= WORST_PERPLEXITY,
    )
    if decoder is None:
        logger.info("training text_gpt on tweets, once; this takes about two minutes")
        decoder = train([encoded(tokenizer, text) for text in train_texts], recipe)
        training.keep(decoder, path, "text_gpt")
    found = perplexity(decoder, checks)
    module = weights.ready(CausalModel(decoder, mean=mean))
    table = decoder.table.detach()
    return Model(
        name="text_gpt",
        module=module,
        class_names=("continuation",),
        cam_layer="",
        weights_hash=weights.state_hash(decoder),
        source=(
            f"trained on tweets, recipe {recipe.version} ({recipe.digest()}); perplexity "
            f"{found:.1f} a token on held-out tweets"
        ),
        text=CausalEncoder(
            backend=tokenizer,
            table=table,
            special_rows={"mean": table.double().mean(dim=0).float()},
            longest=recipe.longest,
            first=tokenizer.token_to_id(FIRST),
            context=CONTEXT,
        ),
    )


def encoded(tokenizer: Any, text: str) -> list[int]:
    """Numbers of the tokens of a text, with the first token in front."""
    return [tokenizer.token_to_id(FIRST), *tokenizer.encode(text, add_special_tokens=False).ids]


def train_tokenizer(texts: Sequence[str], recipe: Recipe) -> Any:
    """A byte-level byte-pair encoding of texts; deterministic."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[FIRST],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train(texts: Sequence[Sequence[int]], recipe: Recipe) -> SmallGPT:
    """Train from scratch on the CPU; the global generators are neither used nor changed.

    Args:
        texts: Numbers of the tokens of each text, with the first token in front.
        recipe: How.

    Returns:
        The decoder in eval mode.
    """
    with (
        weights.untouched_rng(rng.key(recipe.seed, "initial weights", "text_gpt")),
        weights.one_thread(),
    ):
        decoder = _initial(recipe)
        rows = _rows(texts, recipe)
        optimizer = torch.optim.AdamW(
            decoder.parameters(),
            lr=recipe.peak_rate,
            betas=(0.9, 0.99),
            weight_decay=recipe.weight_decay,
        )
        for step in range(recipe.steps):
            optimizer.param_groups[0]["lr"] = recipe.peak_rate * training.one_cycle(
                step / recipe.steps, WARM_UP
            )
            optimizer.zero_grad()
            with torch.enable_grad():
                _loss(decoder, torch.tensor([next(rows) for _ in range(recipe.batch)])).backward()
            nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimizer.step()
    return decoder.eval()


@torch.no_grad()
def perplexity(decoder: SmallGPT, texts: Sequence[Sequence[int]]) -> float:
    """Perplexity: exp of the mean negative log-probability of a token, over all tokens of texts."""
    total, count = 0.0, 0
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), 64):
        part = ordered[start : start + 64]
        longest = max(map(len, part))
        ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in part])
        real = torch.tensor([[i < len(text) for i in range(1, longest)] for text in part])
        total += float(_losses(decoder, ids)[real].double().sum())
        count += int(real.sum())
    return math.exp(total / count)


def _losses(decoder: SmallGPT, ids: Tensor) -> Tensor:
    """Negative log-probability of every token but the first, (n, l - 1)."""
    inputs, targets = ids[:, :-1], ids[:, 1:]
    visible = torch.ones_like(inputs, dtype=torch.bool)
    logits = decoder(decoder.words(inputs), visible, torch.arange(inputs.shape[1]))
    found = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return found.view_as(targets)


def _loss(decoder: SmallGPT, ids: Tensor) -> Tensor:
    return _losses(decoder, ids).mean()


def _rows(texts: Sequence[Sequence[int]], recipe: Recipe) -> Iterator[list[int]]:
    """Endless rows of tokens that begin with a whole text, others behind it, cut off at the end."""
    draws = rng.generator(recipe.seed, "training order", "text_gpt")
    row: list[int] = []
    while True:
        for i in torch.randperm(len(texts), generator=draws).tolist():
            row += texts[i]
            if len(row) > recipe.length:
                yield row[: recipe.length + 1]
                row = []


def _initial(recipe: Recipe) -> SmallGPT:
    """Normal weights of standard deviation 0.02, smaller where residuals are added up."""
    decoder = SmallGPT(recipe).train()
    for name, tensor in decoder.named_parameters():
        if tensor.dim() > 1:
            last = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(tensor, std=0.02 / math.sqrt(2 * recipe.layers) if last else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(tensor)
    return decoder
