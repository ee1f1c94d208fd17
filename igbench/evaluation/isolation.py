"""Isolate samples, methods and metrics that fail, so that the others go on.

Each is tried together with the others first, and by itself when that fails; what still fails
becomes a reason.  Everything here is also measured: model rows, seconds, peak memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from igbench.core import active, memory
from igbench.core import batch as batches
from igbench.core.batch import (
    Attribution,
    Batch,
    Measurement,
    Method,
    Metric,
    concatenate,
    mismatch,
)
from igbench.core.returned import check_map, check_measurements
from igbench.core.score import Cost, Score
from igbench.errors import InputError, NotDefinedError, SampleError
from igbench.evaluation.guard import Guard, InterferenceError, Shared, copy
from igbench.schema import Status

NOT_FINITE = "the attribution holds NaN or infinite values"
CAUGHT = (Exception, SystemExit)
"""Exceptions of plugins that become reasons; one that calls `sys.exit` does not end the run."""


class Reason(str):
    """Why there is no value, in one line; empty where there is one.

    Attributes:
        status: "failed", or "undefined" where the question has no meaning.
        interference: Whether it is because a part changed what others use.
    """

    status: Status = "failed"
    interference: bool = False


@dataclass
class Spent:
    """What a piece of work cost."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    peak: float = 0.0


@contextmanager
def measured(score: Score, *, peak: bool = False) -> Iterator[Spent]:
    """Count model rows and seconds of a block, and optionally its peak memory."""
    spent, before, start = Spent(), score.cost.snapshot(), time.perf_counter()
    device = next((p.device for p in score.parameters()), torch.device("cpu"))
    if peak:
        memory.give_back()
        memory.reset_peak(device)
    try:
        yield spent
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        cost: Cost = score.cost.since(before)
        spent.forward, spent.backward = cost.forward, cost.backward
        spent.seconds = time.perf_counter() - start
        if peak:
            spent.peak = memory.peak(device)


def attribute(
    batch: Batch, method: Method, guard: Guard | None = None, name: str = ""
) -> tuple[Tensor, list[Reason]]:
    """Attribute a batch; if that fails, each sample by itself.

    Elements that take no part have an attribution of 0.  A method that interferes with others, see
    `igbench.evaluation.guard`, fails for all samples at once.

    Args:
        batch: The samples.
        method: The method.
        guard: What the method must leave as it is; by default the scalar of the batch.
        name: Name of the method, for messages.
    """
    guard = guard or Guard(batch.score, [method])
    if batch.active is not None:
        return _attribute_active(batch, method, guard, name)
    who = f"method {name!r}" if name else "the method"
    try:
        values = guard.call(who, lambda own, _: batches.attribute(method, own), batch)
        check_map(values, batch.x)
    except InterferenceError as error:
        return torch.full_like(batch.x, math.nan), [interfered(error)] * len(batch)
    except CAUGHT as error:
        if len(batch) == 1:
            return torch.full_like(batch.x, math.nan), [describe(error)]
        parts = [
            attribute(batch.select(slice(i, i + 1)), method, guard, name) for i in range(len(batch))
        ]
        return torch.cat([v for v, _ in parts]), [r for _, reasons in parts for r in reasons]
    values = copy(values)  # no buffer or view of anything that the method can reach
    finite = torch.isfinite(values).flatten(1).all(dim=1).tolist()
    return values, [Reason("" if ok else NOT_FINITE) for ok in finite]


def _attribute_active(
    batch: Batch, method: Method, guard: Guard, name: str
) -> tuple[Tensor, list[Reason]]:
    """Maps by `igbench.core.active`, sample by sample."""
    maps, every = [], []
    for i in range(len(batch)):
        lifted = active.lift(method, batch, i)
        own, reasons = attribute(active.restrict(batch, i), lifted, guard, name)
        maps.append(active.elements(batch, i).place(own))
        every += reasons
    return torch.cat(maps), every


@dataclass(frozen=True)
class Cell:
    """One metric on one method: a measurement, why samples have none, and what it cost."""

    measurement: Measurement
    reasons: list[Reason]
    spent: Spent


def measure(
    batch: Batch,
    group: Mapping[str, Metric],
    attributions: Mapping[str, Attribution],
    guard: Guard | None = None,
) -> dict[tuple[str, str], Cell]:
    """Every metric of a group on every method; if the observation fails, sample by sample.

    Samples of which some elements take no part are measured by themselves too.  A metric that
    interferes with others, see `igbench.evaluation.guard`, fails for all methods and samples.

    Args:
        batch: The samples.
        group: Metrics that share an observation.
        attributions: The maps by method.
        guard: What the metrics must leave as it is; by default the scalar of the batch.
    """
    guard = guard or Guard(batch.score, [group])
    name, first = next(iter(group.items()))
    try:
        if batch.active is not None and len(batch) == 1:
            group = {name: metric.restricted(batch, 0) for name, metric in group.items()}
            attributions = active.restrict_maps(attributions, batch, 0)
            batch = active.restrict(batch, 0)
            first = group[name]
        elif batch.active is not None:
            return _by_sample(batch, group, attributions, guard)
        observed = Shared(
            lambda: guard.call(f"metric {name!r}", lambda own, _: _observe(first, own), batch)
        )
    except InterferenceError as error:
        others = {other: metric for other, metric in group.items() if other != name}
        cells = failed(batch, [name], attributions, interfered(error))
        return cells | (measure(batch, others, attributions, guard) if others else {})
    except CAUGHT as error:
        if len(batch) > 1:
            return _by_sample(batch, group, attributions, guard)
        return failed(batch, group, attributions, describe(error))
    cells = {}
    for each, metric in group.items():
        work = _Work(each, metric, observed, guard, len(group) > 1)
        cells |= {(each, m): cell for m, cell in _measure_fitting(batch, work, attributions)}
    return cells


def _observe(metric: Metric, batch: Batch) -> Any:
    with batches.folding(metric, batch):
        return metric.observe(batch)


def _measure(
    metric: Metric, batch: Batch, attributions: Mapping[str, Attribution], observation: Any
) -> dict[str, Measurement]:
    with batches.folding(metric, batch):
        return metric.measure(batch, attributions, observation)


@dataclass(frozen=True)
class _Work:
    """One metric, with what it observed."""

    name: str
    metric: Metric
    observed: Shared
    guard: Guard
    shared: bool

    def __call__(
        self, batch: Batch, attributions: Mapping[str, Attribution]
    ) -> Mapping[str, Measurement]:
        """What the metric returns, checked; the observation is renewed where it was changed."""
        who, seen = f"metric {self.name!r}", self.observed.take()
        try:
            found = self.guard.call(
                who, lambda own, maps: _measure(self.metric, own, maps, seen), batch, attributions
            )
            if self.shared and not self.observed.intact():
                raise InterferenceError(f"{who} wrote into the observation that others share.")
        except CAUGHT as error:
            if isinstance(error, InterferenceError) or (self.shared and not self.observed.intact()):
                self.observed.forget()
            raise
        check_measurements(found, attributions, self.metric.leaves_out(), len(batch))
        return found


def _measure_fitting(
    batch: Batch, work: _Work, attributions: Mapping[str, Attribution]
) -> Iterator[tuple[str, Cell]]:
    """The cells of one metric, in the order of the methods that it cannot score, and the others."""
    reasons = {m: _unfit(work.metric, a) for m, a in attributions.items()}
    for method, reason in reasons.items():
        if reason:
            yield method, _empty(batch, _undefined(reason))
    fitting = {m: a for m, a in attributions.items() if not reasons[m]}
    yield from _measure_methods(batch, work, fitting).items()


def _unfit(metric: Metric, attribution: Attribution) -> str:
    """Why a metric cannot score an attribution, or ""."""
    if attribution.explain is None and getattr(metric, "needs_method", False):
        return "explains again, so it needs the method; this one is a map that was given"
    return mismatch(metric.spec.needs, attribution.spec)


def _by_sample(
    batch: Batch,
    group: Mapping[str, Metric],
    attributions: Mapping[str, Attribution],
    guard: Guard,
) -> dict[tuple[str, str], Cell]:
    """`measure` of one sample at a time."""
    return _joined(
        [
            measure(batch.select(slice(i, i + 1)), group, attributions_of(attributions, i), guard)
            for i in range(len(batch))
        ]
    )


def _measure_methods(
    batch: Batch, work: _Work, attributions: Mapping[str, Attribution]
) -> dict[str, Cell]:
    """All methods together; if that fails, each method by itself, and then each sample.

    What fails even so becomes a reason.  A metric that interferes is not asked again, unless it
    calls the methods: then any of these may have done it.
    """
    if not attributions:
        return {}
    try:
        with measured(batch.score) as spent:
            found = work(batch, attributions)
    except CAUGHT as error:
        again = getattr(work.metric, "needs_method", False)
        if isinstance(error, InterferenceError) and (not again or len(attributions) == 1):
            return {m: _empty(batch, interfered(error)) for m in attributions}
        if len(attributions) == 1 and len(batch) == 1:
            return {m: _empty(batch, describe(error)) for m in attributions}
        if len(attributions) == 1:
            apart = _by_sample(batch, {work.name: work.metric}, attributions, work.guard)
            return {method: cell for (_, method), cell in apart.items()}
        cells: dict[str, Cell] = {}
        for method, attribution in attributions.items():
            cells |= _measure_methods(batch, work, {method: attribution})
        return cells
    share = Spent(
        spent.forward // max(1, len(found)),
        spent.backward // max(1, len(found)),
        spent.seconds / max(1, len(found)),
    )
    return {m: Cell(v, [Reason()] * len(batch), share) for m, v in found.items()}


def failed(
    batch: Batch, metrics: Iterable[str], methods: Iterable[str], reason: Reason
) -> dict[tuple[str, str], Cell]:
    """Cells without a value, for one reason."""
    return {(metric, m): _empty(batch, reason) for metric in metrics for m in methods}


def _empty(batch: Batch, reason: Reason) -> Cell:
    nothing = torch.full((len(batch),), math.nan)
    return Cell(Measurement(nothing), [reason] * len(batch), Spent())


def interfered(error: InterferenceError) -> Reason:
    """What a part did to others, as the reason that it has no value."""
    reason = describe(error)
    reason.interference = True
    return reason


def _undefined(text: str) -> Reason:
    reason = Reason(text)
    reason.status = "undefined"
    return reason


def attributions_of(attributions: Mapping[str, Attribution], i: int) -> dict[str, Attribution]:
    """The maps of one sample."""
    return {m: replace(a, values=a.values[i : i + 1]) for m, a in attributions.items()}


def _joined(parts: list[dict[tuple[str, str], Cell]]) -> dict[tuple[str, str], Cell]:
    """Cells of single samples as cells of their batch."""
    joined = {}
    for key in parts[0]:
        cells = [p[key] for p in parts]
        joined[key] = Cell(
            concatenate([c.measurement for c in cells]),
            [r for c in cells for r in _reasons(c)],
            Spent(
                sum(c.spent.forward for c in cells),
                sum(c.spent.backward for c in cells),
                sum(c.spent.seconds for c in cells),
            ),
        )
    return joined


def _reasons(cell: Cell) -> list[Reason]:
    """Why each sample of a cell has no value: its own reason, where others have another."""
    finite = torch.isfinite(cell.measurement.value).tolist()
    own = cell.measurement.reason
    return [
        _undefined(own) if own and not (reason or known) else reason
        for reason, known in zip(cell.reasons, finite, strict=True)
    ]


def describe(error: BaseException) -> Reason:
    """An exception in one line, which says whether something failed or has no meaning."""
    text = " ".join("; ".join([str(error), *getattr(error, "__notes__", ())]).split())
    if isinstance(error, NotDefinedError):
        return _undefined(text)
    known = isinstance(error, InputError | SampleError)
    return Reason(text if known else f"{type(error).__name__}: {text}")
