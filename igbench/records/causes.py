"""Say in words what else changed between two runs, and what the numbers of a comparison are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from igbench.schema import COSTS, Change, MethodSpec, MetricSpec, Records

ROUNDING = 1e-4
"""Relative difference of an output of the model up to which two runs agree."""

_BETTER = {"higher": "higher is better", "lower": "lower is better", "none": "no direction"}

Sample = Mapping[str, Any]


def model_changes(base: Records, new: Records) -> list[str]:
    """Lines on weights, outputs and predictions, which tell a model from a method that changed.

    Outputs are those that are explained, over the samples with one in both runs; they agree if
    their relative difference is at most `ROUNDING`.

    Args:
        base: The run to compare with.
        new: The run that is judged.
    """
    pairs = list(_pairs(base, new))
    if not pairs:
        return ["model: no sample has an output in both runs"]
    weights = [r.run.comparability.get("weights") for r in (base, new)]
    moved = [abs(now["score"] - old["score"]) for old, now in pairs if not _agree(old, now)]
    other = sum(old.get("prediction") != now.get("prediction") for old, now in pairs)
    lines = [
        f"model: {'the same' if weights[0] == weights[1] else 'other'} weights; "
        + _outputs(moved, other, len(pairs))
    ]
    if weights[0] != weights[1]:
        return lines
    if moved:
        lines.append("so the inputs changed, or the code of the model: look at the preprocessing")
    else:
        lines.append("so a method, a metric or a library changed, and not the model")
    return lines


def _outputs(moved: list[float], other: int, n: int) -> str:
    """How many of N outputs and predictions differ, and by how much."""
    if not moved and not other:
        return f"its outputs are the same on all {n} samples"
    mean = sum(moved) / len(moved) if moved else 0.0
    return (
        f"its outputs differ on {len(moved)} of {n} samples (by {mean:.3g} on average), "
        f"its predicted class on {other}"
    )


def _pairs(base: Records, new: Records) -> Iterable[tuple[Sample, Sample]]:
    """Samples with an output in both runs."""
    before = {s["sample_id"]: s for s in base.run.samples if _finite(s)}
    for sample in new.run.samples:
        if _finite(sample) and sample["sample_id"] in before:
            yield before[sample["sample_id"]], sample


def _finite(sample: Sample) -> bool:
    return sample.get("score") is not None and math.isfinite(sample["score"])


def _agree(old: Sample, now: Sample) -> bool:
    return math.isclose(old["score"], now["score"], rel_tol=ROUNDING, abs_tol=1e-12)


def titles(methods: Mapping[str, MethodSpec], changes: Iterable[Change]) -> list[str]:
    """One line for each method of some cells: what its name stands for.

    Args:
        methods: Definitions by name.
        changes: Cells.
    """
    names = dict.fromkeys(change.method for change in changes)
    return [f"method {name}: {methods[name].title}" for name in names if name in methods]


def legend(metrics: Mapping[str, MetricSpec], names: Iterable[str]) -> list[str]:
    """One line for each metric: which way is better, and the question that it answers.

    Args:
        metrics: Definitions by name.
        names: Metrics to explain; costs explain themselves by their title.

    >>> legend(COSTS, ["forward_rows"])
    ['metric forward_rows (lower is better): Model rows evaluated per attribution']
    """
    specs = {name: metrics[name] for name in dict.fromkeys(names) if name in metrics}
    return [
        f"metric {name} ({_BETTER[spec.direction]}): {spec.title if name in COSTS else _asks(spec)}"
        for name, spec in specs.items()
    ]


def _asks(spec: MetricSpec) -> str:
    return spec.explains or spec.title
