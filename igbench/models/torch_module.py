"""A torch module that the user's own code builds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from igbench.core.model import Model, Preprocess
from igbench.errors import InputError
from igbench.models import labels, own
from igbench.models import weights as weights_files
from igbench.models.layers import last_spatial_child


def torch_module(
    *,
    factory: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    entry: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    input_shape: Sequence[int] | None = None,
    class_names: str | Sequence[str] | None = None,
    cam_layer: str | None = None,
) -> Model:
    """A module that a function or class of the user's returns.

    Maps (N, *F) to (N, K) outputs.  `resize`, `crop`, `mean` and `std` belong together and say how
    photographs become inputs; a model of other data needs none of them.

    Args:
        factory: Dotted name of the function or class, "my_module.build"; it must be importable.
        arguments: Arguments of the factory.
        weights: Path of a state dict; null for the weights that the factory leaves in the module.
        entry: Entry of the file that holds the state dict, where it has several.
        resize: Length of the short side of photographs after resizing.
        crop: Side of the central square.
        mean: Of each channel, in [0, 1]; subtracted.
        std: Of each channel; divided by.
        interpolation: "bilinear" or "bicubic".
        input_shape: Shape of one input, where there is no preprocessing to say it.
        class_names: K names, or a file with one name a line; null for "0", "1", ...
        cam_layer: Layer for Grad-CAM; null for the last child with spatial axes.

    Raises:
        InputError: The factory cannot be imported, fails or returns no module, the weights do not
            fit, or the module does not run.
    """
    build = _located(factory)
    steps = own.preprocess(resize, crop, mean, std, interpolation)
    shape = own.input_shape(input_shape, steps)
    if shape is None:
        raise InputError(
            "model=torch_module needs the shape of its inputs; give model.resize, crop, mean and "
            "std for photographs, or 'model.input_shape=[...]' without the batch for other data."
        )
    module = _built(build, str(factory), dict(arguments or {}))
    notes = weights_files.fill(module, Path(weights), entry) if weights else "weights of its own"
    module = weights_files.ready(module)
    k = own.count(own.outputs(module, shape))
    return Model(
        name=str(factory).rpartition(".")[2],
        module=module,
        class_names=labels.class_names(class_names, k),
        cam_layer=_cam_layer(module, shape, cam_layer, steps),
        weights_hash=weights_files.state_hash(module),
        source=f"factory {factory}, {notes}",
        preprocess=steps,
    )


def _cam_layer(
    module: nn.Module, shape: tuple[int, ...], given: str | None, steps: Preprocess | None
) -> str:
    if given is not None:
        return given
    return last_spatial_child(module, shape) if steps is not None else ""


def _located(factory: str | None) -> Callable[..., Any]:
    """The function with a dotted name.

    Raises:
        InputError: Says which part is missing, or what its module raised.
    """
    if not factory or "." not in factory:
        raise InputError(
            f"model.factory={factory} is no dotted name; give the function that builds the module, "
            "as model.factory=my_module.build."
        )
    place, _, name = factory.rpartition(".")
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise InputError(
                f"model.factory={factory}: there is no module {error.name!r}; run from its folder "
                "with `python -m igbench`, or put the folder on PYTHONPATH."
            ) from error
        raise InputError(f"model.factory={factory}: {place} needs {error.name!r}.") from error
    except Exception as error:  # whatever the user's module raises
        raise InputError(
            f"model.factory={factory}: importing {place} raised {own.line(error)}."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        what = "has no" if found is None else "holds no function or class"
        raise InputError(f"model.factory={factory}: {place} {what} {name!r}.")
    return found


def _built(build: Callable[..., Any], factory: str, arguments: dict[str, Any]) -> nn.Module:
    """The module, built with the same random numbers each time."""
    try:
        with weights_files.untouched_rng():
            module = build(**arguments)
    except Exception as error:  # whatever the user's function raises
        raise InputError(f"model.factory={factory} raised {own.line(error)}.") from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model.factory={factory} returned a {type(module).__name__}, not a torch.nn.Module."
        )
    return module
