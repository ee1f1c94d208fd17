"""Language models of Hugging Face from a folder on this machine."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from igbench import files
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.prompts import CONTEXT
from igbench.core.tokens import Encoded
from igbench.errors import InputError, SampleError, one_line
from igbench.models import hf_encoder, hf_image, labels
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
        self.selects = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def table(self) -> Tensor:
        """Word embeddings, (V, E)."""
        found: Tensor = self.model.get_input_embeddings().weight
        return found

    def forward(self, embeddings: Tensor, visible: Tensor, keep: Tensor) -> Tensor:
        """Logits (n, k, V)."""
        n, length, _ = embeddings.shape
        logits: Tensor = self.model(
            inputs_embeds=embeddings,
            attention_mask=visible.long(),
            position_ids=torch.arange(length, device=embeddings.device).expand(n, -1),
            use_cache=False,
            **({"logits_to_keep": keep} if self.selects else {}),
        ).logits
        return logits if self.selects else logits[:, keep]


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
        spans = hf_encoder._spans(whole, found)
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
    folder = _folder(path)
    config = _config(folder)
    hf_image._check_safetensors(folder)
    module, tokenizer = load_folder(folder, "hf_causal")
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()} - {torch.float32}
    notes = [f"converted from {str(kind).removeprefix('torch.')} to float32" for kind in kinds]
    return language_model(
        module.float(),
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
    """A language model of transformers as an igbench model.

    Args:
        module: The model, which is put into eval mode and frozen.
        tokenizer: A fast tokenizer of transformers.
        name: Name in every table.
        source: Origin of the weights, in words.
        chat: Whether prompts are put into the chat template.
        mean: See `igbench.models.causal.CausalModel`.
        first: The special token in front of every prompt; None for the tokenizer's first token, or
            else its last one.  Chat templates bring their own.

    Raises:
        InputError: The tokenizer has no token to begin with, or no chat template.
    """
    decoder = HuggingFaceDecoder(weights_files.ready(module))
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
    own = {
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


def _folder(path: str | None) -> Path:
    if not path:
        raise InputError(
            "model=hf_causal needs the folder of a model; set model.path=DIR, where "
            "model.save_pretrained(DIR) and tokenizer.save_pretrained(DIR) wrote it."
        )
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(
            f"model.path={path} is not a folder on this machine; nothing is downloaded: save the "
            "model there with save_pretrained."
        )
    return folder


def _config(folder: Path) -> Mapping[str, Any]:
    """`config.json` of a language model that needs no code of its own."""
    file = folder / "config.json"
    try:
        config = json.loads(files.text(file, labels.MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{str(file)!r} cannot be read: {one_line(error)}; save model and tokenizer there with "
            "save_pretrained."
        ) from error
    if not isinstance(config, dict) or "auto_map" in config:
        raise InputError(
            f"the model in {str(folder)!r} needs code of its own (auto_map in config.json), which "
            "is not run; build an igbench.models.causal.CausalModel of it in Python."
        )
    kind = str((config.get("architectures") or ["nothing"])[0])
    if not kind.endswith(("ForCausalLM", "LMHeadModel")):
        raise InputError(f"{str(folder)!r} holds {kind}, not a language model (ForCausalLM).")
    return config


def needed(package: str, what: str, extra: str) -> Any:
    """A package of an extra.

    Raises:
        InputError: It is not installed.
    """
    if find_spec(package) is None:
        raise InputError(f"model={what} needs {package}; run `pip install 'igbench[{extra}]'`.")
    return importlib.import_module(package)


def load_folder(folder: Path, what: str) -> tuple[nn.Module, Any]:
    """Module and tokenizer; weights that are missing or of another shape would be random.

    Args:
        folder: Where they were saved.
        what: Name of the model in conf/model.

    Raises:
        InputError: They cannot be loaded, or weights and settings do not fit.
    """
    transformers = needed("transformers", what, "hf")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with weights_files.untouched_rng():
            module, found = transformers.AutoModelForCausalLM.from_pretrained(
                str(folder),
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                **local,
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **local)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, TypeError) as error:
        raise InputError(f"{str(folder)!r} cannot be loaded: {one_line(error)}.") from error
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        for name in sorted(str(name) for name in found.get(key) or ()):
            raise InputError(
                f"the weights in {str(folder)!r} do not fit config.json: {name} is among the "
                f"{key.replace('_', ' ')}, and would be random or left out."
            )
    return module, tokenizer
