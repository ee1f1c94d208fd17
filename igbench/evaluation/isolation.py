"""Isolate samples, methods and metrics that fail, so that the others go on.

Each is tried together with the others first, and by itself when that fails; what still fails
becomes a reason.  Everything here is also measured: model rows, seconds, peak memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from igbench.core import active, memory
from igbench.core.batch import (
    Attribution,
    Batch,
    Measurement,
    Method,
    Metric,
    concatenate,
    mismatch,
)
from igbench.core.score import Cost, Score
from igbench.errors import (
    InputError,
    NotDefinedError,
    SampleError,
    check_one_per_sample,
    check_same_shape,
)
from igbench.schema import Status

NOT_FINITE = "the attribution holds NaN or infinite values"
CAUGHT = (Exception, SystemExit)
"""Exceptions of plugins that become reasons; one that calls `sys.exit` does not end the run."""


class Reason(str):
    """Why there is no value, in one line; empty where there is one.

    Attributes:
        status: "failed", or "undefined" where the question has no meaning.
    """

    status: Status = "failed"


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


def attribute(batch: Batch, method: Method) -> tuple[Tensor, list[Reason]]:
    """Attribute a batch; if that fails, each sample by itself.

    Elements that take no part have an attribution of 0.
    """
    if batch.active is not None:
        return _attribute_active(batch, method)
    try:
        values = method(batch)
        check_same_shape("the attribution", values, batch.x)
    except CAUGHT as error:
        if len(batch) == 1:
            return torch.full_like(batch.x, math.nan), [describe(error)]
        parts = [attribute(batch.select(slice(i, i + 1)), method) for i in range(len(batch))]
        return torch.cat([v for v, _ in parts]), [r for _, reasons in parts for r in reasons]
    finite = torch.isfinite(values).flatten(1).all(dim=1).tolist()
    return values, [Reason("" if ok else NOT_FINITE) for ok in finite]


def _attribute_active(batch: Batch, method: Method) -> tuple[Tensor, list[Reason]]:
    """Maps by `igbench.core.active`, sample by sample."""
    maps, every = [], []
    for i in range(len(batch)):
        own, reasons = attribute(active.restrict(batch, i), active.lift(method, batch, i))
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
    batch: Batch, group: Mapping[str, Metric], attributions: Mapping[str, Attribution]
) -> dict[tuple[str, str], Cell]:
    """Every metric of a group on every method; if the observation fails, sample by sample.

    Samples of which some elements take no part are measured by themselves too.
    """
    try:
        if batch.active is not None and len(batch) == 1:
            group = {name: metric.restricted(batch, 0) for name, metric in group.items()}
            attributions = active.restrict_maps(attributions, batch, 0)
            batch = active.restrict(batch, 0)
        elif batch.active is not None:
            return _by_sample(batch, group, attributions)
        observation = next(iter(group.values())).observe(batch)
    except CAUGHT as error:
        if len(batch) > 1:
            return _by_sample(batch, group, attributions)
        return {
            (metric, method): _empty(batch, describe(error))
            for metric in group
            for method in attributions
        }
    cells: dict[tuple[str, str], Cell] = {}
    for name, metric in group.items():
        reasons = {m: _unfit(metric, a) for m, a in attributions.items()}
        fitting = {m: a for m, a in attributions.items() if not reasons[m]}
        for method in attributions:
            if reasons[method]:
                cells[name, method] = _empty(batch, _undefined(reasons[method]))
        for method, cell in _measure_methods(batch, metric, fitting, observation).items():
            cells[name, method] = cell
    return cells


def _unfit(metric: Metric, attribution: Attribution) -> str:
    """Why a metric cannot score an attribution, or ""."""
    if attribution.explain is None and getattr(metric, "needs_method", False):
        return "explains again, so it needs the method; this one is a map that was given"
    return mismatch(metric.spec.needs, attribution.spec)


def _by_sample(
    batch: Batch, group: Mapping[str, Metric], attributions: Mapping[str, Attribution]
) -> dict[tuple[str, str], Cell]:
    """`measure` of one sample at a time."""
    return _joined(
        [
            measure(batch.select(slice(i, i + 1)), group, attributions_of(attributions, i))
            for i in range(len(batch))
        ]
    )


def _measure_methods(
    batch: Batch, metric: Metric, attributions: Mapping[str, Attribution], observation: Any
) -> dict[str, Cell]:
    """All methods together; if that fails, each method by itself, and then each sample.

    What fails even so becomes a reason.
    """
    if not attributions:
        return {}
    try:
        with measured(batch.score) as spent:
            found = metric.measure(batch, attributions, observation)
        _check_measurements(metric, found, attributions, len(batch))
    except CAUGHT as error:
        if len(attributions) == 1 and len(batch) == 1:
            return {m: _empty(batch, describe(error)) for m in attributions}
        if len(attributions) == 1:
            apart = _by_sample(batch, {"": metric}, attributions)
            return {method: cell for (_, method), cell in apart.items()}
        cells: dict[str, Cell] = {}
        for method, attribution in attributions.items():
            cells |= _measure_methods(batch, metric, {method: attribution}, observation)
        return cells
    share = Spent(
        spent.forward // max(1, len(found)),
        spent.backward // max(1, len(found)),
        spent.seconds / max(1, len(found)),
    )
    return {m: Cell(v, [Reason()] * len(batch), share) for m, v in found.items()}


def _check_measurements(
    metric: Metric,
    found: Mapping[str, Measurement],
    attributions: Mapping[str, Attribution],
    n: int,
) -> None:
    """Raise unless a metric measured every method and sample, in the expected shapes.

    `leaves_out` names the methods that a metric may omit.
    """
    out = metric.leaves_out()
    if found.keys() - out != attributions.keys() - out:
        raise InputError(
            f"the metric measured {', '.join(found) or 'nothing'}; it was given "
            f"{', '.join(attributions)}."
        )
    for measurement in found.values():
        check_one_per_sample("the metric's value", measurement.value, n)
        if measurement.std_error is not None:
            check_one_per_sample("the metric's standard error", measurement.std_error, n)
        for curve, (xs, ys) in measurement.curves.items():
            if ys.shape != (n, len(xs)):
                raise InputError(
                    f"the curve {curve!r} has shape {tuple(ys.shape)}, expected {(n, len(xs))}: "
                    "one line for each sample."
                )


def _empty(batch: Batch, reason: Reason) -> Cell:
    nothing = torch.full((len(batch),), math.nan)
    return Cell(Measurement(nothing), [reason] * len(batch), Spent())


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
            [r for c in cells for r in c.reasons],
            Spent(
                sum(c.spent.forward for c in cells),
                sum(c.spent.backward for c in cells),
                sum(c.spent.seconds for c in cells),
            ),
        )
    return joined


def describe(error: BaseException) -> Reason:
    """An exception in one line, which says whether something failed or has no meaning."""
    text = " ".join(str(error).split())
    if isinstance(error, NotDefinedError):
        return _undefined(text)
    known = isinstance(error, InputError | SampleError)
    return Reason(text if known else f"{type(error).__name__}: {text}")
