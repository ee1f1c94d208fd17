"""Count the false alarms of `igbench compare` between runs that differ in their random draws alone.

The same maps of the same digits are measured 400 times, each time with another seed of the draws of
the metrics, and the runs are compared in 200 pairs that share none.  Nothing has changed, so every
verdict but "undecided", "equivalent" and "identical" is a false alarm.  Values of a seed come from
the metrics themselves; that they are those of `igbench.evaluate` is checked for the first seed.

    python -m experiments.regression.alarms [--pairs 200]

Writes alarms.csv and alarms.md beside this file.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

import igbench
from igbench.core.batch import Attribution, Batch, Method
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.methods import (
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Random,
    explain,
)
from igbench.metrics import AvgSensitivity, Infidelity, SensitivityN
from igbench.metrics.base import BaseMetric
from igbench.models.digits_resnet import digits_resnet
from igbench.records import stats
from igbench.records.compare import compare
from igbench.schema import COSTS, MethodSpec, Records

HERE = Path(__file__).parent
SAMPLES = 32
ROWS = 1024
"""Model rows in a call."""
LEVEL = 0.05
RESAMPLES = 99
"""Resamples of an interval, which decides "equivalent" against "undecided" and no alarm."""
ALARMS = ("regressed", "improved", "changed")
METHODS: Mapping[str, Method] = {
    "ig": IntegratedGradients(),
    "occlusion": Occlusion(window=2, stride=1),
    "gradient_shap": GradientShap(),
    "feature_ablation": FeatureAblation(features="pixel"),
    "random": Random(),
    "input_x_gradient": InputXGradient(),
}
METRICS: Mapping[str, BaseMetric] = {
    "infidelity": Infidelity(draws=8, sides=(0.125, 0.5)),
    "sensitivity_n": SensitivityN(n=0.2, subsets=12, features="pixel"),
    "avg_sensitivity": AvgSensitivity(draws=2),
}
"""With few draws, so that chance is as large as it may be."""


@dataclass(frozen=True)
class Study:
    """Maps of one model and data, and the record of a run over them.

    Attributes:
        batch: All samples.
        maps: Method to its map; the last can be explained again.
        base: The record of the run of seed 0.
    """

    batch: Batch
    maps: Mapping[str, Attribution]
    base: Records

    def of_seed(self, seed: int) -> Records:
        """The run with another seed of the draws."""
        values: dict[tuple[str, str, str], float] = {}
        batch = replace(self.batch, seed=seed)
        for metric, measure in METRICS.items():
            for method, found in measure.score(batch, self._among(metric)).items():
                for sample, value in zip(batch.sample_ids, found.value.tolist(), strict=True):
                    values[method, metric, sample] = value
        scores = self.base.scores
        keys = zip(scores["method"], scores["metric"], scores["sample_id"], strict=True)
        run = replace(
            self.base.run,
            id=f"seed-{seed}",
            comparability={**self.base.run.comparability, "seed": seed},
        )
        return replace(self.base, run=run, scores=scores.assign(value=[values[k] for k in keys]))

    def _among(self, metric: str) -> dict[str, Attribution]:
        return {
            name: found
            for name, found in self.maps.items()
            if not METRICS[metric].needs_method or found.explain is not None
        }


def study() -> Study:
    """Explain the digits once, and run the benchmark once over the maps."""
    model = digits_resnet()
    data = digits(model, limit=SAMPLES)
    x = torch.stack([data.load(i) for i in range(len(data))])
    with torch.no_grad():
        target = model.module(x).argmax(dim=1)
    given = {
        name: explain(method, model.module, x, target=target, sample_ids=data.sample_ids)
        for name, method in METHODS.items()
    }
    again = "input_x_gradient"
    maps = {
        name: Attribution(
            values, MethodSpec(name, "", "global", signed=True),
            METHODS[name] if name == again else None,
        )
        for name, values in given.items()
    }  # fmt: skip
    found = igbench.evaluate(
        model, data, methods={**given, again: METHODS[again]}, metrics=METRICS, batch_size=ROWS,
        progress=False,
    )  # fmt: skip
    rows = found.frame
    drawn = ~rows["metric"].isin([*COSTS]) & (rows["status"] == "ok")
    batch = Batch(
        Score(model.module, batch_size=ROWS), x, torch.zeros_like(x), target, data.sample_ids,
        data.features, 0,
    )  # fmt: skip
    made = Study(batch, maps, replace(found.records, scores=rows[drawn].reset_index(drop=True)))
    off = (made.of_seed(0).scores["value"] - made.base.scores["value"]).abs().max()
    if not off < 1e-5:
        raise RuntimeError(f"values of seed 0 differ from those of igbench.evaluate by {off:.1e}.")
    return made


def compared(s: Study, pairs: Iterable[int]) -> pd.DataFrame:
    """Numbered pairs of runs: verdict and p-values of each cell, and the sd of its differences."""
    lines: list[tuple[object, ...]] = []
    keys = ["method", "metric"]
    for k in pairs:
        base, new = s.of_seed(2 * k + 1), s.of_seed(2 * k + 2)
        found = compare(base, new, across=["seed"], resamples=RESAMPLES)
        differences = new.scores["value"] - base.scores["value"]
        by_cell = differences.groupby([base.scores[name] for name in keys])
        cells = {key: values.to_numpy() for key, values in by_cell}
        for change in found.changes:
            own = cells[change.method, change.metric]
            p, sd = stats.signed_rank_p(own), float(own.std(ddof=1))
            cell = (change.method, change.metric, change.verdict, change.p_value, p, sd)
            lines.append((k, found.exit_code, *cell))
    columns = ["pair", "exit", *keys, "verdict", "p_holm", "p", "sd"]
    return pd.DataFrame(lines, columns=columns)


def rate(alarms: int, pairs: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    low, high = binomtest(alarms, pairs).proportion_ci(method="wilson")
    return f"{alarms} of {pairs}: {alarms / pairs:.1%} [{low:.1%}, {high:.1%}]"


def by_pair(lines: pd.DataFrame) -> pd.DataFrame:
    """For each pair its exit status, its cells with an alarm, and those with a p of at most 5 %."""
    marked = lines.assign(
        alarms=lines["verdict"].isin(ALARMS).astype(int), low=(lines["p"] <= LEVEL).astype(int)
    )
    how = {"exit": "first", "alarms": "sum", "low": "sum"}
    return marked.groupby("pair").agg(how).reset_index()


def alarm_counts(pairs: pd.DataFrame) -> dict[str, int]:
    """Number of pairs with an alarm, by what is called one."""
    return {
        "exit status 1: a cell has regressed": int((pairs["exit"] == 1).sum()),
        "a cell has regressed, improved or changed": int((pairs["alarms"] > 0).sum()),
        "without correction: a cell has p <= 5 %": int((pairs["low"] > 0).sum()),
    }


def table(lines: pd.DataFrame) -> str:
    """Alarms of pairs and noise of cells, as Markdown."""
    pairs = lines["pair"].nunique()
    cells = len(lines) // pairs
    verdicts = Counter(lines["verdict"]).most_common()
    text = [
        f"{pairs} pairs of runs of {SAMPLES} digits that differ in the seed of the draws alone; "
        f"{cells} cells each.",
        "",
        "| what is called an alarm | pairs with one, share [95 %, Wilson] |",
        "|:--|:--|",
        *(f"| {name} | {rate(n, pairs)} |" for name, n in alarm_counts(by_pair(lines)).items()),
        "",
        f"Verdicts of cells: {', '.join(f'{n} {v}' for v, n in verdicts)}.",
        "",
        "| metric | noise of a sample, a side | share of cells with p <= 5 % |",
        "|:--|--:|--:|",
    ]
    for metric, own in lines.groupby("metric", sort=False):
        noise = float(np.sqrt((own["sd"] ** 2).mean() / 2))
        text.append(f"| {metric} | {noise:.3g} | {(own['p'] <= LEVEL).mean():.1%} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    start = time.process_time()
    lines = compared(study(), range(options.pairs))
    by_pair(lines).to_csv(HERE / "alarms.csv", index=False)
    seconds = time.process_time() - start
    text = f"{table(lines)}\n{seconds:.0f} CPU seconds.\n"
    (HERE / "alarms.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
