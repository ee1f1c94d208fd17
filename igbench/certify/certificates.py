"""Certificates: compare configured metrics with values that are known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from igbench.certify.cases import NO_CLOSED_FORM, Case
from igbench.certify.cases_faithfulness import FAITHFULNESS_CASES
from igbench.certify.cases_robustness import OTHER_CASES
from igbench.certify.cases_tables import TABLE_CASES
from igbench.config import build, folders
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score
from igbench.errors import InputError, check_choice
from igbench.metrics.base import BaseMetric
from igbench.schema import MethodSpec

CASES: tuple[Case, ...] = (*FAITHFULNESS_CASES, *OTHER_CASES, *TABLE_CASES)
STANDARD_ERRORS = 5
"""Tolerance of Monte Carlo values in standard errors: one false alarm in 2 million."""


@dataclass(frozen=True)
class Certificate:
    """The value of a metric on a case, beside the exact one.

    Attributes:
        metric: Name in conf/metric.
        case: Description of the model, the map and the answer.
        expected: The exact value.
        obtained: The value that the metric returned.
        tolerance: Largest error that rounding or Monte Carlo draws explain.
        note: Why there is no value; "" if there is one.
    """

    metric: str
    case: str
    expected: float
    obtained: float
    tolerance: float
    note: str = ""

    @property
    def error(self) -> float:
        """|obtained - expected|."""
        return abs(self.obtained - self.expected)

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance; never for NaN."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Known:
    """The map of a case as a method, for metrics that explain again."""

    case: Case
    spec: MethodSpec

    def __call__(self, batch: Batch) -> Tensor:
        """The map at any input, (N, *F)."""
        return self.case.map_of(batch)


def certify(metrics: Sequence[str] | None = None) -> list[Certificate]:
    """Run the cases of all metrics in conf/metric, or of some.

    A metric with neither a case nor a reason in `NO_CLOSED_FORM` gets a certificate that fails.

    Args:
        metrics: Names of metrics; None for all.

    Raises:
        InputError: An unknown name.
    """
    known = folders.packaged("metric")
    for name in metrics or ():
        check_choice("metric", name, known)
    found = []
    for name in metrics or known:
        cases = [case for case in CASES if case.metric == name]
        found += [run(case) for case in cases]
        if not cases and name not in NO_CLOSED_FORM:
            found.append(
                Certificate(name, "none", math.nan, math.nan, 0, "no case and no reason for none")
            )
    return found


def run(case: Case) -> Certificate:
    """The certificate of one case; an error of the metric is a note."""
    try:
        measurement = obtain(case)
    except (InputError, RuntimeError) as error:
        return Certificate(case.metric, case.title, case.expected, math.nan, 0, str(error))
    tolerance = case.tolerance * max(1.0, abs(case.expected))
    if case.drawn:
        if measurement.std_error is None:
            raise InputError(f"{case.metric} has no standard error, but the case is drawn.")
        tolerance = STANDARD_ERRORS * float(measurement.std_error[0])
    value = float(measurement.value[0])
    note = measurement.reason if math.isnan(value) else ""
    return Certificate(case.metric, case.title, case.expected, value, tolerance, note)


def obtain(case: Case) -> Measurement:
    """Measure a case with the metric of conf/metric and the arguments of the case."""
    metric: BaseMetric = build.construct(
        {**configured(case.metric), **case.arguments}, f"metric.{case.metric}"
    )
    x = case.x
    baseline = torch.as_tensor(case.baseline, dtype=x.dtype).expand_as(x)
    target = None if case.target is None else torch.tensor([case.target])
    batch = Batch(Score(case.model), x, baseline, target, ("certificate",))
    spec = MethodSpec("known map", "certificate", case.kind, signed=True)
    maps = {name: Attribution(values, spec) for name, values in case.beside.items()}
    maps["case"] = Attribution(case.map_of(batch), spec, Known(case, spec))
    return metric.score(batch, maps)["case"]


def configured(metric: str) -> dict[str, Any]:
    """The node of a file in conf/metric."""
    return folders.node("metric", metric)


def table(certificates: Sequence[Certificate]) -> str:
    """Format certificates as a Markdown table, followed by the metrics without a closed form."""
    lines = [
        "| metric | case | expected | obtained | error | tolerance | ok |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    for c in certificates:
        title = f"{c.case} ({c.note})" if c.note else c.case
        lines.append(
            f"| {c.metric} | {title} | {c.expected:.10g} | {c.obtained:.10g} | {c.error:.1g} | "
            f"{c.tolerance:.1g} | {'yes' if c.ok else '**no**'} |"
        )
    without = [n for n in folders.packaged("metric") if n in NO_CLOSED_FORM]
    lines += [""] + [f"No closed form, {NO_CLOSED_FORM[name]}: {name}." for name in without]
    return "\n".join(lines).rstrip()
