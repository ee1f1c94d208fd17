"""Compare fixed numbers of draws with draws that stop at a bound of the standard error.

The same maps of eight methods, scored with the default number of draws, with "auto" at several
bounds, and with many draws from another seed as a reference.  Writes adaptive_draws.csv (a row for
each score) and adaptive_draws.md (a row for each setting) beside this file.

    python experiments/speed/adaptive_draws.py [--photographs 4] [--repeats 2] [--reference 256]
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from metrics import load
from scipy.stats import kendalltau

from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import frozen
from igbench.metrics.base import BaseMetric
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN

HERE = Path(__file__).parent
BOUNDS = {
    "infidelity": (0.2, 0.25, 0.4),
    "sensitivity_n": (0.05, 0.075, 0.1),
    "faithfulness_correlation": (0.05, 0.1, 0.15),
}
MAKE = {
    "infidelity": lambda draws, **bound: Infidelity(draws=draws, **bound),
    "sensitivity_n": lambda draws, **bound: SensitivityN(subsets=draws, **bound),
    "faithfulness_correlation": lambda d, **bound: FaithfulnessCorrelation(subsets=d, **bound),
}
FIXED = {"infidelity": 64, "sensitivity_n": 40, "faithfulness_correlation": 100}
REFERENCE = "reference"


def settings(metric: str) -> dict[str, BaseMetric]:
    """The metric with its default number of draws, and with each bound."""
    make, count = MAKE[metric], FIXED[metric]
    auto = {f"auto, error {b:g}": make("auto", error=b) for b in BOUNDS[metric]}
    return {f"{count} draws": make(count)} | auto


def scored(
    metric: BaseMetric, batch: Batch, maps: Mapping[str, Attribution]
) -> tuple[dict[str, Measurement], int, float]:
    """Scores, model rows and seconds of one metric."""
    own = metric.for_shape(batch.x.shape[1:])
    before, start = batch.score.cost.snapshot(), time.perf_counter()
    found = own.measure(batch, maps, own.observe(batch))
    seconds = time.perf_counter() - start
    return found, batch.score.cost.since(before).forward, seconds


def rows_of(
    metric: str, setting: str, draws: int, batch: Batch, found: Mapping[str, Measurement]
) -> list[dict[str, object]]:
    """A row for each score."""
    rows: list[dict[str, object]] = []
    for method, m in found.items():
        assert m.std_error is not None
        trace = m.curves.get(f"{metric}_draws")
        for i, sample in enumerate(batch.sample_ids):
            taken = draws
            if trace is not None:
                looks = int(trace[1][i].isfinite().sum())
                taken = int(trace[0][max(0, looks - 1)])
            value, error = float(m.value[i]), float(m.std_error[i])
            rows.append(
                dict(metric=metric, setting=setting, sample=sample, method=method)
                | dict(value=value, std_error=error, draws=taken)
            )
    return rows


def compare(
    metric: str, batch: Batch, maps: Mapping[str, Attribution], repeats: int, reference: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores by setting, and model rows and seconds by setting; settings take turns."""
    rows, costs = [], []
    each = settings(metric)
    for repeat in range(repeats):
        for setting, own in each.items():
            found, forward, seconds = scored(own, batch, maps)
            costs.append(dict(setting=setting, rows=forward / len(batch), seconds=seconds))
            if repeat == 0:
                rows += rows_of(metric, setting, FIXED[metric], batch, found)
    if reference:
        other = replace(batch, seed=batch.seed + 1)
        found, forward, seconds = scored(MAKE[metric](reference), other, maps)
        costs.append(dict(setting=REFERENCE, rows=forward / len(batch), seconds=seconds))
        rows += rows_of(metric, REFERENCE, reference, batch, found)
    return pd.DataFrame(rows), pd.DataFrame(costs)


def summary(metric: str, scores: pd.DataFrame, costs: pd.DataFrame) -> list[dict[str, object]]:
    """A row for each setting."""
    means = scores.pivot_table(index="method", columns="setting", values="value")
    squared = scores.assign(var=scores["std_error"] ** 2)
    n = scores["sample"].nunique()
    errors = squared.pivot_table(index="method", columns="setting", values="var", aggfunc="sum")
    errors = np.sqrt(errors) / n
    fixed = next(iter(settings(metric)))
    seconds = costs.groupby("setting")["seconds"].median()
    result: list[dict[str, object]] = []
    for setting in [*settings(metric), REFERENCE]:
        if setting not in means:
            continue
        own = scores[scores["setting"] == setting]
        spread = own.groupby("method")["value"].std().median()
        row = {
            "metric": metric,
            "setting": setting,
            "model rows a sample": round(costs[costs["setting"] == setting]["rows"].iloc[0]),
            "draws of a score": round(own["draws"].mean(), 1),
            "largest std. error": round(own["std_error"].max(), 4),
            "std. error of a mean": round(float(np.sqrt((errors[setting] ** 2).mean())), 4),
            "spread of samples / sqrt N": round(spread / np.sqrt(n), 4),
            "seconds / fixed": round(seconds[setting] / seconds[fixed], 2),
        }
        for other in (fixed, REFERENCE):
            if other in means and other != setting:
                apart = (means[setting] - means[other]).abs()
                allowed = np.hypot(errors[setting], errors[other])
                tau = kendalltau(means[setting], means[other]).statistic
                name = "reference" if other == REFERENCE else "fixed"
                row |= {
                    f"largest difference to {name} / its error": round((apart / allowed).max(), 2),
                    f"tau with {name}": round(float(tau), 2),
                }
        result.append(row)
    return result


def main(photographs: int, repeats: int, reference: int, chosen: Sequence[str]) -> None:
    """Compare, and write both files."""
    batch, maps, module = load(photographs)
    scores, lines = [], []
    with frozen(module), torch.no_grad():
        for metric in chosen:
            found, costs = compare(metric, batch, maps, repeats, reference)
            scores.append(found)
            lines += summary(metric, found, costs)
            logging.warning("%s\n%s", metric, pd.DataFrame(lines).to_string())
    pd.concat(scores).to_csv(HERE / "adaptive_draws.csv", index=False, float_format="%.6g")
    table = pd.DataFrame(lines).to_markdown(index=False)
    (HERE / "adaptive_draws.md").write_text(
        f"# Fixed and adaptive draws\n\n{photographs} photographs, {len(maps)} methods; the "
        f"reference has {reference} draws of another seed. Seconds are medians of {repeats} turns."
        f"\n\n{table}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--reference", type=int, default=256, help="draws; 0 for none")
    parser.add_argument("--metric", nargs="+", default=list(FIXED), choices=list(FIXED))
    given = parser.parse_args()
    main(given.photographs, given.repeats, given.reference, given.metric)
