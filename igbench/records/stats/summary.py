"""Summary of scores: means with intervals, counts, and which methods are best or tied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from igbench.records.settings import own_settings
from igbench.records.stats.cells import Cells, cells, mean, sample_sd, spec_of, usable
from igbench.records.stats.intervals import RESAMPLES, intervals
from igbench.records.stats.power import LEVEL
from igbench.records.stats.shares import NO_SHARE, ends, shares
from igbench.records.stats.signed_rank import holm, signed_rank_p, subtract
from igbench.schema import MethodSpec, MetricSpec

SUMMARY_COLUMNS = (
    "model", "method", "metric", "n", "n_undefined", "n_failed", "reason", "mean", "low", "high",
    "median", "std", "mc_error", "best", "tied", "share", "share_low", "share_high",
)  # fmt: skip


@own_settings()
def summarise(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    *,
    methods: Mapping[str, MethodSpec] | None = None,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Summarise scores: one line for each model, metric and method.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Definitions of the metrics and costs.
        methods: Definitions of the methods; oracles, controls and ceilings are never best.  Without
            them, every method competes.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `SUMMARY_COLUMNS`: `n`, `n_undefined`, `n_failed` count samples; `reason` is the
        most common one; `low`, `high` bound the mean with 95 % confidence; `mc_error` is the
        Monte Carlo standard error of the mean, NaN for exact metrics (for draws that all samples
        share it is that of one sample, an upper bound); `best` marks the best mean among methods
        that are no oracles, controls or ceilings, `tied` those that do not differ significantly
        from it (signed-rank test, Holm's correction over all pairs of the model and metric);
        `share` is that of the way from floor to ceiling (see `ends`, `share_of_way`), over the
        samples where all three have a value, and `share_low`, `share_high` bound it.

    Raises:
        InputError: A metric has no definition, or a sample occurs twice.
    """
    columns = _Columns(scores)
    lines = []
    for block in cells(scores):
        spec = spec_of(specs, block.metric)
        given = {name: columns.values(rows) for name, rows in block.rows.items()}
        bounds = intervals([*given.values()], resamples=resamples)
        described = [
            {
                "model": block.model, "method": method, "metric": block.metric,
                **columns.describe(block.rows[method], values, spec), "low": low, "high": high,
            }
            for (method, values), (low, high) in zip(given.items(), bounds, strict=True)
        ]  # fmt: skip
        rivals = [c for c in described if _competes(c["method"], methods) and c["n"]]
        between = shares(block, ends(described, methods, spec), spec, resamples)
        lines += [
            {**line, **between.get(line["method"], NO_SHARE)}
            for line in _mark(described, rivals, block, spec)
        ]
    return pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS))


class _Columns:
    """Columns of a table of scores as arrays, taken out once for all cells.

    Args:
        scores: Columns of `Row`.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        self.good = usable(scores).to_numpy(dtype=bool)
        self.undefined = (scores["status"] == "undefined").to_numpy(dtype=bool)
        self.value = scores["value"].to_numpy(dtype=float)
        self.error = scores["std_error"].to_numpy(dtype=float)
        self.reason = scores["reason"]

    def values(self, rows: np.ndarray) -> np.ndarray:
        """The values among rows, in the order of the table."""
        return np.asarray(self.value[rows[self.good[rows]]])

    def describe(self, rows: np.ndarray, values: np.ndarray, spec: MetricSpec) -> dict[str, Any]:
        """The columns of the summary of a cell that need neither resamples nor other cells."""
        good = self.good[rows]
        undefined = int(np.count_nonzero(self.undefined[rows]))
        errors = self.error[rows[good]]
        errors = errors[~np.isnan(errors)]
        independent = 1 if spec.shared_draws else len(values)
        return {
            "n": len(values),
            "n_undefined": undefined,
            "n_failed": len(rows) - len(values) - undefined,
            "reason": self._commonest_reason(rows[~good]),
            "mean": mean(values),
            "median": float(np.median(values)) if len(values) else math.nan,
            "std": sample_sd(values),
            "mc_error": math.sqrt(mean(errors**2) / independent) if len(errors) else math.nan,
        }

    def _commonest_reason(self, rows: np.ndarray) -> str:
        reasons = self.reason.iloc[rows]
        counts = reasons[reasons != ""].value_counts()
        return str(counts.index[0]) if len(counts) else ""


def _mark(
    cells: list[dict[str, Any]],
    rivals: list[dict[str, Any]],
    block: Cells,
    spec: MetricSpec,
) -> list[dict[str, Any]]:
    """Add `best` and `tied` to the cells; equal best means are all best."""
    sign = {"higher": 1.0, "lower": -1.0, "none": math.nan}[spec.direction]
    merits = {c["method"]: sign * c["mean"] for c in rivals}
    top = max((m for m in merits.values() if not math.isnan(m)), default=math.nan)
    best = [name for name, merit in merits.items() if merit == top]
    differs = _differs(block, best[0]) if best else {}
    return [
        {
            **cell,
            "best": cell["method"] in best,
            "tied": bool(best)
            and cell["method"] in merits
            and cell["method"] not in best
            and not differs[cell["method"]],
        }
        for cell in cells
    ]


def _differs(block: Cells, best: str) -> dict[str, bool]:
    """Whether each method differs from `best` at 5 %, with Holm's correction over all pairs."""
    found = [(a, b, signed_rank_p(subtract(x, y))) for a, b, x, y in block.pairs()]
    adjusted = holm([p for *_, p in found])
    return {
        b if a == best else a: bool(p <= LEVEL)
        for (a, b, _), p in zip(found, adjusted, strict=True)
        if best in (a, b)
    }


def _competes(method: str, methods: Mapping[str, MethodSpec] | None) -> bool:
    return methods is None or method not in methods or methods[method].role == "method"
