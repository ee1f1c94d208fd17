"""What do the parts hand to each other?  The scalar that is explained, batches, and two protocols.

Shape alphabet: S samples, N rows of a batch, *F feature axes of one sample, G features (groups),
D draws, K classes, M methods, P points of a curve.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from igbench import checks, keyed
from igbench.fast import Quick
from igbench.rows import MethodSpec, MetricSpec

log = logging.getLogger(__name__)

Output = Literal["logit", "probability", "log_probability"]


@dataclass
class Cost:
    """Model rows evaluated and differentiated so far."""

    forward: int = 0
    backward: int = 0

    def since(self, before: Cost) -> Cost:
        """The difference to an earlier `snapshot`."""
        return Cost(self.forward - before.forward, self.backward - before.backward)

    def snapshot(self) -> Cost:
        """A copy."""
        return replace(self)


@dataclass
class Limit:
    """Largest number of rows in one call of the model; a lack of memory lowers it."""

    rows: int


class Score(nn.Module):
    """The scalar that is explained: one number for each row, f(x)[target].

    The one place where logit, probability or log-probability is decided, where model rows are
    counted, and where batches are cut into chunks.

    Args:
        model: Maps (N, *F) to (N, K), (N, 1) or (N,).  Must be in eval mode.
        output: What is made of the K outputs.  For a model with a single output, "probability"
            is its sigmoid.
        rows: Largest number of rows in one call of the model.
        channels_last: Convert image batches to this memory format before each call.
        quick: What `evaluate_draws` may do to be faster; nothing else is touched by it.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        output: Output = "logit",
        rows: int = 32,
        channels_last: bool = False,
        quick: Quick = Quick(),  # noqa: B008  frozen
    ) -> None:
        super().__init__()
        checks.known_name("output", output, ("logit", "probability", "log_probability"))
        checks.positive("rows", rows)
        self.model = model
        self.output: Output = output
        self.channels_last = channels_last
        self.quick = quick
        self.cost, self.limit = Cost(), Limit(rows)
        self.eval_checked = False
        if isinstance(model, nn.Module):
            checks.eval_mode(model)
        self.training = False

    @property
    def rows(self) -> int:
        """Largest number of rows in one call of the model."""
        return self.limit.rows

    @rows.setter
    def rows(self, rows: int) -> None:
        self.limit.rows = rows

    def share(self, score: Score) -> Score:
        """Itself, with the counters of another scalar from now on, and its limit of rows."""
        self.cost, self.limit = score.cost, score.limit
        return self

    def as_output(self, output: Output) -> Score:
        """The same model and the same counters, read out as `output`."""
        if output == self.output:
            return self
        return self.sibling(self.model, output, self.quick)

    def sibling(
        self, model: nn.Module | Callable[[Tensor], Tensor], output: Output, quick: Quick
    ) -> Score:
        """The scalar of another function, with the same settings and the same counters."""
        return Score(model, output, self.rows, self.channels_last, quick).share(self)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """f(x)[target] for every row, (N,); differentiable; counts rows both ways.

        Args:
            x: (N, *F).
            target: (N,) class indices; ignored by models with a single output.
        """
        return self._through(self.model, x, target)

    def _through(
        self, model: Callable[[Tensor], Tensor], x: Tensor, target: Tensor | None
    ) -> Tensor:
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        out = self._select(model(x), target, len(x))
        self.cost.forward += len(x)
        if out.requires_grad:
            out.register_hook(self._count_backward)
        return out

    def _count_backward(self, gradient: Tensor) -> None:
        self.cost.backward += len(gradient)

    def _select(self, raw: Tensor, target: Tensor | None, n: int) -> Tensor:
        if raw.dim() == 2 and raw.shape[1] == 1:
            raw = raw[:, 0]
        if raw.dim() == 1:
            checks.one_per_sample("the model's output", raw, n)
            return {
                "logit": lambda z: z,
                "probability": torch.sigmoid,
                "log_probability": nn.functional.logsigmoid,
            }[self.output](raw)
        if raw.dim() != 2 or len(raw) != n:
            raise checks.InputError(
                f"the model's output has shape {tuple(raw.shape)} for {n} rows; expected (N, K) "
                "class scores or one number for each row."
            )
        if target is None:
            raise checks.InputError(
                f"the model returns {raw.shape[1]} outputs for each row; give target=, the class "
                "index of each sample."
            )
        if self.output == "probability":
            raw = raw.softmax(dim=1)
        elif self.output == "log_probability":
            raw = raw.log_softmax(dim=1)
        return raw.gather(1, target.to(raw.device).view(-1, 1))[:, 0]

    def shrink(self, error: Exception) -> bool:
        """Halve `rows` if `error` says that memory ran out; False if it says something else.

        A single row that does not fit is not helped: then, too, the answer is False.
        """
        text = str(error)
        full = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text
        if not full or self.rows == 1:
            return False
        self.rows //= 2
        log.warning("out of memory; from now on %d model rows in one call", self.rows)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    def evaluate(self, x: Tensor, target: Tensor | None) -> Tensor:
        """f(x)[target] for every row, (N,), without gradients, in chunks of `rows`.

        In full precision, whatever `quick` says.
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
        """Outputs for D perturbed versions of one sample, built chunk by chunk, (D,).

        Chunks never mix samples, so that a sample's numbers do not depend on its neighbours.

        Args:
            draws: D.
            target: (1,) class index, or None.
            build: Maps numbers of draws (rows,) to inputs (rows, *F).
            device: Where the numbers of draws are: give that of the inputs where `build` works
                there, so that nothing has to be sent for each chunk.  None for the CPU.
            full: Keep full precision: for values that become part of a map.
        """
        numbers = torch.arange(draws, device=device)

        def rows_of(part: slice) -> tuple[Tensor, Tensor | None]:
            draw = numbers[part]
            return build(draw), None if target is None else target.expand(len(draw))

        return self._chunks(draws, rows_of, self if full else self._hurry)

    def _hurry(self, x: Tensor, target: Tensor | None) -> Tensor:
        """As `quick` says; the result is in the precision of the inputs again."""
        if not self.quick.changes:
            full: Tensor = self(x, target)
            return full
        with self.quick.arithmetic(x.device):
            out = self._through(self.quick.compiled or self.model, x, target)
        return out.to(x.dtype) if x.is_floating_point() else out

    @torch.inference_mode()
    def _chunks(
        self,
        count: int,
        rows_of: Callable[[slice], tuple[Tensor, Tensor | None]],
        call: Callable[[Tensor, Tensor | None], Tensor],
    ) -> Tensor:
        parts: list[Tensor] = []
        start = 0
        while start < count:
            part = slice(start, min(start + self.rows, count))
            try:
                parts.append(call(*rows_of(part)))
            except RuntimeError as error:
                if not self.shrink(error):
                    raise
                continue
            start = part.stop
        return torch.cat(parts) if parts else torch.zeros(0)


@contextmanager
def frozen(model: nn.Module | Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Turn the gradients of all parameters off, and back to what they were afterwards."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    flags = [p.requires_grad for p in parameters]
    try:
        for p in parameters:
            p.requires_grad_(False)
        yield
    finally:
        for p, flag in zip(parameters, flags, strict=True):
            p.requires_grad_(flag)


@dataclass(frozen=True)
class Features:
    """What one feature is: which elements of a sample are changed together.

    Attributes:
        name: "element", "pixel", "patch:16", ...
        index: (*F) for all samples, or (N, *F): the feature 0..G-1 of every element.
        count: G.
    """

    name: str
    index: Tensor
    count: int


@dataclass(frozen=True)
class Batch:
    """Samples to explain, and the scalar that is explained.

    Attributes:
        score: The scalar f.
        x: (N, *F) inputs.
        baseline: (N, *F) reference inputs x'.
        target: (N,) classes, fixed on the clean inputs; None for single-output models.
        sample_ids: N identifiers, stable across runs.
        features: Name of the features ("pixel", "patch:16", ...) that metrics use by default.
        seed: Seed of everything random.
        repeat: Number of the repeat of a measurement; 0 for the first.
    """

    score: Score
    x: Tensor
    baseline: Tensor
    target: Tensor | None
    sample_ids: tuple[str, ...]
    features: str = "element"
    seed: int = 0
    repeat: int = 0

    @property
    def draws_seed(self) -> int:
        """Seed of what metrics draw: another one in each repeat, where methods keep `seed`."""
        return keyed.repeat(self.seed, self.repeat)

    def __len__(self) -> int:
        return len(self.x)

    def target_of(self, i: int) -> Tensor | None:
        """Target of one sample, (1,), or None."""
        return None if self.target is None else self.target[i : i + 1]


@dataclass(frozen=True)
class Attribution:
    """A map with the facts that metrics must know about it.

    Attributes:
        values: (N, *F).
        spec: Kind (global or local), signed or not.
        explain: The method that made it, for metrics that explain changed inputs; None for a map
            that was given as it is.
    """

    values: Tensor
    spec: MethodSpec
    explain: Method | None = None


@dataclass(frozen=True)
class Measurement:
    """What a metric says about N samples.

    Attributes:
        value: (N,); NaN where the metric is undefined.
        std_error: (N,) Monte Carlo standard error: 0 where no draw matters to the sample; None for
            exact metrics, and where a single draw says nothing of its error.
        reason: Why a value is NaN, one text for all such samples.
        curves: Name to (x (P,), y (N, P)).
    """

    value: Tensor
    std_error: Tensor | None = None
    reason: str = ""
    curves: Mapping[str, tuple[Sequence[float], Tensor]] = field(default_factory=dict)


class Method(Protocol):
    """An attribution method."""

    @property
    def spec(self) -> MethodSpec:
        """Kind, sign and source of the map."""
        ...

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute `batch.score` at `batch.x`: (N, *F)."""
        ...


class Metric(Protocol):
    """A metric: two pure functions.

    `observe` does all model work that no attribution influences; it runs once for each batch,
    whatever the number of methods.  Metrics with equal `observation_key` share an observation.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition of the metric."""
        ...

    @property
    def observation_key(self) -> object:
        """Hashable; equal keys mean that the observation is the same."""
        ...

    def observe(self, batch: Batch) -> Any:
        """Model outputs that no attribution influences."""
        ...

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Any
    ) -> dict[str, Measurement]:
        """Score every attribution."""
        ...


def mismatch(needs: str, spec: MethodSpec) -> str:
    """Why an attribution of this kind cannot be scored by a metric with these `needs`; or ""."""
    if "global" in needs and spec.kind != "global":
        return (
            "needs a global attribution (contributions that sum to f(x) - f(x')); this one is "
            "local (sensitivities)"
        )
    if "signed" in needs and not spec.signed:
        return "needs a signed attribution; this one holds magnitudes"
    return ""


def nan_reason(measurement: Measurement, i: int) -> str:
    """The reason of sample `i`, empty where its value is defined."""
    return measurement.reason if math.isnan(float(measurement.value[i])) else ""
