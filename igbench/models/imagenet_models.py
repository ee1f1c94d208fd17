"""Choose among the classifiers of torchvision and timm by one name, for runs over several."""

from __future__ import annotations

from pathlib import Path

from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.errors import InputError, check_choice
from igbench.models.timm_models import timm_model
from igbench.models.torchvision_models import PAPER_WEIGHTS, torchvision_model

LIBRARIES = ("torchvision", "timm")

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
"""Files of a folder of weights, in the order of the look-up."""


@checked
def imagenet_model(*, arch: str = "torchvision/resnet50", weights: str | None = None) -> Model:
    """An image classifier of torchvision or timm, by "LIBRARY/ARCH".

    Args:
        arch: "torchvision/resnet50", "timm/vit_tiny_patch16_224", ...
        weights: None for those of the library ("IMAGENET1K_V1" of torchvision, "pretrained" of
            timm), from the cache or a download; a folder with a state dict `ARCH.pth` (.pt, .bin,
            .safetensors) for each; the path of one; a name that the library knows; or "random".

    Raises:
        InputError: The name has no library, or as `torchvision_model` and `timm_model` say.

    Source: see `igbench.models.torchvision_models` and `igbench.models.timm_models`.
    """
    library, slash, name = arch.partition("/")
    if not slash:
        raise InputError(
            f"arch {arch!r} does not say its library; write torchvision/{arch} or timm/{arch}."
        )
    check_choice("library", library, LIBRARIES)
    chosen = _in_folder(Path(weights).expanduser(), name) if weights else None
    if library == "torchvision":
        return torchvision_model(arch=name, weights=chosen or PAPER_WEIGHTS)
    return timm_model(arch=name, weights=chosen or "pretrained")


def _in_folder(weights: Path, name: str) -> str:
    """The file of an architecture in a folder; what is no folder stays as it is."""
    if not weights.is_dir():
        return str(weights)
    files = [weights / f"{name}{suffix}" for suffix in SUFFIXES]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise InputError(
            f"there are no weights of {name} in {str(weights)!r}; put a state dict there, as "
            f"{name}.pth or {name}.safetensors."
        )
    return str(found)
