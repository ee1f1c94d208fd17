"""Text classifiers of Hugging Face from a folder, the hub, or Python, as models of embeddings."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from igbench.core import callers, rng
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.core.tokens import TokenModel, packed
from igbench.errors import InputError, NotDefinedError, one_line, typed_line
from igbench.models import hf_encoder, hf_folder, labels
from igbench.models import weights as weights_files
from igbench.models.hf_encoder import HuggingFaceEncoder

PROBE = "a good film, not bad"
"""A text on which tokens and embeddings are compared."""

TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest or 1, between tokens and embeddings."""


class HuggingFaceText(TokenModel):
    """A sequence classifier of transformers as a function of embeddings, (N, L, E + 1) to (N, K).

    Positions are those of the tokens that are kept, hidden ones included; token types are 0.  A
    decoder with a head on its last token reads the last visible one.

    Args:
        module: Takes `inputs_embeds` and `attention_mask`, and returns `logits`.
    """

    def __init__(self, module: Any) -> None:
        super().__init__(module.get_input_embeddings().weight.shape[1])
        self.module = module
        self.first = hf_encoder.first_position(module)
        self.readout = _readout(module)

    @property
    def table(self) -> Tensor:
        """All word embeddings (V, E)."""
        return self.module.get_input_embeddings().weight

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        """Outputs (n, K) of embeddings (n, l, E), of which some are visible, (n, l).

        Raises:
            NotDefinedError: Nothing is left of a text.
        """
        check_left(visible)
        if self.readout != "last":
            return outputs(called(self.module, embeddings, visible, self.first))
        module: Any = self.module
        states = called(module.base_model, embeddings, visible, self.first).last_hidden_state
        places = torch.arange(visible.shape[1], device=visible.device)
        last = (places * visible).argmax(dim=1)
        found = states[torch.arange(len(states), device=states.device), last]
        return module.score(found)


@checked
def hf_text(*, path: str | None = None, class_names: str | Sequence[str] | None = None) -> Model:
    """A text classifier of Hugging Face: a folder on this machine, or the name of one on the hub.

    Maps packed texts to (N, K) logits.  The model needs `config.json`, weights as safetensors and a
    fast tokenizer; code that comes with it is not run.  Attention is computed by its plain formula
    ("eager").  Of a folder nothing is downloaded.

    Args:
        path: The folder, or OWNER/NAME.
        class_names: K names, or a file with one name a line; null for `id2label` of the model.

    Raises:
        InputError: The folder is incomplete, holds another kind of model, or needs code of its
            own; the model computes something else from embeddings than from tokens; transformers
            is not installed.
    """
    place, name, origin = _place(path)
    config = hf_folder.settings(place / "config.json", "tokenizer")
    hf_folder.check_kind(place, config, "ForSequenceClassification")
    hf_folder.check_safetensors(place)
    with hf_folder.without_progress():
        found = hf_folder.loaded(place, "AutoModelForSequenceClassification", "hf_text")
    module, notes = hf_folder.widened(found)
    count = int(module.config.num_labels)
    digest = hf_folder.content_hash(place)
    parts = [f"Hugging Face {config['architectures'][0]}, {origin}", *notes]
    return _model(
        weights_files.ready(module),
        tokenizer(place),
        name=name,
        class_names=labels.class_names(class_names, count, hf_folder.names(config, count)),
        weights_hash=digest,
        source="; ".join([*parts, f"files sha256 {digest[:16]}"]),
    )


def wrapped(
    module: Any, tokenizer: Any, *, name: str | None = None, class_names: Sequence[str] = ()
) -> Model:
    """A classifier and its tokenizer that are loaded already; both stay as they are.

    Args:
        module: A model of transformers for sequence classification, in eval mode.
        tokenizer: Its tokenizer, a fast one.
        name: Name in every table; by default that of the class.
        class_names: K names; `id2label` of the model by default.

    Raises:
        InputError: The model is in training mode, or it computes something else from embeddings
            than from tokens; the tokenizer is no fast one.
    """
    own: Any = callers.private(module)
    config = own.config.to_dict()
    count = int(own.config.num_labels)
    text = getattr(getattr(tokenizer, "backend_tokenizer", None), "to_str", str)()
    return _model(
        own,
        tokenizer,
        name=name or type(module).__name__,
        class_names=labels.class_names(class_names or None, count, hf_folder.names(config, count)),
        weights_hash=hashlib.sha256((weights_files.state_hash(own) + text).encode()).hexdigest(),
        source=f"Hugging Face {type(module).__name__}, given by the caller",
    )


def tokenizer(place: Path) -> Any:
    """The tokenizer of a folder, without code of its own.

    Raises:
        InputError: It cannot be loaded.
    """
    transformers = hf_folder.needed("transformers", "hf_text")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(place), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # whatever a reader of files of strangers raises
        raise InputError(
            f"the tokenizer in {str(place)!r} cannot be loaded ({one_line(error)}); save it there "
            "with tokenizer.save_pretrained(DIR)."
        ) from error


def called(module: Any, embeddings: Tensor, visible: Tensor, first: int = 0) -> Any:
    """What a model of transformers returns for embeddings: never padded, never cached.

    Args:
        module: The model.
        embeddings: (n, l, E).
        visible: (n, l) boolean, false where the attention mask is 0.
        first: Number of the position of the first token.
    """
    known = inspect.signature(module.forward).parameters
    n, length = visible.shape
    places = torch.arange(first, first + length, device=embeddings.device).expand(n, length)
    more = {"position_ids": places, "use_cache": False}
    return module(
        inputs_embeds=embeddings,
        attention_mask=visible.long(),
        **{name: value for name, value in more.items() if name in known},
    )


def outputs(found: Any) -> Tensor:
    """The logits (n, K) of what a classifier returns."""
    return found.logits if hasattr(found, "logits") else found[0]


def check_left(visible: Tensor) -> None:
    """Raise unless each text (n, l) has a visible token.

    Raises:
        NotDefinedError: Nothing is left of a text.
    """
    if not bool(visible.any(dim=1).all()):
        raise NotDefinedError(
            "a text of which no token is left has no meaning for this model, whose tokenizer puts "
            "none around it; replace words instead of hiding or deleting them (occluder=mean)."
        )


def _readout(module: Any) -> Literal["first", "last", "mean"]:
    """What a head reads: decoders of transformers, which call it `score`, their last token."""
    decoder = getattr(module, "base_model", module) is not module
    if decoder and isinstance(getattr(module, "score", None), nn.Linear):
        return "last"
    pooling = getattr(getattr(module, "config", None), "classifier_pooling", "cls")
    return "mean" if pooling == "mean" else "first"


def _place(path: str | None) -> tuple[Path, str, str]:
    """The folder of a model, its name, and where it is from, in words."""
    if path and not Path(path).expanduser().is_dir() and hf_folder.HUB_NAME.fullmatch(path):
        found = hf_folder.snapshot(path)
        return found, path.rpartition("/")[2], f"hub {path} at {found.name}"
    found = hf_folder.folder(path, "hf_text", "tokenizer")
    return found, found.name, f"folder {found}"


def _model(module: Any, tokens: Any, **named: Any) -> Model:
    """The model of a module and a tokenizer that belong together."""
    try:
        own = HuggingFaceText(module)
    except AttributeError as error:
        raise InputError(
            f"{type(module).__name__} is no model of texts of transformers: {one_line(error)}."
        ) from error
    text = hf_encoder.encoder(tokens, own.table, longest=hf_encoder.longest(tokens, module))
    _check_embeddings(own, text)
    return Model(module=own.eval(), cam_layer="", text=text, **named)


def _check_embeddings(model: HuggingFaceText, text: HuggingFaceEncoder) -> None:
    """Raise unless the model computes the same from tokens and from their embeddings."""
    ids = text.encode(PROBE).ids
    rows = packed(text.embed(ids), len(ids))[None]
    try:
        with rng.untouched(), torch.no_grad():
            module: Any = model.module
            expected = outputs(
                module(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None])
            )
            found = model(rows)
    except Exception as error:  # whatever the code of a model raises
        raise InputError(
            f"{type(model.module).__name__} cannot be called with embeddings in place of tokens "
            f"({typed_line(error)}), so its words cannot be explained; choose another model."
        ) from error
    off = float((expected - found).abs().max())
    if expected.shape != found.shape or not off <= TOLERANCE * max(
        1.0, float(expected.abs().max())
    ):
        raise InputError(
            f"{type(model.module).__name__} computes something else from embeddings than from "
            f"tokens (outputs differ by {off:.2g}), so its words cannot be explained; choose "
            "another model."
        )
