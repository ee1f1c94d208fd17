"""Folders of Hugging Face: settings, weights and names, without pickles and without their code."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from igbench import files
from igbench.errors import InputError, one_line
from igbench.models import labels
from igbench.models import weights as weights_files

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""Form of the name of a model on the hub: OWNER/NAME, or NAME."""

DECIDING = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*.safetensors",
)
"""Files that decide what a model of texts computes."""


def folder(path: str | None, what: str, saved: str) -> Path:
    """The folder of a model.

    Args:
        path: As given by the user.
        what: Name of the model in conf/model.
        saved: What is saved beside the model, such as "processor".

    Raises:
        InputError: No path, or no folder on this machine.
    """
    if not path:
        raise InputError(
            f"model={what} needs the folder of a model; set model.path=DIR, where "
            f"model.save_pretrained(DIR) and {saved}.save_pretrained(DIR) wrote it."
        )
    found = Path(path).expanduser().absolute()
    if not found.is_dir():
        raise InputError(
            f"model.path={path} is not a folder on this machine; nothing is downloaded: save the "
            "model there with save_pretrained."
        )
    return found


def snapshot(name: str) -> Path:
    """The folder of a model of the hub, downloaded without pickles and code, or from its cache.

    Args:
        name: OWNER/NAME.

    Raises:
        InputError: It is not there, or the hub cannot be reached.
    """
    hub = needed("huggingface_hub", "hf_text")
    try:
        found = hub.snapshot_download(name, allow_patterns=list(DECIDING), ignore_patterns=["*/*"])
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"model.path={name} is not a folder on this machine, and cannot be fetched from the "
            f"hub of Hugging Face: {one_line(error)}."
        ) from error
    return Path(found)


def settings(file: Path, saved: str) -> dict[str, Any]:
    """The settings in a JSON file.

    Args:
        file: The file.
        saved: What should have been saved, for messages.

    Raises:
        InputError: It is missing, cannot be read, or holds something else.
    """
    try:
        found = json.loads(files.text(file, labels.MOST))
    except FileNotFoundError as error:
        raise InputError(
            f"{str(file.parent)!r} has no {file.name}; save model and {saved} there with "
            "save_pretrained."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} cannot be read: {one_line(error)}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{str(file)!r} holds no settings; save it again with save_pretrained.")
    return found


def check_kind(place: Path, config: Mapping[str, Any], *endings: str) -> None:
    """Raise unless a folder holds a model of a kind that runs without code of its own.

    Args:
        place: The folder.
        config: Its config.json.
        endings: Last parts of the names of the classes, such as "ForImageClassification".

    Raises:
        InputError: Another model, or code that would have to be run.
    """
    if "auto_map" in config:
        raise InputError(
            f"the model in {str(place)!r} needs code of its own (auto_map in config.json), which "
            "is not run; load it yourself, and use model=torch_module model.factory="
            "MODULE.FUNCTION."
        )
    kinds = config.get("architectures") or ["nothing"]
    if not str(kinds[0]).endswith(endings):
        raise InputError(
            f"{str(place)!r} holds {kinds[0]}, not a model {endings[0]}; use "
            "model=torch_module model.factory=MODULE.FUNCTION for a module that returns (N, K)."
        )


def check_safetensors(place: Path) -> None:
    """Raise unless a folder holds its weights as safetensors.

    Raises:
        InputError: There are none, or only pickles.
    """
    found_files = sorted(place.glob("model*.safetensors"))
    for file in found_files:
        try:
            files.size(file)
        except OSError as error:
            raise InputError(f"{str(file)!r} cannot be read: {one_line(error)}.") from error
    if found_files:
        return
    pickles = sorted(file.name for file in place.glob("*.bin"))
    found = f"only {pickles[0]}, a pickle, which is not read" if pickles else "no weights"
    raise InputError(
        f"{str(place)!r} has {found}; save model.safetensors with "
        "model.save_pretrained(DIR, safe_serialization=True)."
    )


def needed(package: str, what: str, extra: str = "hf") -> Any:
    """A package of an extra.

    Raises:
        InputError: It is not installed.
    """
    if find_spec(package) is None:
        raise InputError(f"model={what} needs {package}; run `pip install 'igbench[{extra}]'`.")
    return importlib.import_module(package)


def loaded(place: Path, auto: str, what: str) -> Any:
    """The module of a folder, whole: weights that are missing or misshapen would be random.

    Args:
        place: The folder.
        auto: Name of the class of transformers that loads it.
        what: Name of the model in conf/model.

    Raises:
        InputError: It cannot be loaded, or weights and settings do not fit.
    """
    transformers = needed("transformers", what)
    try:
        with weights_files.untouched_rng():
            module, found = getattr(transformers, auto).from_pretrained(
                str(place),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise InputError(f"{str(place)!r} cannot be loaded: {one_line(error)}.") from error
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        for name in sorted(str(name) for name in found.get(key) or ()):
            raise InputError(
                f"the weights in {str(place)!r} do not fit config.json: {name} is among the "
                f"{key.replace('_', ' ')}, and would be random or left out."
            )
    return module


@contextmanager
def without_progress() -> Iterator[None]:
    """Load without the progress bars of transformers, and leave its setting as it was."""
    needed("transformers", "hf_text")
    bars = importlib.import_module("transformers.utils.logging")
    before = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            bars.enable_progress_bar()


def widened(module: Any) -> tuple[Any, list[str]]:
    """A module in float32, and from what it was converted, in words."""
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()} - {torch.float32}
    notes = [f"converted from {str(kind).removeprefix('torch.')} to float32" for kind in kinds]
    return module.float(), notes


def names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Names from `id2label`, by index; None where it is not complete.

    >>> names({"id2label": {"1": "dog", "0": "cat"}}, 2)
    ('cat', 'dog')
    """
    known = {str(k): str(v) for k, v in (config.get("id2label") or {}).items()}
    found = [known.get(str(k)) for k in range(count)]
    return None if None in found else tuple(str(name) for name in found)


def content_hash(place: Path) -> str:
    """SHA-256 over the names and contents of the files that decide what a model computes.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted({file for pattern in DECIDING for file in place.glob(pattern)}):
        with files.opened(file) as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        digest.update(f"{file.name}\x1f{own}\x1f".encode())
    return digest.hexdigest()
