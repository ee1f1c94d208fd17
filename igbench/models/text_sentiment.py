"""A small convolutional net for sentences, trained at first use and cached; needs no download.

Training gives the same bits on every machine, as that of `igbench.models.digits_resnet`: float64,
generators of its own, and gradients and weights rounded to a grid at once.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.tokens import Encoded, TokenModel
from igbench.data.tweets import CLASSES, Sentence, load_split
from igbench.models import training, weights

logger = logging.getLogger(__name__)

WARM_UP = 0.1
"""Share of the steps in which the rate of learning rises."""

LEAST_ACCURACY = 0.78
"""Cached weights with a lower accuracy are not the trained ones; the model is trained again."""

PAD, UNK, MASK = range(3)
SPECIAL = ("[PAD]", "[UNK]", "[MASK]")
"""Tokens of no word, first in the vocabulary."""

TOKEN = re.compile(
    r"""https?://\S+ | &\#?\w+; | <3+                            # addresses, entities, hearts
    | [:;=8xX]['\-]?[()DdPpOo/\\|\[\]3]+ (?!\w)                  # :-) and its kin
    | [\w@\#]+ (?:['’\-]\w+)*                                    # words, names, tags
    | [^\w\s]                                                    # any other sign
    """,
    re.VERBOSE,
)
"""A token of a sentence."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained weights depend on.  Raise `version` with the code below."""

    version: int = 1
    seed: int = 0
    least_count: int = 2
    width: int = 48
    channels: int = 64
    kernel: int = 3
    epochs: int = 8
    batch: int = 32
    peak_rate: float = 0.003
    unknown: float = 0.1
    masked: float = 0.1
    dropout: float = 0.3
    grid: float = 2.0**-22

    def digest(self, words: Sequence[str]) -> str:
        """12 hexadecimal digits that change with any field, and with any word of the vocabulary."""
        return hashlib.sha256(f"{self!r}{list(words)}".encode()).hexdigest()[:12]


class SentimentNet(TokenModel):
    """Word embeddings, one convolution along the text, ReLU, mean over the text: (n, l) to (n, 2).

    Hidden tokens are absent on both sides of the convolution: their embeddings do not enter the
    values of their neighbours, and their own values do not enter the mean.  So hiding or deleting
    the tokens at an end of a text is the same to the bit, up to the order of a sum.

    Args:
        words: V, the size of the vocabulary.
        recipe: Sizes of the layers.
    """

    def __init__(self, words: int, recipe: Recipe) -> None:
        super().__init__(recipe.width)
        self.reach = recipe.kernel // 2
        self.embedding = nn.Embedding(words, recipe.width)
        self.conv = nn.Conv1d(recipe.width, recipe.channels, recipe.kernel)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(recipe.channels, len(CLASSES))

    @property
    def table(self) -> Tensor:
        """All word embeddings (V, E)."""
        return self.embedding.weight

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        """Class scores (n, 2) of embeddings (n, l, E), of which some are visible, (n, l)."""
        return self.fc(self.pooled(embeddings, visible))

    def pooled(self, embeddings: Tensor, visible: Tensor) -> Tensor:
        """Means over the visible tokens, (n, channels); zero where there are none."""
        seen = visible[:, None].to(embeddings)
        # Zeros around the text; one token more than its length needs, so that it may be empty.
        around = nn.functional.pad(embeddings.transpose(1, 2) * seen, (self.reach, self.reach + 1))
        found = self.relu(self.conv(around))[..., : seen.shape[-1]] * seen
        return found.sum(dim=2) / seen.sum(dim=2).clamp(min=1)


@dataclass(frozen=True, eq=False)
class WordEncoder:
    """Splits sentences into words and signs, in small letters; words it does not know are [UNK].

    Attributes:
        words: V tokens, `SPECIAL` first.
        table: (V, E) embeddings.
    """

    words: tuple[str, ...]
    table: Tensor

    context = 0

    @property
    def width(self) -> int:
        """E."""
        return self.table.shape[1]

    @property
    def special_rows(self) -> Mapping[str, Tensor]:
        """What may stand for an absent word; the mean is that of words, without `SPECIAL`."""
        rows = {"mask": self.table[MASK], "pad": self.table[PAD], "unk": self.table[UNK]}
        return rows | {"mean": self.table[len(SPECIAL) :].mean(dim=0)}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every word."""
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> Encoded:
        """The tokens of a text; none of them is special."""
        found = list(TOKEN.finditer(text))
        ids = torch.tensor([self.number(m.group()) for m in found], dtype=torch.int64)
        spans = tuple(m.span() for m in found)
        return Encoded(text, ids, torch.zeros(len(ids), dtype=torch.bool), spans)

    def number(self, token: str) -> int:
        """Number of a token; a text cannot name a special one."""
        return max(self.numbers.get(token.lower(), UNK), UNK)

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (L, E) of tokens (L,)."""
        return self.table[ids]


@checked
def text_sentiment(*, cache_dir: str | None = None) -> Model:
    """The small net for `data=tweets` and other English sentences, trained at first use.

    Says whether a sentence is negative or positive, by two logits.

    Args:
        cache_dir: Where the trained weights are kept; None for `$IGBENCH_CACHE`, or else the
            user's cache folder (on Linux `~/.cache/igbench`).

    Source: Kim 2014, "Convolutional neural networks for sentence classification" (EMNLP), with one
    width of windows and a mean in place of the maximum.
    """
    recipe = Recipe()
    train_part, held_out = load_split()
    words = vocabulary(train_part, recipe.least_count)
    digest = recipe.digest(words)
    path = weights.cache_folder(cache_dir) / f"text_sentiment-{digest}.safetensors"
    module = training.cached(
        path,
        lambda: SentimentNet(len(words), recipe).float(),
        "text_sentiment",
        lambda own: accuracy(own, words, held_out) >= LEAST_ACCURACY,
    )
    if module is None:
        module = train(train_part, words, recipe)
        training.keep(module, path, "text_sentiment")
    right = accuracy(module, words, held_out)
    logger.info("text_sentiment: accuracy %.4f on held-out sentences", right)
    return Model(
        name="text_sentiment",
        module=weights.ready(module),
        class_names=CLASSES,
        cam_layer="",
        weights_hash=weights.state_hash(module),
        source=f"trained on {len(train_part):,} sentences of data=tweets, recipe {recipe.version} "
        f"({digest}); accuracy {right:.1%} on the {len(held_out)} held out",
        text=WordEncoder(words, module.table.detach()),
    )


def vocabulary(sentences: Sequence[Sentence], least_count: int) -> tuple[str, ...]:
    """`SPECIAL` and the tokens that occur often enough, in the order of the alphabet."""
    tokens = (token.lower() for s in sentences for token in TOKEN.findall(s.text))
    return (*SPECIAL, *sorted(w for w, n in Counter(tokens).items() if n >= least_count))


def accuracy(module: SentimentNet, words: tuple[str, ...], sentences: Sequence[Sentence]) -> float:
    """Share of the sentences whose class `module` names right, in [0, 1]."""
    ids, labels = _numbers(words, sentences)
    with torch.inference_mode():
        chosen = module.run(*_looked_up(module, ids)).argmax(dim=1)
    return float((chosen == labels).double().mean())


def train(sentences: Sequence[Sentence], words: tuple[str, ...], recipe: Recipe) -> SentimentNet:
    """Train from scratch on the CPU; the global generators are neither used nor changed.

    A tenth of the words of a sentence is read as [UNK] and a tenth as [MASK], anew each time: so
    the net has learned what it means that a word is not known or not there.  [PAD] stays zero and
    is never seen.

    Returns:
        The module in float32 and eval mode.
    """
    module = _initial(len(words), recipe).train()
    draws = rng.generator(recipe.seed, "training", "text_sentiment")
    ids, labels = _numbers(words, sentences)
    rule = torch.optim.Adam(module.parameters(), lr=recipe.peak_rate, foreach=False)
    per_epoch = len(ids) // recipe.batch
    steps, step = recipe.epochs * per_epoch, 0
    with torch.enable_grad(), weights.one_thread():
        for _ in range(recipe.epochs):
            order = torch.randperm(len(ids), generator=draws)
            for rows in order[: per_epoch * recipe.batch].split(recipe.batch):
                rule.param_groups[0]["lr"] = recipe.peak_rate * training.one_cycle(
                    step / steps, WARM_UP
                )
                rule.zero_grad()
                out = _noisy(module, ids[rows], recipe, draws)
                nn.functional.cross_entropy(out, labels[rows]).backward()
                training.on_grid((p.grad for p in module.parameters()), recipe.grid)
                rule.step()
                training.on_grid(module.parameters(), recipe.grid)
                step += 1
    return module.float().eval()


def _noisy(module: SentimentNet, ids: Tensor, recipe: Recipe, draws: torch.Generator) -> Tensor:
    """Class scores where words and channels are missing at random."""
    ids = ids[:, : int((ids != PAD).sum(dim=1).max())]
    chance = torch.rand(ids.shape, generator=draws, dtype=torch.float64)
    read = ids.where(chance >= recipe.unknown, UNK).where(chance < 1 - recipe.masked, MASK)
    embeddings, visible, _ = _looked_up(module, read.where(ids != PAD, PAD))
    pooled = module.pooled(embeddings, visible)
    kept = torch.rand(pooled.shape, generator=draws, dtype=torch.float64) >= recipe.dropout
    return module.fc(pooled * kept / (1 - recipe.dropout))


def _looked_up(module: SentimentNet, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `SentimentNet.run` takes, for tokens (n, l) with [PAD] behind the texts."""
    embeddings = module.embedding(ids)
    return embeddings, ids != PAD, embeddings[..., :0]


def _numbers(words: tuple[str, ...], sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor]:
    """Tokens (S, L), with [PAD] behind shorter sentences, and labels (S,)."""
    encoder = WordEncoder(words, torch.zeros(len(words), 1))
    own = [encoder.encode(s.text).ids for s in sentences]
    ids = nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=PAD)
    return ids, torch.tensor([s.label for s in sentences])


@torch.no_grad()
def _initial(words: int, recipe: Recipe) -> SentimentNet:
    """Uniform weights of variance 2 / fan-in, and 0.1 for embeddings, in float64."""
    with weights.untouched_rng():
        module = SentimentNet(words, recipe).double()
    draws = rng.generator(recipe.seed, "initial weights", "text_sentiment")
    for name, tensor in module.named_parameters():
        if tensor.dim() == 1:
            tensor.zero_()
            continue
        bound = math.sqrt(0.3 if name == "embedding.weight" else 6 / tensor[0].numel())
        unit = torch.rand(tensor.shape, generator=draws, dtype=torch.float64)
        tensor.copy_(bound * (2 * unit - 1))
    module.embedding.weight[PAD] = 0
    training.on_grid(module.parameters(), recipe.grid)
    return module
