"""Torchvision classifiers with weights from a file, the cache or a download."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from igbench.core.model import Model, Preprocess
from igbench.errors import InputError, check_choice, suggestion
from igbench.models import weights as weights_files

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that a download waits for an answer."""

PAPER_WEIGHTS = "IMAGENET1K_V1"
"""Weights whose preprocessing and class names apply to a state dict from a file."""


def torchvision_model(*, arch: str = "resnet50", weights: str = PAPER_WEIGHTS) -> Model:
    """A torchvision ImageNet-1k classifier.

    Maps (N, 3, H, W) to (N, 1000) logits.  Named weights are read from the hub cache
    (`$TORCH_HOME/hub/checkpoints`), and downloaded there if absent.

    Args:
        arch: Name of the architecture in `torchvision.models`.
        weights: Name of torchvision's weights ("IMAGENET1K_V1", "IMAGENET1K_V2", "DEFAULT"), or
            the path of a state dict, which is preprocessed as "IMAGENET1K_V1" is.

    Raises:
        InputError: The architecture or the weights are unknown, do not fit, or cannot be had.

    Source: for ResNet, He et al. 2016, "Deep Residual Learning" (CVPR).
    """
    check_choice("arch", arch, list_models(module=torchvision.models))
    known = get_model_weights(arch)
    if weights in known.__members__:
        entry = known[weights]
        path = _cached_or_downloaded(entry, arch)
        source = f"torchvision {arch}, weights {entry.name}"
    else:
        entry = _like_the_paper(known)
        path = _given_file(weights, arch, list(known.__members__))
        source = f"torchvision {arch}, state dict {path.name}"
    state = weights_files.load_state(path)
    with weights_files.untouched_rng():
        module = get_model(arch, weights=None)
    weights_files.fit_state(module, state, repr(str(path)))
    return Model(
        name=arch,
        module=weights_files.ready(module),
        class_names=tuple(entry.meta["categories"]),
        cam_layer=_cam_layer(module, arch),
        weights_hash=weights_files.state_hash(module),
        source=source,
        preprocess=_preprocess(entry),
        channels_last=True,
    )


def _like_the_paper(known: type[WeightsEnum]) -> WeightsEnum:
    members = known.__members__
    return members.get(PAPER_WEIGHTS, next(iter(members.values())))


def _given_file(weights: str, arch: str, known: list[str]) -> Path:
    path = Path(weights).expanduser()
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    raise InputError(
        f"unknown weights {weights!r} of {arch}; known: {', '.join(known)}, or the path of a state "
        f"dict.{suggestion(weights, known)}"
    )


def _cam_layer(module: nn.Module, arch: str) -> str:
    """The last stage of ResNets, the convolutional part of networks that keep one."""
    if hasattr(module, "layer4"):
        return "layer4"
    # DenseNet overwrites the output of `features`, so there is nothing to differentiate.
    return "features" if hasattr(module, "features") and not arch.startswith("densenet") else ""


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
