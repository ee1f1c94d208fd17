"""Image classifiers of Hugging Face from a folder on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from igbench.core.arguments import checked
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError
from igbench.models import hf_folder, labels
from igbench.models import weights as weights_files

INTERPOLATIONS: dict[object, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, as `resample` has them."""

SAVED = "image processor"


@checked
def hf_image(
    *,
    path: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    class_names: str | Sequence[str] | None = None,
) -> Model:
    """An image classifier that `save_pretrained` of transformers wrote to a folder.

    Maps (N, 3, side, side) to (N, K) logits.  The folder needs `config.json`,
    `preprocessor_config.json` and weights as safetensors; nothing is downloaded, and code in the
    folder is not run.  Attention is computed by its plain formula ("eager").

    Args:
        path: The folder.
        resize: Length of the short side after resizing, with `crop`, instead of the folder's.
        crop: Side of the central square.
        class_names: K names, or a file with one name a line; null for `id2label` of the folder.

    Raises:
        InputError: The folder is incomplete, holds another kind of model, or needs code of its
            own; its preprocessing is none of `Preprocess`; transformers is not installed.
    """
    folder = hf_folder.folder(path, "hf_image", "processor")
    config = hf_folder.settings(folder / "config.json", SAVED)
    hf_folder.check_kind(folder, config, "ForImageClassification")
    hf_folder.check_safetensors(folder)
    steps = hf_folder.settings(folder / "preprocessor_config.json", SAVED)
    preprocess = _preprocess(steps, folder, resize, crop)
    module = hf_folder.loaded(folder, "AutoModelForImageClassification", "hf_image")
    count = int(module.config.num_labels)
    module, notes = hf_folder.widened(module)
    module = weights_files.ready(module)
    return Model(
        name=folder.name,
        module=module,
        class_names=labels.class_names(class_names, count, hf_folder.names(config, count)),
        cam_layer="",
        weights_hash=weights_files.state_hash(module),
        source="; ".join([f"Hugging Face {config['architectures'][0]}, folder {folder}", *notes]),
        preprocess=preprocess,
    )


def _preprocess(
    settings: Mapping[str, Any], folder: Path, resize: int | None, crop: int | None
) -> Preprocess:
    """Steps of an image processor as `Preprocess`; refused by name where they are others."""
    if (resize is None) != (crop is None):
        raise InputError("model.resize and model.crop belong together; give both or none.")
    why = _unavailable(settings)
    if not why and resize is None:
        found = _sizes(settings)
        why = found if isinstance(found, str) else ""
        resize, crop = (0, 0) if isinstance(found, str) else found
    if why or resize is None or crop is None:
        raise InputError(f"the preprocessing in {str(folder)!r} is not available: {why}.")
    normalised = settings.get("do_normalize", True)
    return Preprocess(
        resize=resize,
        crop=crop,
        mean=tuple(settings["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=tuple(settings["image_std"]) if normalised else (1.0, 1.0, 1.0),
        interpolation=INTERPOLATIONS[settings["resample"]],
    )


def _unavailable(settings: Mapping[str, Any]) -> str:
    """Why an image processor does what `Preprocess` cannot; "" where it does not."""
    for name in ("do_pad", "do_flip_channel_order", "rescale_offset", "include_top"):
        if settings.get(name):
            return f"it sets {name}"
    for name in ("do_resize", "do_rescale"):
        if settings.get(name) is False:
            return f"{name} is false"
    if not math.isclose(settings.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-6):
        return f"rescale_factor is {settings['rescale_factor']}, not 1/255"
    if settings.get("resample") not in INTERPOLATIONS:
        return f"resample is {settings.get('resample')}, neither 2 (bilinear) nor 3 (bicubic)"
    for name in ("image_mean", "image_std"):
        if settings.get("do_normalize", True) and len(settings.get(name) or ()) != 3:
            return f"{name} is {settings.get(name)}, not three numbers"
    return ""


def _sizes(settings: Mapping[str, Any]) -> tuple[int, int] | str:
    """Short side after resizing and side of the crop, or why there are none."""
    size, crop = settings.get("size"), settings.get("crop_size")
    short = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if short and settings.get("crop_pct"):  # ConvNeXT: larger images are squashed
        large = short >= 384
        return _squashed(short, short) if large else (int(short / settings["crop_pct"]), short)
    side = _side(crop) if settings.get("do_center_crop") else None
    if short and side:
        return int(short), side
    if _side(size) and not settings.get("do_center_crop"):
        return _squashed(_side(size), _side(size))
    return (
        f"size is {size} and crop_size {crop if settings.get('do_center_crop') else None}; give "
        "model.resize=N and model.crop=N for the short side and the central square"
    )


def _squashed(height: int | None, width: int | None) -> str:
    return (
        f"photographs are squashed to {height} x {width}; give model.resize={height} "
        f"model.crop={width} to resize their short side and take the central square instead"
    )


def _side(size: object) -> int | None:
    """Side of a square; None for anything else."""
    if isinstance(size, Mapping) and size.get("height") == size.get("width"):
        return size.get("height")
    return size if isinstance(size, int) else None
