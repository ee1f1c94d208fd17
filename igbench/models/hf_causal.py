"""Language models of Hugging Face from a folder on this machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core import callers
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.prompts import CONTEXT
from igbench.core.tokens import Encoded
from igbench.errors import InputError, SampleError
from igbench.models import hf_encoder, hf_folder, hf_text
from igbench.models import weights as weights_files
from igbench.models.causal import CausalEncoder, CausalModel

MARK = "\ufdd0"
"""A character that no text has, to find where a chat template puts one."""


class HuggingFaceDecoder(nn.Module):
    """A language model of transformers as an `igbench.models.causal.Decoder`.

    Args:
        model: Maps `inputs_embeds` to logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.known = frozenset(inspect.signature(model.forward).parameters)

    @property
    def table(self) -> Tensor:
        """Word embeddings, (V, E)."""
        found: Tensor = self.model.get_input_embeddings().weight
        return found

    def forward(self, embeddings: Tensor, visible: Tensor, keep: Tensor) -> Tensor:
        """Logits (n, k, V)."""
        n, length, _ = embeddings.shape
        more = {
            "position_ids": torch.arange(length, device=embeddings.device).expand(n, -1),
            "use_cache": False,
            "logits_to_keep": keep,
        }
        logits: Tensor = self.model(
            inputs_embeds=embeddings,
            attention_mask=visible.long(),
            **{name: value for name, value in more.items() if name in self.known},
        ).logits
        return logits if "logits_to_keep" in self.known else logits[:, keep]


@dataclass(frozen=True, eq=False)
class ChatEncoder(CausalEncoder):
    """Prompts inside the chat template of a model, whose tokens are no features.

    Attributes:
        template: What stands before and behind a prompt.
    """

    template: Callable[[str], tuple[str, str]] | None = None

    def encode(self, text: str) -> Encoded:
        """The tokens of the template with the prompt in its place.

        Raises:
            SampleError: The prompt spells out a special token.
        """
        if self.template is None:
            raise InputError("a ChatEncoder needs a template.")
        front, back = self.template(text)
        whole = front + text + back
        self.backend.encode_special_tokens = False
        found = self.backend.encode(whole, add_special_tokens=False)
        start, end = len(front), len(front) + len(text)
        spans = hf_encoder.spans_of(whole, found)
        inside = [start <= a < end for a, _ in spans]
        if any(i in self.reserved for i, own in zip(found.ids, inside, strict=True) if own):
            raise SampleError("the prompt spells out a special token of the chat template")
        return Encoded(
            whole,
            torch.tensor(found.ids),
            ~torch.tensor(inside, dtype=torch.bool),
            tuple(s if own else (0, 0) for s, own in zip(spans, inside, strict=True)),
        )


@checked
def hf_causal(*, path: str | None = None, chat: bool = False, mean: bool = False) -> Model:
    """A language model that `save_pretrained` of transformers wrote to a folder.

    The folder needs `config.json`, weights as safetensors and `tokenizer.json`; nothing is
    downloaded, and code in the folder is not run.  Attention is computed by its plain formula
    ("eager").  For what is scored see `igbench.models.causal.CausalModel`.

    Args:
        path: The folder.
        chat: Put prompts into the chat template of the tokenizer, as a message of the user.
        mean: Score the geometric mean of the probabilities of a continuation's tokens, instead of
            their product.

    Raises:
        InputError: The folder is incomplete, holds another kind of model, or needs code of its
            own; the tokenizer has no token to begin with; transformers is not installed.
    """
    folder = hf_folder.folder(path, "hf_causal", "tokenizer")
    config = hf_folder.settings(folder / "config.json", "tokenizer")
    hf_folder.check_kind(folder, config, "ForCausalLM", "LMHeadModel")
    hf_folder.check_safetensors(folder)
    found, tokenizer = load_folder(folder, "hf_causal")
    module, notes = hf_folder.widened(found)
    return language_model(
        module,
        tokenizer,
        name=folder.name,
        source="; ".join([f"Hugging Face {config['architectures'][0]}, folder {folder}", *notes]),
        chat=chat,
        mean=mean,
    )


def language_model(
    module: nn.Module,
    tokenizer: Any,
    *,
    name: str,
    source: str,
    chat: bool = False,
    mean: bool = False,
    first: str | None = None,
) -> Model:
    """A language model of transformers as an igbench model; model and tokenizer stay as they are.

    Args:
        module: The model, in eval mode.
        tokenizer: A fast tokenizer of transformers.
        name: Name in every table.
        source: Origin of the weights, in words.
        chat: Whether prompts are put into the chat template.
        mean: See `igbench.models.causal.CausalModel`.
        first: The special token in front of every prompt; None for the tokenizer's first token, or
            else its last one.  Chat templates bring their own.

    Raises:
        InputError: The model is in training mode; the tokenizer has no token to begin with, or no
            chat template.
    """
    decoder = HuggingFaceDecoder(callers.private(module))
    return Model(
        name=name,
        module=CausalModel(decoder, mean=mean).eval(),
        class_names=("continuation",),
        cam_layer="",
        weights_hash=weights_files.state_hash(decoder),
        source=source,
        text=_encoder(decoder, tokenizer, name, chat, first),
    )


def _encoder(
    decoder: HuggingFaceDecoder, tokenizer: Any, name: str, chat: bool, first: str | None
) -> CausalEncoder:
    own: dict[str, Any] = {
        "longest": hf_encoder.longest(tokenizer, decoder.model),
        "context": CONTEXT,
    }
    if chat:
        if not tokenizer.chat_template:
            raise InputError(
                f"the tokenizer of {name!r} has no chat template; use model.chat=false."
            )
        plain = hf_encoder.encoder(tokenizer, decoder.table, **own)
        return ChatEncoder(**vars(plain), template=Template(tokenizer))
    front = first or tokenizer.bos_token or tokenizer.eos_token
    if front is None:
        raise InputError(
            f"the tokenizer of {name!r} has neither a first nor a last special token, which every "
            "prompt begins with; set tokenizer.bos_token and save it again."
        )
    number = tokenizer.convert_tokens_to_ids(front)
    return CausalEncoder(**vars(hf_encoder.encoder(tokenizer, decoder.table, first=number, **own)))


class Template:
    """What the chat template of a tokenizer puts around a message of the user.

    Args:
        tokenizer: Of transformers.

    Raises:
        InputError: The template does not show the message as it is.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        parts = self._applied(MARK).split(MARK)
        if len(parts) != 2:
            raise InputError(
                "the chat template does not show the user's message once, as it is; use "
                "model.chat=false and write it out in the prompts."
            )
        self.front, self.back = parts

    def _applied(self, text: str) -> str:
        message = [{"role": "user", "content": text}]
        found: str = self.tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True
        )
        return found

    def __call__(self, text: str) -> tuple[str, str]:
        """What stands before and behind a message.

        Raises:
            SampleError: The template changes the message.
        """
        if self._applied(text) != self.front + text + self.back:
            raise SampleError(
                "the chat template changes the prompt; remove the white space around it"
            )
        return self.front, self.back


def load_folder(place: Path, what: str) -> tuple[Any, Any]:
    """Module and tokenizer of a folder, ready to be explained.

    Args:
        place: The folder.
        what: Name of the model in conf/model.

    Raises:
        InputError: They cannot be loaded, or weights and settings do not fit.
    """
    with hf_folder.without_progress():
        module = hf_folder.loaded(place, "AutoModelForCausalLM", what)
    return weights_files.ready(module), hf_text.tokenizer(place)
