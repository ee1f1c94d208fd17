"""Torchvision classifiers with weights from a file, the cache or a download."""

from __future__ import annotations

import logging
import math
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn
from torchvision.models import (
    WeightsEnum,
    get_model,
    get_model_builder,
    get_model_weights,
    list_models,
)

from igbench.core.arguments import checked
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError, check_choice, suggestion
from igbench.models import labels
from igbench.models import weights as weights_files

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that a download waits for an answer."""

DEFAULT_CLASSES = 1000

PAPER_WEIGHTS = "IMAGENET1K_V1"
"""Weights whose preprocessing and class names apply to a state dict from a file."""


CAM_LAYERS = {
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "maxvit": "blocks.3",
    "mnasnet": "layers",
    "regnet": "trunk_output",
    "shufflenet": "conv5",
    "swin": "permute",  # from channels last to (N, channels, h, w)
    "vit": "",
    "densenet": "",  # overwrites the output of `features`, so nothing is left to differentiate
}
"""Last layer with spatial axes, by the start of the architecture's name; else layer4, features."""

TASKS = {
    "detection": "a detection model, which returns boxes",
    "optical_flow": "an optical-flow model, which takes two images",
    "quantization": "a quantised model, which has no gradients",
    "segmentation": "a segmentation model, which returns a map of classes",
    "video": "a video model, which takes clips",
}
"""What models other than image classifiers are, by their package in `torchvision.models`."""


@checked
def torchvision_model(
    *,
    arch: str = "resnet50",
    weights: str = PAPER_WEIGHTS,
    entry: str | None = None,
    class_names: str | Sequence[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Model:
    """An image classifier of torchvision.

    Maps (N, 3, H, W) to (N, K) logits.  Named weights are read from the hub cache
    (`$TORCH_HOME/hub/checkpoints`), and downloaded there if absent.  A state dict is preprocessed
    as the weights "IMAGENET1K_V1" are, and says by the shape of its last layer what K is.

    Args:
        arch: Name of the architecture in `torchvision.models`.
        weights: Name of torchvision's weights ("IMAGENET1K_V1", "IMAGENET1K_V2", "DEFAULT"), the
            path of a state dict, or "random" for none.
        entry: Entry of the file that holds the state dict, where it has several.
        class_names: K names, or a file with one name a line; null for those of ImageNet where K
            is 1000, else "0", "1", ...
        arguments: Further arguments of the architecture.

    Raises:
        InputError: The architecture or the weights are unknown, do not fit, or cannot be had.

    Source: for ResNet, He et al. 2016, "Deep Residual Learning" (CVPR).
    """
    _check_classifier(arch)
    known = get_model_weights(arch)
    named = weights in known.__members__
    config = known[weights] if named else _like_the_paper(known)
    own = dict(arguments or {})
    if weights == "random":
        module, source = _build(arch, config, own), weights_files.RANDOM_SOURCE
    else:
        if named:
            _check_has_classes(config, arch)
            path = _cached_or_downloaded(config, arch)
        else:
            path = _given_file(weights, arch, list(known.__members__))
        state = weights_files.load_state(path, entry=entry)
        config = config if named else _of_its_size(known, config, state)
        module, notes = _loaded(arch, config, state, repr(str(path)), own)
        source = f"weights {config.name}" if named else weights_files.described(path, state, notes)
    names = labels.class_names(class_names, _count(module), config.meta["categories"])
    return Model(
        name=weights_files.named(arch, source),
        module=weights_files.ready(module),
        class_names=names,
        cam_layer=_cam_layer(module, arch),
        weights_hash=weights_files.state_hash(module),
        source=f"torchvision {arch}, {source}",
        preprocess=_preprocess(config),
        channels_last=True,
    )


def _check_classifier(arch: str) -> None:
    known = list_models(module=torchvision.models)
    if arch not in known and arch in list_models():
        task = get_model_builder(arch).__module__.split(".")[2]
        raise InputError(
            f"{arch} is {TASKS.get(task, f'a model for {task}')}, not a classifier of images; wrap "
            "a float model in a module that returns (N, K), and use model=torch_module "
            "model.factory=MODULE.FUNCTION."
        )
    check_choice("arch", arch, known)


def _check_has_classes(config: WeightsEnum, arch: str) -> None:
    if not config.meta["categories"]:
        raise InputError(
            f"the weights {config.name} of {arch} have no classifier; use model.weights="
            f"{PAPER_WEIGHTS}."
        )


def _loaded(
    arch: str,
    config: WeightsEnum,
    state: weights_files.State,
    source: str,
    own: dict[str, Any],
) -> tuple[nn.Module, str]:
    """The architecture with as many classes and heads as a file has, and what `fit_state` said."""
    if arch.startswith("densenet"):
        state = _with_present_names(state)
    if arch.startswith(("googlenet", "inception")):
        own = {"aux_logits": any("aux" in name.lower() for name in state)} | own
    module = _build(arch, config, own)
    k = weights_files.classes(state, module, DEFAULT_CLASSES)
    if k not in (None, DEFAULT_CLASSES) and "num_classes" not in own:
        module = _build(arch, config, {"num_classes": k} | own)
    return module, weights_files.fit_state(module, state, source)


def _build(arch: str, config: WeightsEnum, own: Mapping[str, Any]) -> nn.Module:
    """The architecture, as torchvision builds it for these weights."""
    settings: dict[str, Any] = {}
    if arch.startswith(("googlenet", "inception")):
        settings = {"transform_input": True, "init_weights": False}
    elif arch.startswith("vit"):
        settings = {"image_size": config.meta["min_size"][0]}
    settings = {name: value for name, value in settings.items() if name not in own}
    try:
        with weights_files.untouched_rng():
            module: nn.Module = get_model(arch, weights=None, **settings, **own)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.arguments of {arch}: {error}.") from error
    return module


def _with_present_names(state: weights_files.State) -> weights_files.State:
    """Names of DenseNet's layers without the dots that torchvision's own files still have."""
    pattern = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    found = weights_files.State((pattern.sub(r"\1\2", name), v) for name, v in state.items())
    found.entry = state.entry
    return found


def _count(module: nn.Module) -> int:
    """Number of outputs: the size of the last layer."""
    last = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    return last.out_features if isinstance(last, nn.Linear) else last.out_channels


def _like_the_paper(known: type[WeightsEnum]) -> WeightsEnum:
    members = known.__members__
    return members.get(PAPER_WEIGHTS, next(iter(members.values())))


def _of_its_size(
    known: type[WeightsEnum], config: WeightsEnum, state: weights_files.State
) -> WeightsEnum:
    """The weights for images of the size of a file's position embedding, where it has one."""
    name = next((n for n in state if n.endswith("encoder.pos_embedding")), None)
    kernel = next((n for n in state if n.endswith("conv_proj.weight")), None)
    if name is None or kernel is None:
        return config
    side = math.isqrt(state[name].shape[1] - 1) * state[kernel].shape[-1]
    fitting = [w for w in (config, *known.__members__.values()) if w.meta["min_size"][0] == side]
    return fitting[0] if fitting else config


def _given_file(weights: str, arch: str, known: list[str]) -> Path:
    path = Path(weights).expanduser()
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    raise InputError(
        f"unknown weights {weights!r} of {arch}; known: {', '.join(known)}, random, or the path of "
        f"a state dict.{suggestion(weights, known)}"
    )


def _cam_layer(module: nn.Module, arch: str) -> str:
    """The last layer with spatial axes; "" where there is none."""
    for start, layer in CAM_LAYERS.items():
        if arch.startswith(start):
            return layer
    return "layer4" if hasattr(module, "layer4") else "features"


def _preprocess(entry: WeightsEnum) -> Preprocess:
    preset = entry.transforms()
    return Preprocess(
        resize=int(preset.resize_size[0]),
        crop=int(preset.crop_size[0]),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation="bicubic" if preset.interpolation.value == "bicubic" else "bilinear",
    )


def _cached_or_downloaded(entry: WeightsEnum, arch: str) -> Path:
    """The file of these weights in the hub cache, downloaded and verified if absent."""
    name = Path(urlparse(entry.url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    logger.info("downloading %s to %s", entry.url, path)
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _answer_within(TIMEOUT):
            torch.hub.download_url_to_file(
                entry.url, str(path), hash_prefix=digits[1] if digits else None, progress=False
            )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the weights {entry.name} of {arch} are neither at {str(path)!r} nor can they be "
            f"downloaded ({error}); put the file there, give model.weights=PATH of a state dict, "
            "or run experiment=imagenet_lite, which works offline."
        ) from error
    return path


@contextmanager
def _answer_within(seconds: float) -> Iterator[None]:
    """Time out on sockets that are silent for this long: downloads have no timeout of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
