"""Image classifiers of timm, convolutional or transformers, with their own preprocessing."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torchvision.models._meta import _IMAGENET_CATEGORIES

from igbench.core.arguments import checked
from igbench.core.layers import auto_layer
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError, one_line, suggestion
from igbench.models import labels
from igbench.models import weights as weights_files

INSTEAD = "use model=torch_module model.factory=timm.create_model with your own preprocessing"


@checked
def timm_model(
    *,
    arch: str = "vit_tiny_patch16_224",
    weights: str = "pretrained",
    entry: str | None = None,
    class_names: str | Sequence[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Model:
    """An image classifier of timm.

    Maps (N, 3, side, side) to (N, K) logits, preprocessed as timm's configuration of the
    architecture says.  Pretrained weights are read from the cache of Hugging Face, and downloaded
    there if absent; timm reads them without running code.

    Args:
        arch: Name of the architecture, with the tag of its weights where there are several:
            "resnet50.a1_in1k".
        weights: "pretrained", the path of a state dict, or "random" for none.
        entry: Entry of the file that holds the state dict, where it has several.
        class_names: K names, or a file with one name a line; null for those of ImageNet where K
            is 1000, else "0", "1", ...
        arguments: Further arguments of `timm.create_model`.

    Raises:
        InputError: The architecture is unknown or no classifier, its preprocessing is none of
            `Preprocess`, or the weights do not fit or cannot be had.

    Source: Wightman 2019, "PyTorch Image Models".
    """
    timm = _timm()
    own = dict(arguments or {})
    _check_known(timm, arch)
    if weights == "pretrained":
        module = _pretrained(timm, arch, own)
        source = f"weights {module.pretrained_cfg.get('hf_hub_id') or 'pretrained'}"
    elif weights == "random":
        module, source = _build(timm, arch, own), weights_files.RANDOM_SOURCE
    else:
        module, source = _from_file(timm, arch, Path(weights), entry, own)
    count = int(module.num_classes)
    if count < 1:
        raise InputError(
            f"{arch} has no classifier, only features; choose weights with classes, as those "
            "tagged in1k, or give model.weights=PATH of a state dict with a classifier and "
            "'model.arguments={num_classes: K}'."
        )
    config = timm.data.resolve_data_config(_sizes(own), model=module)
    preprocess = _preprocess(arch, config)
    module = weights_files.ready(module)
    return Model(
        name=weights_files.named(arch, source),
        module=module,
        class_names=labels.class_names(class_names, count, _IMAGENET_CATEGORIES),
        cam_layer=auto_layer(module, torch.zeros(1, *config["input_size"])),
        weights_hash=weights_files.state_hash(module),
        source=f"timm {arch}, {source}",
        preprocess=preprocess,
        channels_last=True,
    )


def _timm() -> Any:
    if find_spec("timm") is None:
        raise InputError("model=timm needs the package timm; run `pip install timm`.")
    return importlib.import_module("timm")


def _check_known(timm: Any, arch: str) -> None:
    """Raise unless timm has the architecture and the tag of its weights."""
    base, _, tag = arch.partition(".")
    known = timm.list_models()
    if base not in known:
        raise InputError(
            f"unknown arch {arch!r} of timm; timm.list_models() shows all {len(known)}."
            f"{suggestion(base, known)}"
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise InputError(
            f"timm has no weights {tag!r} of {base}; known: {', '.join(tags) or 'none'}."
            f"{suggestion(tag, tags)}"
        )


def _build(timm: Any, arch: str, own: Mapping[str, Any], *, pretrained: bool = False) -> Any:
    try:
        with weights_files.untouched_rng():
            module = timm.create_model(arch, pretrained=pretrained, **own)
    except (TypeError, AssertionError) as error:
        raise InputError(f"model.arguments of {arch}: {one_line(error)}.") from error
    return module


def _pretrained(timm: Any, arch: str, own: Mapping[str, Any]) -> Any:
    if not timm.is_model_pretrained(arch):
        raise InputError(f"timm has no weights of {arch}; give model.weights=PATH of a state dict.")
    if "num_classes" in own:
        raise InputError(
            "model.arguments has num_classes, with which timm would put a random classifier on "
            "pretrained weights; leave it out, or give model.weights=PATH of a state dict."
        )
    try:
        return _build(timm, arch, own, pretrained=True)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the weights of timm's {arch} are neither in the cache of Hugging Face nor can they "
            f"be downloaded ({one_line(error)}); give model.weights=PATH of a state dict, or run "
            "experiment=imagenet_lite, which works offline."
        ) from error


def _from_file(
    timm: Any, arch: str, path: Path, entry: str | None, own: dict[str, Any]
) -> tuple[Any, str]:
    """The architecture with as many classes as a state dict has, and its tensors."""
    state = weights_files.load_state(path, entry=entry)
    module = _build(timm, arch, own)
    count = weights_files.classes(state, module, module.num_classes)
    if "num_classes" not in own and count not in (None, module.num_classes):
        module = _build(timm, arch, {"num_classes": count, **own})
    notes = weights_files.fit_state(module, state, repr(str(path)))
    return module, weights_files.described(path, state, notes)


def _sizes(own: Mapping[str, Any]) -> dict[str, Any]:
    return {"img_size": own["img_size"]} if "img_size" in own else {}


def _preprocess(arch: str, config: Mapping[str, Any]) -> Preprocess:
    """Timm's evaluation transform: the short side to size / crop_pct, then the centre.

    Raises:
        InputError: The images are not square, or squashed, padded, or interpolated otherwise.
    """
    _, height, width = config["input_size"]
    wrong = {
        "its images are not square": height != width,
        f"its crop_mode is {config['crop_mode']!r}": config["crop_mode"] != "center",
        f"its interpolation is {config['interpolation']!r}": config["interpolation"]
        not in ("bicubic", "bilinear"),
    }
    for why, found in wrong.items():
        if found:
            raise InputError(f"the preprocessing of {arch} is not available ({why}); {INSTEAD}.")
    return Preprocess(
        resize=math.floor(height / config["crop_pct"]),
        crop=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
    )
