"""Programs from `torch.export`: a model without its Python code."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from igbench import files
from igbench.core.arguments import checked
from igbench.core.model import Model
from igbench.errors import InputError, one_line, typed_line
from igbench.models import archives, labels, own

TOLERANCE = 1e-3
"""Largest relative difference between outputs of a row in batches of different size."""


class Program(nn.Module):
    """A program as a module, in the mode in which it was exported.

    Args:
        run: Maps (N, *F) to outputs.
        differentiable: Whether outputs have gradients by the inputs.
    """

    def __init__(self, run: nn.Module, differentiable: bool) -> None:
        super().__init__()
        self.run = run
        self.differentiable = differentiable
        self.training = False

    def forward(self, x: Tensor) -> Any:
        """Outputs of the program."""
        return self.run(x)

    def train(self, mode: bool = True) -> Program:
        """Keep the mode: it was fixed when the program was exported."""
        return self


@checked
def exported(
    *,
    path: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    input_shape: Sequence[int] | None = None,
    class_names: str | Sequence[str] | None = None,
) -> Model:
    """A program that `torch.export.save` wrote.

    A program is code that is run: load only files whose origin you trust.  It must take batches of
    any size.  One without gradients (quantised, for example) is explained by methods that need
    none.  TorchScript is loaded by `torch_module` with the factory `torch.jit.load`.

    Args:
        path: The file, `.pt2`.
        resize: Length of the short side of photographs after resizing.
        crop: Side of the central square.
        mean: Of each channel, in [0, 1]; subtracted.
        std: Of each channel; divided by.
        interpolation: "bilinear" or "bicubic".
        input_shape: Shape of one input, where there is no preprocessing to say it.
        class_names: K names, or a file with one name a line; null for "0", "1", ...

    Raises:
        InputError: The file is no program, or the program has a fixed batch size, was exported in
            training mode, or does not run on this machine.
    """
    file = _file(path)
    steps = own.preprocess(resize, crop, mean, std, interpolation)
    run, example = _loaded(file)
    shape = own.input_shape(input_shape, steps, example)
    if shape is None:
        raise InputError(
            "model=exported needs the shape of its inputs; give model.resize, crop, mean and std "
            "for photographs, or 'model.input_shape=[...]' without the batch for other data."
        )
    found = _checked_outputs(run, shape, file)
    module = Program(run, differentiable=own.has_gradients(run, shape)).requires_grad_(False)
    without = "" if module.differentiable else ", without gradients"
    return Model(
        name=file.stem,
        module=module,
        class_names=labels.class_names(class_names, own.count(found)),
        cam_layer="",
        weights_hash=hashlib.sha256(file.read_bytes()).hexdigest(),  # constants are no parameters
        source=f"exported program {file.name}{without}",
        preprocess=steps,
    )


def _file(path: str | None) -> Path:
    file = Path(path or "").expanduser()
    try:
        if path:
            files.size(file)
            return file
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"the program {str(file)!r} cannot be read: {one_line(error)}.") from error
    raise InputError(
        f"model=exported needs the file of a program, and there is none at {path!r}; set "
        "model.path=FILE, written by torch.export.save."
    )


def _loaded(file: Path) -> tuple[nn.Module, tuple[int, ...] | None]:
    """The program as a module on the CPU, and the shape of its example, if known."""
    names = _members(file)
    if "constants.pkl" in names:
        raise InputError(
            f"{str(file)!r} is TorchScript, which is code that is not run unless you name its "
            "loader; if you trust it, use model=torch_module model.factory=torch.jit.load "
            f"'model.arguments={{f: {file}}}'."
        )
    if not any(name.startswith("archive_format") for name in names):
        raise InputError(
            f"{str(file)!r} is no exported program; for a state dict use model=torch_module "
            "model.factory=MODULE.FUNCTION model.weights=FILE."
        )
    try:
        archives.check(file)
        program = torch.export.load(file)
        run = program.module()
    except InputError:
        raise
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the program {str(file)!r} cannot be loaded with torch {torch.__version__} on the "
            f"CPU ({typed_line(error)}); export it again with this version, on the CPU."
        ) from error
    for part in run.modules():
        part.training = False
    args = program.example_inputs[0] if program.example_inputs else ()
    first = args[0] if args else None
    return run, tuple(first.shape[1:]) if isinstance(first, Tensor) else None


def _members(file: Path) -> dict[str, str]:
    try:
        return archives.members(file)
    except (OSError, ValueError) as error:
        raise InputError(f"the program {str(file)!r} cannot be read: {one_line(error)}.") from error


def _checked_outputs(module: nn.Module, shape: tuple[int, ...], file: Path) -> Tensor:
    """Outputs of three rows; they must not depend on the size of the batch, nor on chance.

    Raises:
        InputError: They do, or the program does not run.
    """
    places = {p.device.type for p in [*module.parameters(), *module.buffers()]} - {"cpu"}
    if places:
        raise InputError(
            f"the program {file.name} holds tensors on {places.pop()}; export it on the CPU."
        )
    works = {n: _outputs(module, shape, n) for n in (1, 2, 3)}
    tensors = {n: value for n, value in works.items() if isinstance(value, Tensor)}
    if len(tensors) < len(works):
        reason = next(str(v) for v in works.values() if not isinstance(v, Tensor))
        if tensors or "size()[0]" in reason:
            raise InputError(
                f"the program {file.name} takes batches of one fixed size ({reason}); export it "
                "with dynamic_shapes=({0: torch.export.Dim('batch')},)."
            )
        raise InputError(f"the program {file.name} does not run on inputs {shape}: {reason}.")
    again = own.outputs(module, shape, 3)
    change = max(_difference(again, tensors[3]), _difference(tensors[2], tensors[3][:2], 2))
    if change > TOLERANCE:
        raise InputError(
            f"the outputs of {file.name} change from call to call or with the batch, by "
            f"{change:.2g} of their size: it was exported in training mode; call model.eval() "
            "before exporting."
        )
    return again


def _outputs(module: nn.Module, shape: tuple[int, ...], rows: int) -> Tensor | str:
    """Outputs of the first of three rows, or why there are none."""
    kinds = [p.dtype for p in module.parameters() if p.is_floating_point()]
    x = own.inputs(shape, 3, kinds[0] if kinds else torch.float32)[:rows]
    try:
        with torch.no_grad():
            return own.logits(module(x), rows)
    except Exception as error:  # whatever the program raises
        return typed_line(error)


def _difference(a: Tensor, b: Tensor, rows: int = 3) -> float:
    return float((a[:rows] - b).abs().max() / b.abs().max().clamp_min(1e-12))
