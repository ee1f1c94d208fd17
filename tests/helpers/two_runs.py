"""Records of one model with given values, to be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from igbench.schema import COSTS, MetricSpec, Records, Row
from tests.helpers import synthetic

UP = MetricSpec("up", "higher", -math.inf, math.inf, 1, "test", min_effect=0.005)
DOWN, NEUTRAL = replace(UP, direction="lower"), replace(UP, direction="none")
N = 32
BASE = np.random.default_rng(7).normal(0.5, 0.15, N)
Values = Mapping[tuple[str, str], np.ndarray]


def make(
    values: Values, specs: Mapping[str, MetricSpec] | None = None, **comparability: object
) -> Records:
    """Records of one model; NaN becomes a failed row."""
    rows = [
        Row("r", "e", "net", method, metric, f"s{i}", float(v),
            "failed" if math.isnan(v) else "ok", "boom" if math.isnan(v) else "")
        for (method, metric), series in values.items()
        for i, v in enumerate(series)
    ]  # fmt: skip
    metrics = {**(specs or {"up": UP, "down": DOWN, "flat": NEUTRAL}), **COSTS}
    run = replace(
        synthetic.make_run(comparability={"metric_versions": {}, **comparability}), metrics=metrics
    )
    return Records(run, pd.DataFrame(rows, columns=list(Row._fields)), pd.DataFrame())


def noisy(shift: float, seed: int = 1) -> np.ndarray:
    """The values of the base run with noise of .01, moved."""
    return BASE + shift + np.random.default_rng(seed).normal(0, 0.01, N)


def with_run(records: Records, **fields: Any) -> Records:
    """Records whose run has other fields; mappings are merged."""
    run = records.run
    merged: dict[str, Any] = {}
    for name, value in fields.items():
        merged[name] = {**getattr(run, name), **value} if isinstance(value, dict) else value
    return replace(records, run=replace(run, **merged))
