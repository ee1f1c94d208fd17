"""A made-up run with a floor, a ceiling and methods at several budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from igbench.schema import COSTS, MethodSpec, MetricSpec, Records, Row
from tests.helpers import synthetic

SPEC = MethodSpec("title", "test", "global", True)
COST = {
    "saliency": (1, 1), "ig_64": (32, 32), "ig_256": (128, 128), "ig_1024": (512, 512),
    "shap_64": (63, 0), "shap_256": (255, 0), "shap_1024": (1020, 0), "random": (0, 0),
    "best_found": (4158, 0),
}  # fmt: skip
SRG = {
    "saliency": 0.1, "ig_64": 0.2, "ig_256": 0.25, "ig_1024": 0.26, "shap_64": 0.15,
    "shap_256": 0.35, "shap_1024": 0.45, "random": 0.0, "best_found": 0.8,
}  # fmt: skip
FRONT = ["saliency", "shap_64", "ig_64", "shap_256", "shap_1024"]


def make_records(samples: int = 16) -> Records:
    """Scores of srg (higher is better), deletion (lower) and the costs; no curves."""
    ranks: dict[str, MetricSpec] = {
        name: replace(synthetic.METRICS[name], ranks=True) for name in ("srg", "deletion")
    }
    roles = {"random": "control", "best_found": "ceiling"}
    rng = np.random.default_rng(0)
    hard = 0.05 * rng.normal(size=samples)
    rows = []
    for method, mean in SRG.items():
        own = 0.02 * rng.normal(size=samples)
        cells = {"srg": mean + hard + own, "deletion": 0.6 - 0.5 * mean + hard + own}
        cells |= {
            f"{way}_rows": np.full(samples, float(n))
            for way, n in zip(("forward", "backward"), COST[method], strict=True)
        }
        rows += [
            Row("r", "budgets", "net", method, metric, f"s{i}", float(v))
            for metric, values in cells.items()
            for i, v in enumerate(values)
        ]
    run = replace(
        synthetic.make_run(experiment="budgets", samples=samples),
        metrics={**ranks, **COSTS},
        methods={
            m: replace(SPEC, role=roles.get(m, "method"))  # type: ignore[arg-type]
            for m in SRG
        },
    )
    nothing = synthetic.make_records(samples=2).curves[:0]
    return Records(run, pd.DataFrame(rows, columns=list(Row._fields)), nothing)
