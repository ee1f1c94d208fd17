"""Faster forwards without gradients: lower precision and compilation.

Two options, for perturbed inputs alone: lower precision, and a compiled model.  Gradients, the
scores of samples and baselines, and whatever looks into the layers of a model keep the model as it
is and full precision.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from igbench.core import compiling
from igbench.core.outputs import logits

log = logging.getLogger(__name__)

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


class Compiled:
    """A module behind `torch.compile`; where that does not work it is the module itself.

    Compilation happens at the first call of each size, of which there are two: any number of rows
    is cut into calls of these sizes, and the last call is filled up.  If a call fails and the
    module by itself does not, the reason is logged once and the module is called from then on.

    Args:
        module: What to compile; it is not changed.
        backend: Name of a backend of `torch.compile`.

    Attributes:
        broken: Why the module is called as it is; "" where it is not.
        seconds: What compilation has taken, the first call of each size included.
    """

    def __init__(self, module: nn.Module, backend: str) -> None:
        self.module = module
        self.backend = backend
        self.broken = ""
        self.seconds = 0.0
        self._call: Callable[[Tensor], Any] | None = None
        self._ready: set[tuple[object, ...]] = set()

    def __repr__(self) -> str:
        return f"compiled by {self.backend}"

    def __call__(self, x: Tensor, most: int | None = None) -> Tensor:
        """Outputs of the module, without gradient.

        Args:
            x: (N, *F).
            most: Rows of a full call; N by default.
        """
        if self.broken:
            return self._plain(x)
        try:
            return self._in_calls(x, most or len(x))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            found = self._plain(x)  # raises again what is not the compiler's fault
            lines = str(error).strip().splitlines()
            self.broken = f"{type(error).__name__}: {lines[0][:120] if lines else ''}"
            log.warning(
                "compile=%s does not work here (%s); the model is used as it is",
                self.backend,
                self.broken,
            )
            return found

    @torch.no_grad()
    def _plain(self, x: Tensor) -> Tensor:
        return logits(self.module(x), len(x))

    @torch.no_grad()
    def _in_calls(self, x: Tensor, most: int) -> Tensor:
        size = compiling.call_size(len(x), most)
        parts = [self._outputs(part, size) for part in x.split(size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _outputs(self, x: Tensor, size: int) -> Tensor:
        """Outputs of up to `size` rows; a copy, as the next replay of a CUDA graph writes anew."""
        return logits(self._compiled(compiling.filled(x, size)), size)[: len(x)].clone()

    def _compiled(self, x: Tensor) -> Any:
        key = (x.shape, x.stride(), x.dtype, x.device, *compiling.surroundings(x.device))
        if self._call is not None and key in self._ready:
            return self._call(x)
        start = time.perf_counter()
        with compiling.settings(self.backend, x.device):
            if self._call is None:
                self._call = torch.compile(self.module, backend=self.backend, dynamic=False)
            found = self._call(x)
        self.seconds += time.perf_counter() - start
        self._ready.add(key)
        return found


@dataclass(frozen=True)
class InferenceOptions:
    """Precision and compilation of forwards of perturbed inputs.

    Attributes:
        precision: "float32" (as everything else), "tf32" (10 bits of mantissa in products of
            matrices and convolutions; CUDA alone) or "bf16" (7 bits, by autocast).
        compiled: The model behind `torch.compile`; None where it is called as it is.
    """

    precision: Precision = "float32"
    compiled: Compiled | None = None

    @property
    def backend(self) -> str:
        """Name of the backend of `torch.compile`; "" for none."""
        return "" if self.compiled is None else self.compiled.backend

    @property
    def changes(self) -> bool:
        """Whether anything differs from other forwards."""
        return self.precision != "float32" or self.compiled is not None

    def model(self, module: Callable[[Tensor], Any], most: int) -> Callable[[Tensor], Any]:
        """What is called with perturbed inputs: a module, or the compiled model in its place.

        Args:
            module: The model.
            most: Rows of a full call.
        """
        return module if self.compiled is None else partial(self.compiled, most=most)

    def uncompiled(self) -> InferenceOptions:
        """The same precision, for functions around the model."""
        return replace(self, compiled=None)

    def arithmetic(self, device: torch.device) -> AbstractContextManager[Any]:
        """A context in which forwards on a device have this precision."""
        if self.precision == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        if self.precision == "tf32" and device.type == "cuda":
            return _products("tf32")
        return nullcontext()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A context in which float32 means float32, whatever the process allows.

    torch lets cuDNN's convolutions use TF32, and lowers the precision of matrix products on request
    (`torch.set_float32_matmul_precision`).  The settings belong to the process: of several threads
    in the context, the first changes them, and the last restores them.
    """
    with _FULL.held(device.type):
        yield


class _Held:
    """Contexts by name, each entered once for all threads that hold it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, ExitStack]] = {}

    @contextmanager
    def held(self, kind: str) -> Iterator[None]:
        with self._lock:
            count, stack = self._held.get(kind) or (0, ExitStack())
            if not count:
                stack.enter_context(_matrix_products())
                if kind == "cuda":
                    stack.enter_context(_products("ieee"))
            self._held[kind] = (count + 1, stack)
        try:
            yield
        finally:
            with self._lock:
                count, stack = self._held.pop(kind)
                if count == 1:
                    stack.close()
                else:
                    self._held[kind] = (count - 1, stack)


_FULL = _Held()


@contextmanager
def _matrix_products() -> Iterator[None]:
    """Undo `torch.set_float32_matmul_precision`, which reaches CPUs too."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _products(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Set the arithmetic of float32 matrix products and convolutions on CUDA."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        switches: list[tuple[Any, str, Any]] = [
            (backend, "allow_tf32", backend.allow_tf32) for backend in (matmul, cudnn)
        ]
    except RuntimeError:  # the caller has used the switches of torch 2.9; they do not mix
        newer = (matmul, cudnn.conv)  # type: ignore[attr-defined]
        switches = [(backend, "fp32_precision", backend.fp32_precision) for backend in newer]
    try:
        for backend, name, _ in switches:
            setattr(backend, name, kind == "tf32" if name == "allow_tf32" else kind)
        yield
    finally:
        for backend, name, before in switches:
            setattr(backend, name, before)
