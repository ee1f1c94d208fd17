"""Measure how well metrics tell a true map from a corrupted one, by amount of corruption.

Photographs, and a model of them whose contributions are planted:

    f(x) = scale * sum over patches k of w_k tanh(2 mean of patch k),   w_k from {-1, ..., 1}

f is a sum of functions of one patch each, so the contribution of patch k with baseline 0 is
c_k = scale * w_k tanh(2 m_k), by Integrated Gradients, the Shapley value and occlusion alike.  The
true map has c_k spread over its patch as Integrated Gradients spreads it.  It is corrupted by a
part q: the contributions of this part of the patches change places ("shuffled") or lose their sign
("unsigned"), or all of them get noise of q times their standard deviation ("noisy").  For each
metric: how often is the truth scored better than the corrupted map of the same photograph?  1/2 is
chance; ties count half.

Writes scores.csv, table.md and detection.png beside this file.

    python experiments/meta_evaluation/run.py [--photographs 40]
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

import matplotlib.colors
import pandas as pd
import seaborn as sns
import torch
from planted import DRAWS, KINDS, PARTS, PATCH, load, maps_of
from torch import Tensor

from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch
from igbench.metrics.base import BaseMetric
from igbench.report import styles
from igbench.schema import MethodSpec

HERE = Path(__file__).parent
UNITS = {"features": f"patch:{PATCH}", "step": 1}
REDUNDANT = {
    "aopc": "ranks maps as deletion does: f(x) less the mean of the same curve",
    "pixel_flipping": "ranks maps as deletion does: the mean of the same curve",
    "abpc": "ranks maps as srg does",
    "aic": "looks at photographs that the model is sure of",
    "sic": "looks at photographs that the model is sure of",
    "quantus_faithfulness_correlation": "a check of faithfulness_correlation",
    "quantus_sparseness": "a check of sparseness",
}
"""Metrics that would say nothing new, and why."""
FAMILIES = {"agreement": "compares methods", "localisation": "compares with human annotations"}
"""Families that are left out, and why."""


def left_out(name: str) -> str:
    """Why a metric is left out; "" where it is not."""
    metric: BaseMetric = build.construct(configured(name), f"metric.{name}")
    if metric.needs_method:
        return "explains again, and these are maps alone"
    return FAMILIES.get(metric.family) or REDUNDANT.get(name, "")


LEFT_OUT = {name: why for name in compose.choices("metric") if (why := left_out(name))}
"""Metrics that are left out, and why."""


def units(node: dict[str, Any]) -> dict[str, Any]:
    """Parameters that replace those of a metric's file, for small images with patches."""
    takes = inspect.signature(build.locate(node["_target_"], "metric")).parameters
    own: dict[str, Any] = {k: v for k, v in UNITS.items() if k in takes}
    if "fractions" in takes:
        own["fractions"] = (0.02, 0.05, 0.1, 0.2, 0.5)
    return own


def scores(batch: Batch, maps: dict[str, Tensor]) -> pd.DataFrame:
    """One line for each metric, photograph, kind, part and draw: 1 if the truth is ahead."""
    spec = MethodSpec("map", "", "global", signed=True)
    given = {name: Attribution(values, spec) for name, values in maps.items()}
    lines = []
    for name in compose.choices("metric"):
        if name in LEFT_OUT:
            continue
        node = configured(name)
        metric: BaseMetric = build.construct({**node, **units(node)}, f"metric.{name}")
        sign = 1 if metric.spec.direction == "higher" else -1
        found = metric.score(batch, given)
        best = sign * found["truth"].value.double()
        for key, measurement in found.items():
            if key == "truth":
                continue
            kind, part, draw = key.split()
            behind = sign * measurement.value.double()
            close = (best - behind).abs() <= 1e-9 * best.abs().clamp(min=1e-3)
            ahead = torch.where(close, 0.5, (best > behind).double())
            ahead = ahead.where(best.isfinite() & behind.isfinite(), torch.nan)
            lines += [
                (name, s, kind, float(part), int(draw), a)
                for s, a in zip(batch.sample_ids, ahead.tolist(), strict=True)
            ]
    columns = ["metric", "photograph", "corruption", "part", "draw", "ahead"]
    return pd.DataFrame(lines, columns=columns)


def table(lines: pd.DataFrame) -> pd.DataFrame:
    """Share of pairs in which the truth is ahead, metrics by their mean."""
    means = lines.pivot_table(index="metric", columns=["corruption", "part"], values="ahead")
    means = means[[(k, p) for k in KINDS for p in PARTS]]
    return means.loc[means.mean(axis=1).sort_values(ascending=False).index]


def interval(lines: pd.DataFrame) -> float:
    """Largest half width of a 95 % interval of a share, photographs as units."""
    each = lines.groupby(["metric", "corruption", "part", "photograph"])["ahead"].mean()
    error = each.groupby(level=[0, 1, 2]).sem()
    return float(1.96 * error.max())


def draw(means: pd.DataFrame, pairs: int) -> None:
    """Draw one panel for each corruption: metrics by parts of the patches."""
    titles = {
        "shuffled": "Contributions change places",
        "noisy": "All contributions get noise",
        "unsigned": "Contributions lose their sign",
    }
    colours = matplotlib.colors.LinearSegmentedColormap.from_list(
        "detection", ["#d55e00", "#ffffff", "#0173b2"]
    )
    with styles.style():
        figure = styles.canvas(10.5, 0.8 + 0.27 * len(means))
        panels = figure.subplots(1, len(KINDS), sharey=True)
        for axes, kind in zip(panels, KINDS, strict=True):
            sns.heatmap(
                means[kind],
                vmin=0,
                vmax=1,
                cmap=colours,
                annot=True,
                fmt=".2f",
                annot_kws={"size": 6.5},
                linewidths=0.5,
                yticklabels=[styles.label(m) for m in means.index],
                cbar=False,
                ax=axes,
            )
            label = "noise / spread" if kind == "noisy" else "part of the patches"
            axes.set(xlabel=label, ylabel="")
            axes.tick_params(length=0, axis="y", rotation=0)
            styles.panel_title(axes, titles[kind])
        figure.suptitle(
            f"Share of {pairs} pairs in which the true map is scored better (0.5: chance)",
            fontsize=9,
        )
        styles.save(figure, HERE / "detection", ("png", "pdf"), dpi=150)


def main() -> None:
    """Corrupt, score, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=40)
    options = parser.parse_args()
    batch, truth = load(options.photographs)
    lines = scores(batch, maps_of(batch, truth))
    means = table(lines)
    counts = lines.groupby(["metric", "corruption", "part"], sort=False)["ahead"]
    counts.agg(["mean", "size"]).to_csv(HERE / "scores.csv", float_format="%.4f")
    draw(means, len(batch) * DRAWS)
    text = [
        f"Share of {len(batch)} photographs x {DRAWS} draws in which the truth is scored better; "
        f"95 % intervals of at most ±{interval(lines):.2f}.",
        *(f"### {kind}\n\n{means[kind].to_markdown(floatfmt='.2f')}" for kind in KINDS),
        "\n".join(f"Left out: {name}: {why}." for name, why in LEFT_OUT.items()),
    ]
    (HERE / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
