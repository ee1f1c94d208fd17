"""Scores of a few methods on one metric, made up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from igbench.schema import MetricSpec, Row

UP = MetricSpec("up", "higher", 0, 1, 1, "test")


def frame(
    cells: Mapping[str, Sequence[float] | np.ndarray], metric: str = "m", model: str = "net"
) -> pd.DataFrame:
    """Scores of methods on one metric; NaN becomes an undefined row."""
    rows = [
        Row("r", "e", model, method, metric, f"s{i:05d}", float(value),
            "undefined" if math.isnan(value) else "ok", "why" if math.isnan(value) else "")
        for method, values in cells.items()
        for i, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(Row._fields))
