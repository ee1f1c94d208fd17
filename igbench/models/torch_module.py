"""A torch module that the user's own code builds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from igbench.core.arguments import checked
from igbench.core.layers import auto_layer
from igbench.core.model import Model, Preprocess
from igbench.errors import InputError, typed_line
from igbench.models import labels, own
from igbench.models import weights as weights_files
from igbench.models.exported import Program


@checked
def torch_module(
    *,
    factory: Callable[..., Any] | None = None,
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
        factory: The function or class; in a configuration its dotted name, "my_module.build".
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
        cam_layer: Layer for Grad-CAM; null for the last with spatial axes.

    Raises:
        InputError: The factory cannot be imported, fails or returns no module, the weights do not
            fit, or the module does not run.
    """
    if factory is None:
        raise InputError(
            "model=torch_module needs the function that builds the module; set "
            "model.factory=my_module.build."
        )
    steps = own.preprocess(resize, crop, mean, std, interpolation)
    shape = own.input_shape(input_shape, steps)
    if shape is None:
        raise InputError(
            "model=torch_module needs the shape of its inputs; give model.resize, crop, mean and "
            "std for photographs, or 'model.input_shape=[...]' without the batch for other data."
        )
    name = getattr(factory, "__qualname__", type(factory).__name__)
    module = _built(factory, name, dict(arguments or {}))
    notes = weights_files.fill(module, Path(weights), entry) if weights else "weights of its own"
    digest = weights_files.state_hash(module)
    if isinstance(module, torch.jit.ScriptModule):
        digest = _script_hash(module)
        module = Program(module.eval(), differentiable=own.has_gradients(module, shape))
    module = weights_files.ready(module)
    k = own.count(own.outputs(module, shape))
    return Model(
        name=name,
        module=module,
        class_names=labels.class_names(class_names, k),
        cam_layer=_cam_layer(module, shape, cam_layer, steps),
        weights_hash=digest,
        source=f"factory {factory.__module__}.{name}, {notes}",
        preprocess=steps,
    )


def _cam_layer(
    module: nn.Module, shape: tuple[int, ...], given: str | None, steps: Preprocess | None
) -> str:
    if given is not None:
        return given
    look = steps is not None and not isinstance(module, Program)
    return auto_layer(module, torch.zeros(1, *shape)) if look else ""


def _script_hash(module: Any) -> str:
    """SHA-256 over parameters, code and constants: frozen programs have no parameters."""
    digest = hashlib.sha256(weights_files.state_hash(module).encode())
    for part in module.modules():
        try:
            code, constants = part.code_with_constants
        except (RuntimeError, AttributeError):  # a part without a forward method of its own
            continue
        # Numbers that make names unique say how many programs were loaded before.
        digest.update(re.sub(r"___torch_mangle_\d+", "", code).encode())
        for _, value in sorted(constants.const_mapping.items()):
            if isinstance(value, torch.Tensor):
                digest.update(repr((value.dtype, value.shape)).encode())
                numbers = value.detach().cpu().contiguous().reshape(-1)
                digest.update(numbers.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _built(build: Callable[..., Any], name: str, arguments: dict[str, Any]) -> nn.Module:
    """The module, built with the same random numbers each time."""
    try:
        with weights_files.untouched_rng():
            module = build(**arguments)
    except Exception as error:  # whatever the user's function raises
        raise InputError(f"the factory {name} raised {typed_line(error)}.") from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"the factory {name} returned a {type(module).__name__}, not a torch.nn.Module."
        )
    return module
