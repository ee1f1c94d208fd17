"""Image classifiers of Hugging Face from a folder on this machine."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from igbench import files
from igbench.core.arguments import checked
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError, one_line
from igbench.models import labels
from igbench.models import weights as weights_files

INTERPOLATIONS: dict[object, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, as `resample` has them."""


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
    folder = _folder(path)
    config = _json(folder / "config.json")
    _check_classifier(folder, config)
    _check_safetensors(folder)
    preprocess = _preprocess(_json(folder / "preprocessor_config.json"), folder, resize, crop)
    module = _loaded(folder)
    count = int(module.config.num_labels)
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()} - {torch.float32}
    notes = [f"converted from {str(kind).removeprefix('torch.')} to float32" for kind in kinds]
    module = weights_files.ready(module.float())
    return Model(
        name=folder.name,
        module=module,
        class_names=labels.class_names(class_names, count, _names(config, count)),
        cam_layer="",
        weights_hash=weights_files.state_hash(module),
        source="; ".join([f"Hugging Face {config['architectures'][0]}, folder {folder}", *notes]),
        preprocess=preprocess,
    )


def _folder(path: str | None) -> Path:
    if not path:
        raise InputError(
            "model=hf_image needs the folder of a model; set model.path=DIR, where "
            "model.save_pretrained(DIR) and processor.save_pretrained(DIR) wrote it."
        )
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(
            f"model.path={path} is not a folder on this machine; nothing is downloaded: save the "
            "model there with save_pretrained."
        )
    return folder


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(files.text(file, labels.MOST))
    except FileNotFoundError as error:
        raise InputError(
            f"{str(file.parent)!r} has no {file.name}; save model and image processor there with "
            "save_pretrained."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} cannot be read: {one_line(error)}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{str(file)!r} holds no settings; save it again with save_pretrained.")
    return found


def _check_classifier(folder: Path, config: Mapping[str, Any]) -> None:
    if "auto_map" in config:
        raise InputError(
            f"the model in {str(folder)!r} needs code of its own (auto_map in config.json), which "
            "is not run; load it yourself, and use model=torch_module model.factory="
            "MODULE.FUNCTION."
        )
    kinds = config.get("architectures") or ["nothing"]
    if not str(kinds[0]).endswith("ForImageClassification"):
        raise InputError(
            f"{str(folder)!r} holds {kinds[0]}, not a model ForImageClassification; use "
            "model=torch_module model.factory=MODULE.FUNCTION for a module that returns (N, K)."
        )


def _check_safetensors(folder: Path) -> None:
    found_files = sorted(folder.glob("model*.safetensors"))
    for file in found_files:
        try:
            files.size(file)
        except OSError as error:
            raise InputError(f"{str(file)!r} cannot be read: {one_line(error)}.") from error
    if found_files:
        return
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    found = f"only {pickles[0]}, a pickle, which is not read" if pickles else "no weights"
    raise InputError(
        f"{str(folder)!r} has {found}; save model.safetensors with "
        "model.save_pretrained(DIR, safe_serialization=True)."
    )


def _loaded(folder: Path) -> Any:
    """The module, whole: weights that are missing or of another shape would be random."""
    if find_spec("transformers") is None:
        raise InputError("model=hf_image needs transformers; run `pip install 'igbench[hf]'`.")
    transformers = importlib.import_module("transformers")
    try:
        with weights_files.untouched_rng():
            module, found = transformers.AutoModelForImageClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise InputError(f"{str(folder)!r} cannot be loaded: {one_line(error)}.") from error
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        for name in sorted(str(name) for name in found.get(key) or ()):
            raise InputError(
                f"the weights in {str(folder)!r} do not fit config.json: {name} is among the "
                f"{key.replace('_', ' ')}, and would be random or left out."
            )
    return module


def _names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Names from `id2label`, by index; None where it is not complete."""
    known = {str(k): str(v) for k, v in (config.get("id2label") or {}).items()}
    names = [known.get(str(k)) for k in range(count)]
    return None if None in names else tuple(str(name) for name in names)


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
