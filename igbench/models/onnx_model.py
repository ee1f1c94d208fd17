"""Models in ONNX files, run by onnxruntime."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from igbench.core.arguments import checked
from igbench.core.model import ArrayFunction, Model
from igbench.errors import InputError, typed_line
from igbench.models import black_box, labels

HOW = "with one input (N, *F)"

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
"""Types of inputs and outputs that are numbers to explain."""


@dataclass(eq=False)
class Session:
    """One output of an ONNX model, on one thread of the CPU.

    The file is kept as bytes, so that copies and other processes open sessions of their own, and
    so that it cannot name other files.

    Attributes:
        data: The file.
        output: Name of the output; "" for the last one of floating-point numbers.
        running: The session, once it was needed.
    """

    data: bytes
    output: str = ""
    running: Any = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "running": None}

    @property
    def session(self) -> Any:
        """The session of onnxruntime."""
        if self.running is None:
            library = importlib.import_module("onnxruntime")
            options = library.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            self.running = library.InferenceSession(
                self.data, options, providers=["CPUExecutionProvider"]
            )
        return self.running

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (N,) or (N, K) of rows (N, *F), in the type that the model takes."""
        (one,) = self.session.get_inputs()
        given = {one.name: np.ascontiguousarray(rows, dtype=TYPES[one.type])}
        return np.asarray(self.session.run([self.output], given)[0])


@checked
def onnx_model(
    *,
    path: str | None = None,
    output: str | None = None,
    probabilities: bool = False,
    input_shape: Sequence[int] | None = None,
    class_names: str | Sequence[str] | None = None,
) -> Model:
    """A model in an ONNX file, without gradients.

    Maps (N, *F) to (N,) or (N, K).  Rows are rounded to float32 where the model takes that.

    Args:
        path: The file, whole: tensors in files beside it are not read.
        output: Name of the output; null for the last one of floating-point numbers.
        probabilities: Whether that output holds probabilities, of which no softmax is taken.
        input_shape: Shape of one row, where the file leaves it open.
        class_names: K names, or a file with one name a line; null for numbers.

    Raises:
        InputError: There is no such file, it cannot be run, it takes several inputs, or
            onnxruntime is not installed.
    """
    content = black_box.read(path, "onnx", ".onnx", HOW)
    if find_spec("onnxruntime") is None:
        raise InputError("model=onnx needs onnxruntime; run `pip install 'igbench[onnx]'`.")
    run = Session(content.data)
    try:
        inputs, outputs = run.session.get_inputs(), run.session.get_outputs()
    except Exception as error:  # whatever a broken file makes onnxruntime raise
        raise InputError(f"{path!r} cannot be run: {typed_line(error)}.") from error
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        found = ", ".join(f"{i.name} {i.type}" for i in inputs)
        raise InputError(
            f"{path!r} takes {found}; one input of floating-point numbers is expected."
        )
    run.output = _output(path, outputs, output)
    shape = tuple(input_shape or inputs[0].shape[1:])
    if not all(isinstance(n, int) for n in shape):
        raise InputError(
            f"{path!r} leaves the shape of a row open, {list(shape)}; set 'model.input_shape=[F]'."
        )
    tried = _tried(path, run, shape)
    single = tried.ndim == 1 or tried.shape[1] == 1
    return Model(
        name=content.path.stem,
        module=ArrayFunction(run, probabilities=probabilities),
        class_names=labels.class_names(class_names, 1 if single else tried.shape[1]),
        cam_layer="",
        weights_hash=content.sha256,
        source=f"ONNX, file {content.path.name}; output {run.output}",
    )


def _output(path: object, outputs: Sequence[Any], name: str | None) -> str:
    """The name of the output that is explained."""
    known = [o.name for o in outputs if o.type in TYPES]
    if not known or (name is not None and name not in known):
        found = ", ".join(f"{o.name} {o.type}" for o in outputs)
        raise InputError(
            f"{path!r} has the outputs {found}; choose one of floating-point numbers with "
            "model.output (of a scikit-learn classifier: convert it with zipmap=False)."
        )
    return known[-1] if name is None else name


def _tried(path: object, run: Session, shape: Sequence[int]) -> np.ndarray:
    """Outputs of two rows of zeros."""
    try:
        found = run(np.zeros((2, *shape)))
    except Exception as error:  # whatever a model makes onnxruntime raise
        raise InputError(
            f"{path!r} does not run on two rows of shape {tuple(shape)}: {typed_line(error)}; "
            "export it with a dynamic first axis."
        ) from error
    if found.ndim not in (1, 2) or len(found) != 2:
        raise InputError(f"{path!r} returns {found.shape} for two rows; expected (N,) or (N, K).")
    return found
