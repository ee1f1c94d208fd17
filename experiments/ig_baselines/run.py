"""Measure how much Integrated Gradients changes with its baseline.

Photographs on EfficientNet-Lite0, one baseline after another, 33 log_middle nodes each.  Writes
scores.csv, agreement.csv, agreement.png and maps.png beside this file.

    python experiments/ig_baselines/run.py [--photographs 4]
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy.stats import spearmanr
from torch import Tensor

from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch
from igbench.core.score import Score, frozen
from igbench.integration.integrate import integrated_gradients
from igbench.metrics.faithfulness.areas import SymmetricRelevanceGain
from igbench.schema import MethodSpec

HERE = Path(__file__).parent
GAIN = SymmetricRelevanceGain(1 / 14, "zero", "probability")
BASELINES = (
    "zero",
    "black",
    "white",
    "channel_mean",
    "blur",
    "uniform_noise",
    "gaussian_noise",
    "maximum_distance",
)


def maps_of(photographs: int) -> tuple[dict[str, Tensor], pd.DataFrame, list[np.ndarray]]:
    """Attributions by baseline, a line for each photograph and baseline, and the pictures."""
    found, lines, pictures = {}, [], []
    for name in BASELINES:
        experiment = build.experiment(compose.compose([f"limit={photographs}", f"baseline={name}"]))
        data, module = experiment.data, experiment.model.module
        x = torch.stack([data.load(i) for i in range(photographs)])
        pictures = [data.display(one) for one in x] if data.display else []
        score = Score(module, batch_size=experiment.batch_size, channels_last=True)
        with frozen(module):
            with torch.inference_mode():
                target = module(x).argmax(dim=1)
            target = target.clone()
            baseline = experiment.baseline(x, data.sample_ids, data, seed=0)
            phi = integrated_gradients(score, x, baseline, target, rule="log_middle", n_steps=33)
            start, end = score.evaluate(baseline, target), score.evaluate(x, target)
        found[name] = phi
        gap = (phi.flatten(1).sum(1) - (end - start)).abs() / (end - start).abs()
        batch = Batch(score, x, baseline, target, data.sample_ids, "pixel")
        given = {name: Attribution(phi, MethodSpec(name, "", "global", signed=True))}
        gain = GAIN.score(batch, given)[name].value
        untouched = ((x - baseline).abs().amax(dim=1) < 0.05).flatten(1).double().mean(dim=1)
        lines += [
            {
                "baseline": name,
                "photograph": s,
                "score at the baseline": float(start[i]),
                "completeness gap": float(gap[i]),
                "SRG, grey occluder": float(gain[i]),
                "share of pixels within 0.05 of the baseline": float(untouched[i]),
            }
            for i, s in enumerate(data.sample_ids)
        ]
    return found, pd.DataFrame(lines), pictures


def agreement(found: dict[str, Tensor]) -> pd.DataFrame:
    """Spearman correlation of |pixel map| for every pair of baselines and photograph."""
    pixels = {name: phi.sum(dim=1).abs().flatten(1).numpy() for name, phi in found.items()}
    return pd.DataFrame(
        {"a": a, "b": b, "photograph": i, "spearman": spearmanr(u, v).statistic}
        for a, b in combinations(BASELINES, 2)
        for i, (u, v) in enumerate(zip(pixels[a], pixels[b], strict=True))
    )


def spread(found: dict[str, Tensor]) -> float:
    """sum_i sd over baselines of phi_i / sum_i |mean over baselines of phi_i|, averaged."""
    table = torch.stack([phi.sum(dim=1).flatten(1) for phi in found.values()]).double()
    return float((table.std(dim=0).sum(1) / table.mean(dim=0).abs().sum(1)).mean())


def draw(
    pairs: pd.DataFrame, lines: pd.DataFrame, found: dict[str, Tensor], pictures: list[np.ndarray]
) -> None:
    """Draw the matrix of agreement beside the scores, and maps of three photographs."""
    mean = pairs.groupby(["a", "b"])["spearman"].mean()
    table = pd.DataFrame(1.0, index=BASELINES, columns=BASELINES)
    for (a, b), value in mean.items():
        table.loc[a, b] = table.loc[b, a] = value
    figure = mpl.figure.Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    hidden = np.triu(np.ones(table.shape, dtype=bool))
    sns.heatmap(
        table,
        mask=hidden,
        annot=True,
        fmt=".2f",
        vmin=0,
        vmax=1,
        cmap="Blues",
        ax=left,
        cbar_kws={"label": "Spearman of |map|, mean over photographs"},
    )
    left.set_title("Do two baselines rank pixels alike?")
    sns.barplot(
        lines,
        x="SRG, grey occluder",
        y="baseline",
        order=BASELINES,
        color="0.6",
        errorbar=("ci", 95),
        seed=0,
        ax=right,
    )
    right.set(title="Is the map faithful?", ylabel="")
    figure.savefig(HERE / "agreement.png", dpi=110)

    rows = min(3, len(pictures))
    figure = mpl.figure.Figure(figsize=(1.35 * (len(found) + 1), 1.5 * rows), layout="constrained")
    for r, axes in enumerate(figure.subplots(rows, len(found) + 1)):
        axes[0].imshow(pictures[r])
        for ax, (name, phi) in zip(axes[1:], found.items(), strict=True):
            plane = phi[r].sum(dim=0).numpy()
            top = np.quantile(np.abs(plane), 0.995)
            ax.imshow(plane, cmap="RdBu_r", vmin=-top, vmax=top)
            if r == 0:
                ax.set_title(name.replace("_", "\n"), fontsize=8)
        for ax in axes:
            ax.set_axis_off()
    figure.supxlabel(
        "Each map by itself: limit = 99.5th percentile of |a|; red raises the score.", fontsize=8
    )
    figure.savefig(HERE / "maps.png", dpi=110)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=4)
    options = parser.parse_args()
    found, lines, pictures = maps_of(options.photographs)
    pairs = agreement(found)
    lines.to_csv(HERE / "scores.csv", index=False, float_format="%.6g")
    pairs.to_csv(HERE / "agreement.csv", index=False, float_format="%.6g")
    draw(pairs, lines, found, pictures)
    means = lines.groupby("baseline", sort=False).mean(numeric_only=True)
    text = [
        f"Baseline sensitivity: mean of 1 - Spearman {1 - pairs['spearman'].mean():.3f}, "
        f"spread {spread(found):.3f}.",
        means.to_markdown(floatfmt=".3f"),
    ]
    (HERE / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
