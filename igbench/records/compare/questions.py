"""What makes single cells of two runs answer another question: baseline, scalar, metric."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from igbench.records.compare.identity import (
    METRIC_VERSIONS,
    Difference,
    differing,
    mapping_of,
    value_text,
)
from igbench.records.shorten import shorten
from igbench.schema import COSTS, Records, Run


@dataclass(frozen=True)
class Questions:
    """What makes single cells answer another question in the new run.

    Attributes:
        metrics: Metric to what changed in its definition.
        methods: Method to its arguments that ask another question.
        baseline: What changed in the baseline of the run; "" for nothing.
        free_methods: Methods that cannot depend on the baseline of the run.
        free_metrics: Metrics that cannot, but through the map; costs cannot either.
    """

    metrics: Mapping[str, str]
    methods: Mapping[str, str]
    baseline: str
    free_methods: Collection[str] = ()
    free_metrics: Collection[str] = ()

    def asked(self, method: str, metric: str) -> str:
        """Why a cell answers another question; "" where it does not."""
        found = [self.metrics.get(metric, ""), self.methods.get(method, "")]
        if method not in self.free_methods or metric not in (*self.free_metrics, *COSTS):
            found.append(self.baseline)
        return "; ".join(filter(None, found))


def questions(
    base: Records, new: Records, found: Iterable[Difference], across: Collection[str]
) -> Questions:
    """What of two runs asks another question of single cells, and is not allowed to differ."""
    asked = [d for d in found if d.kind == "question" and not d.allowed(across)]
    methods: dict[str, str] = {}
    for one in asked:
        for method in new.run.methods if one.name.startswith("methods.") else ():
            if one.name.startswith(f"methods.{method}."):
                methods[method] = "; ".join(filter(None, [methods.get(method, ""), one.text]))
    return Questions(
        metrics={} if "metrics" in across else changed_metrics(base.run, new.run),
        methods=methods,
        baseline=next((d.text for d in asked if d.name == "baseline"), ""),
        free_methods=_free_methods(base.run, new.run),
        free_metrics=_free_metrics(base.run, new.run),
    )


def of_cells(difference: Difference) -> bool:
    """Whether a question concerns single cells and not the whole run."""
    return difference.name == "baseline" or difference.name.startswith("methods.")


def _free_methods(base: Run, new: Run) -> set[str]:
    """Methods that cannot depend on the baseline of the run: sensitivities, or with one of theirs.

    Ceilings search with the occluder of a metric, which may be the baseline.
    """
    local = {
        m for m, spec in new.methods.items()
        if spec.kind == "local" and spec.role != "ceiling" and base.methods.get(m) == spec
    }  # fmt: skip
    own = [mapping_of(mapping_of(r.environment, "parameters"), "methods") for r in (base, new)]
    given = [
        {m for m, p in methods.items() if isinstance(p, Mapping) and _has_baseline(p)}
        for methods in own
    ]
    return local | (given[0] & given[1])


def _has_baseline(parameters: Mapping[str, Any]) -> bool:
    return bool(parameters.get("baseline") or parameters.get("baselines"))


def _free_metrics(base: Run, new: Run) -> set[str]:
    """Metrics whose value cannot depend on the baseline but through the map."""
    parts = [mapping_of(mapping_of(r.environment, "parameters"), "metrics") for r in (base, new)]
    return {
        k
        for k, spec in new.metrics.items()
        if "global" not in spec.needs and all(_spares_baseline(p.get(k)) for p in parts)
    }


def _spares_baseline(parameters: Any) -> bool:
    """Whether the recorded arguments of a metric name the baseline nowhere."""
    known = isinstance(parameters, Mapping) and parameters.get("occluder", "") is not None
    return known and "baseline" not in repr(parameters)


def changed_metrics(base: Run, new: Run) -> dict[str, str]:
    """Metric to what changed in its definition, for metrics of both runs."""
    old, now = (
        {k: spec.version for k, spec in r.metrics.items()}
        | dict(mapping_of(r.comparability, METRIC_VERSIONS))
        for r in (base, new)
    )
    changed = [k for k in old if k in now and old[k] != now[k]]
    return {k: _version_change(str(old[k]), str(now[k]), k, base, new) for k in changed}


def _version_change(old: str, now: str, metric: str, base: Run, new: Run) -> str:
    """What differs between two versions "number-hash", where the hash is over all settings."""
    if old.partition("-")[0] != now.partition("-")[0]:
        return f"version {old.partition('-')[0]} -> {now.partition('-')[0]}"
    before, after = (
        shorten(mapping_of(mapping_of(mapping_of(r.environment, "parameters"), "metrics"), metric))
        for r in (base, new)
    )
    changes = [
        f"{name}: {value_text(a)} -> {value_text(b)}" for name, a, b in differing(before, after)
    ]
    return f"other settings ({', '.join(changes) or f'{old} -> {now}'})"


def no_common_metric(base: Records, new: Records, changed: Mapping[str, str]) -> str:
    """Why no metric of two runs can be compared; "" where one can."""
    old, now = (set(r.scores["metric"].unique()) - set(COSTS) for r in (base, new))
    if not (old or now) or (old & now) - set(changed):
        return ""
    if not old & now:
        return f"metrics: {sorted(old)} -> {sorted(now)}, none in common"
    shared = [f"{k} {changed[k]}" for k in sorted(old & now)]
    return f"metrics: every metric in common changed: {', '.join(shared)}"
