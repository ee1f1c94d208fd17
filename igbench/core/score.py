"""The explained scalar f(x)[target]: readout, counting of model rows, chunked evaluation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from igbench.core.inference import InferenceOptions
from igbench.core.model import is_differentiable
from igbench.core.outputs import Output, logits, repeat_target, select
from igbench.errors import InputError, check_choice, check_eval_mode, check_positive

log = logging.getLogger(__name__)
T = TypeVar("T")

PREPARED = frozenset({"cuda"})
"""Types of devices that prepare anew for each number of rows."""


@dataclass
class Cost:
    """Model rows evaluated and differentiated so far."""

    forward: int = 0
    backward: int = 0

    def since(self, before: Cost) -> Cost:
        """The difference to an earlier `snapshot`."""
        return Cost(self.forward - before.forward, self.backward - before.backward)

    def snapshot(self) -> Cost:
        """A copy, to which `since` compares later."""
        return replace(self)


@dataclass
class Fold:
    """A folded copy of the model, see `igbench.core.fold`, and whether it stands in right now."""

    module: nn.Module | None = None
    used: bool = False


@dataclass
class Limit:
    """Largest number of rows in one call of the model, and how often lack of memory halved it."""

    batch_size: int
    halved: int = 0


class Score(nn.Module):
    """The scalar that is explained: one number for each row, f(x)[target].

    The one place where logit, probability or log-probability is decided, where model rows are
    counted, and where batches are cut into chunks.

    Args:
        model: Maps (N, *F) to (N, K), (N, 1), (N,), (N, K, ...) or a value that holds such a
            tensor, see `igbench.core.outputs.logits`.  Must be in eval mode.
        output: Readout of the outputs, see `igbench.core.outputs.select`.
        batch_size: Largest number of rows in one call of the model.
        channels_last: Convert image batches to this memory format before each call.
        quick: Precision and compilation of `evaluate_draws` alone.
        folded: A folded copy of the model, which stands in within `folding` alone.

    Raises:
        InputError: Unknown output, no rows, or a model in training mode.

    >>> score = Score(lambda x: x.square(), "logit")
    >>> score(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
    tensor([4., 9.])
    >>> score.cost
    Cost(forward=2, backward=0)
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        output: Output = "logit",
        batch_size: int = 32,
        channels_last: bool = False,
        quick: InferenceOptions = InferenceOptions(),  # noqa: B008  frozen
        folded: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_choice("output", output, ("logit", "probability", "log_probability"))
        check_positive("batch_size", batch_size)
        self.model = model
        self.output: Output = output
        self.channels_last = channels_last
        self.quick = quick
        self.cost, self.limit, self.fold = Cost(), Limit(batch_size), Fold(folded)
        self.eval_checked = False
        if isinstance(model, nn.Module):
            check_eval_mode(model)
        self.training = False

    @property
    def differentiable(self) -> bool:
        """Whether the model has gradients."""
        return is_differentiable(self.model)

    @property
    def probabilities(self) -> bool:
        """Whether what the model returns are probabilities."""
        return bool(getattr(self.model, "probabilities", False))

    @property
    def batch_size(self) -> int:
        """Largest number of rows in one call of the model."""
        return self.limit.batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self.limit.batch_size = batch_size

    def share(self, score: Score) -> Score:
        """Use the counters and the limit of rows of another scalar from now on; returns itself."""
        self.cost, self.limit = score.cost, score.limit
        return self

    def as_output(self, output: Output) -> Score:
        """The same model with another readout and the same counters."""
        if output == self.output:
            return self
        other = self.sibling(self.model, output, self.quick)
        other.fold = self.fold
        return other

    @contextmanager
    def folding(self, on: bool) -> Iterator[None]:
        """A context in which the folded copy stands in for the model, if there is one, or does not.

        Args:
            on: Whether who asks wants values and gradients alone, and nothing of layers.
        """
        before, self.fold.used = self.fold.used, on and self.fold.module is not None
        try:
            yield
        finally:
            self.fold.used = before

    @property
    def function(self) -> nn.Module | Callable[[Tensor], Any]:
        """What is called: the model, or its folded copy within `folding`."""
        copied = self.fold.module if self.fold.used else None
        return self.model if copied is None else copied

    def sibling(
        self, model: nn.Module | Callable[[Tensor], Tensor], output: Output, quick: InferenceOptions
    ) -> Score:
        """The scalar of another function, with the same settings and the same counters."""
        return Score(model, output, self.batch_size, self.channels_last, quick).share(self)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """f(x)[target] for every row, (N,); differentiable; counts rows both ways.

        Args:
            x: (N, *F).
            target: (N,) class indices, or (N, k) for outputs of k axes; ignored by models with a
                single output.
        """
        return self._through(self.function, x, target)

    def inputs(self, x: Tensor) -> Tensor:
        """What the model is called with for rows (N, *F): a copy, which it may change in place."""
        if self.channels_last and x.dim() == 4:
            return x.clone(memory_format=torch.channels_last)
        return x.clone()

    def outputs(self, x: Tensor) -> Tensor:
        """All outputs of the model, (N, K) or as the model has them, which are not counted."""
        return logits(self.function(self.inputs(x)), len(x))

    def probability(self, outputs: Tensor, target: int) -> float:
        """Probability of one class among outputs of one row, (1, K), in float64."""
        one = torch.tensor([target], device=outputs.device)
        return float(select(outputs.double(), one, "probability", self.probabilities))

    def _through(self, model: Callable[[Tensor], Any], x: Tensor, target: Tensor | None) -> Tensor:
        found = logits(model(self.inputs(x)), len(x))
        out = select(found, target, self.output, self.probabilities)
        self.cost.forward += len(x)
        if out.requires_grad:
            out.register_hook(self._count_backward)
        return out

    def _count_backward(self, gradient: Tensor) -> None:
        self.cost.backward += len(gradient)

    def shrink(self, error: Exception) -> bool:
        """Halve `batch_size` after an out-of-memory error; False for other errors and one row."""
        if not is_out_of_memory(error) or self.batch_size == 1:
            return False
        self.batch_size //= 2
        self.limit.halved += 1
        log.warning("out of memory; from now on %d model rows in one call", self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    def evaluate(self, x: Tensor, target: Tensor | None) -> Tensor:
        """f(x)[target] for every row, (N,), without gradients, in chunks of `batch_size`.

        Always in full precision.
        """
        return self._chunks(
            len(x), lambda part: (x[part], None if target is None else target[part]), self
        )

    def evaluate_draws(
        self,
        draws: int,
        target: Tensor | None,
        build: Callable[[Tensor], Tensor],
        *,
        device: torch.device | None = None,
        full: bool = False,
    ) -> Tensor:
        """Outputs of D perturbed versions of one sample, built chunk by chunk, (D,).

        Chunks never mix samples, so that a sample's numbers do not depend on its neighbours.

        Args:
            draws: D.
            target: (1,) class index, or None.
            build: Maps numbers of draws (rows,) to inputs (rows, *F).
            device: Device of the numbers of draws: that of the inputs where `build` works there,
                so that no chunk waits for a transfer.  None for the CPU.
            full: Keep full precision: for values that become part of a map.
        """
        numbers = torch.arange(draws, device=device)

        def rows_of(part: slice) -> tuple[Tensor, Tensor | None]:
            draw = numbers[part]
            return build(draw), repeat_target(target, len(draw))

        return self._chunks(draws, rows_of, self if full else self._hurry)

    def _hurry(self, x: Tensor, target: Tensor | None) -> Tensor:
        """f(x)[target] with the options of `quick`, in the dtype of the inputs, (N,)."""
        if not self.quick.changes:
            full: Tensor = self(x, target)
            return full
        with self.quick.arithmetic(x.device):
            out = self._through(self.quick.model(self.function, self.batch_size), x, target)
        return out.to(x.dtype) if x.is_floating_point() else out

    @torch.no_grad()  # not inference_mode: a table that a model keeps must stay trainable
    def _chunks(
        self,
        count: int,
        rows_of: Callable[[slice], tuple[Tensor, Tensor | None]],
        call: Callable[[Tensor, Tensor | None], Tensor],
    ) -> Tensor:
        parts = list(self.in_chunks(count, lambda part: self._padded(call, *rows_of(part))))
        return torch.cat(parts) if parts else torch.zeros(0)

    def _padded(
        self, call: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, target: Tensor | None
    ) -> Tensor:
        """Call with a power of two of rows, where each new number of rows costs a preparation.

        cuDNN looks for the kernels of every layer anew: for a network of fifty convolutions that
        took as long as some thousand rows.  The rows that are added repeat the last one, and are
        neither counted nor returned.
        """
        size = padded_size(len(x), self.batch_size)
        if size == len(x) or x.device.type not in PREPARED:
            return call(x, target)
        more = size - len(x)
        wide = target
        if target is not None:
            wide = torch.cat([target, target[-1:].expand(more, *target.shape[1:])])
        out = call(torch.cat([x, x[-1:].expand(more, *x.shape[1:])]), wide)
        self.cost.forward -= more
        return out[: len(x)]

    def in_chunks(
        self, count: int, work: Callable[[slice], T], *, rows_each: int = 1
    ) -> Iterator[T]:
        """Yield what `work` makes of each chunk of 0..count-1.

        A chunk that does not fit into memory is cut in half, and so are all that follow.

        Args:
            count: Number of items.
            work: Maps a chunk of them to what is yielded.
            rows_each: Rows of the model for each item; a chunk has at most `batch_size` rows, but
                at least one item.
        """
        start = 0
        while start < count:
            part = slice(start, min(start + max(1, self.batch_size // rows_each), count))
            try:
                found = work(part)
            except RuntimeError as error:
                if not self.shrink(error):
                    raise
                continue
            yield found
            start = part.stop


def padded_size(rows: int, most: int) -> int:
    """The least power of two that is no less than a number of rows, or `most` where that is less.

    >>> [padded_size(n, 48) for n in (1, 3, 8, 33, 48)]
    [1, 4, 8, 48, 48]
    """
    return max(rows, min(most, 1 << (rows - 1).bit_length()))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is full, on whatever device.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


class Wrapped(Score):
    """Base of changed scalars: another function of the same model.

    The model itself is the user's, so that methods find its layers by name.

    Args:
        score: The scalar to change; settings and counters are shared.
    """

    def __init__(self, score: Score) -> None:
        super().__init__(score.model, score.output, score.batch_size, score.channels_last)
        self._inner = (score,)  # in a tuple: torch would count the modules of the model twice
        self.share(score)
        self.fold = score.fold

    @property
    def inner(self) -> Score:
        """The scalar before the change."""
        return self._inner[0]

    def inputs(self, x: Tensor) -> Tensor:
        """What the model is called with for rows (N, *F)."""
        return self.inner.inputs(x)

    def as_output(self, output: Output) -> Score:
        """Itself; another readout would undo the change, so it is refused.

        Raises:
            InputError: Another output than that of the scalar.
        """
        if output != self.output:
            raise InputError(
                f"a method asks for the {output} of a function that this metric made of the "
                f"{self.output}; it must explain batch.score as it is."
            )
        return self


@contextmanager
def frozen(model: nn.Module | Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Turn the gradients of all parameters off, and restore them afterwards.

    Of several threads that hold the same model, the first turns them off, and the last restores
    them.
    """
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    with _LOCK:
        for p in parameters:
            flag, holders = _FROZEN.get(id(p), (p.requires_grad, 0))
            _FROZEN[id(p)] = (flag, holders + 1)
            p.requires_grad_(False)
    try:
        yield
    finally:
        with _LOCK:
            for p in parameters:
                flag, holders = _FROZEN.pop(id(p))
                if holders > 1:
                    _FROZEN[id(p)] = (flag, holders - 1)
                else:
                    p.requires_grad_(flag)


_LOCK = threading.Lock()
_FROZEN: dict[int, tuple[bool, int]] = {}
"""Parameters that are frozen, by identity: what they were before, and how many hold them."""
