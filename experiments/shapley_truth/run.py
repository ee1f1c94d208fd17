"""Measure how far approximations are from exact Shapley values, against their cost.

Ten columns of the breast cancer table, a perceptron and a random forest, 64 rows that were held
out.  Writes scores.csv, table.md and errors.png beside this file; TreeSHAP takes part where the
library shap is installed.

    python experiments/shapley_truth/run.py [--samples 64]
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.figure
import pandas as pd
import seaborn as sns
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from torch import nn

import igbench
from igbench import methods as m
from igbench.core.dataset import Data
from igbench.core.model import ArrayFunction
from igbench.data.breast_cancer import load_split
from igbench.data.tables import TableEncoder, table_data
from igbench.metrics import DifferenceFromExact

HERE = Path(__file__).parent
BUDGETS = (32, 64, 128, 256, 512)
POOL = 256
METRICS = {
    "l1": DifferenceFromExact(most=10),
    "spearman": DifferenceFromExact(most=10, statistic="spearman"),
}


def table(samples: int) -> tuple[Data, TableEncoder]:
    """The means of ten measurements, of rows that were held out."""
    split = load_split()
    frame = split.frame[[name for name in split.frame.columns if name.startswith("mean ")]]
    train, own = list(split.train), list(split.held_out[:samples])
    encoder = TableEncoder.fit(frame.iloc[train])
    data = table_data(
        encoder,
        frame.iloc[own],
        [split.labels[i] for i in own],
        background=frame.iloc[train[:POOL]],
        name="breast_cancer, ten columns",
        sample_ids=[f"breast-cancer-{i:03d}" for i in own],
    )
    return data, encoder


def models(encoder: TableEncoder) -> dict[str, Any]:
    """A perceptron and a forest, trained on the other rows; prints how often they are right."""
    split = load_split()
    parts = []
    for rows in (split.train, split.held_out):
        x = encoder.encode(split.frame[list(encoder.names)].iloc[list(rows)]).double()
        parts.append((x, torch.tensor([split.labels[i] for i in rows])))
    (x, y), (held_out, truth) = parts
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2)).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    forest = RandomForestClassifier(50, random_state=0).fit(x.numpy(), y.numpy())
    with torch.no_grad():
        said = net(held_out).argmax(dim=1)
    print(f"perceptron: {accuracy_score(truth, said):.3f}")  # noqa: T201
    print(f"forest: {forest.score(held_out.numpy(), truth.numpy()):.3f}")  # noqa: T201
    return {"perceptron": net.eval(), "forest": ArrayFunction(forest.predict_proba)}


def chosen(name: str, data: Data) -> dict[str, Any]:
    """Methods of a model, by a name and the budget behind it."""
    found: dict[str, Any] = {}
    for rows in BUDGETS:
        found[f"kernel_shap {rows}"] = m.KernelShap(evaluations=rows)
        found[f"shapley_sampling {rows}"] = m.ShapleySampling(evaluations=rows)
        found[f"lime {rows}"] = m.Lime(samples=rows)
        if name == "perceptron":
            found[f"ig {rows}"] = m.IntegratedGradients(n_steps=rows // 2)
            found[f"expected_gradients {rows}"] = m.ExpectedGradients(
                references=rows // 2, alphas=1, pool=data.reference
            )
    found["feature_ablation"] = m.FeatureAblation()
    if name == "perceptron":
        found |= {"deep_lift": m.DeepLift(), "input_x_gradient": m.InputXGradient()}
    elif find_spec("shap") is not None:
        found |= {"tree_shap": m.TreeShap(), "tree_shap_path": m.TreeShap("path")}
    return found | {"random": m.Random()}


def measure(samples: int) -> pd.DataFrame:
    """A line for each model, method and budget: cost, and both distances with intervals."""
    data, encoder = table(samples)
    assert data.reference is not None
    start = data.reference().double().median(dim=0).values
    lines = []
    for name, model in models(encoder).items():
        found = igbench.evaluate(
            model, data, methods=chosen(name, data), metrics=METRICS, baseline=start,
            batch_size=1024, progress=False,
        )  # fmt: skip
        summary = found.summary().set_index(["method", "metric"])
        for method in found.run.methods:
            cost = [summary.loc[(method, c), "mean"] for c in ("forward_rows", "backward_rows")]
            line = {"model": name, "method": method.partition(" ")[0], "rows": sum(cost)}
            for metric in METRICS:
                own = summary.loc[(method, metric)]
                line |= {
                    metric: own["mean"],
                    f"{metric} low": own["low"],
                    f"{metric} high": own["high"],
                }
            lines.append(line | {"n": int(summary.loc[(method, "l1"), "n"])})
    return pd.DataFrame(lines)


def draw(scores: pd.DataFrame) -> None:
    """Draw both distances against the cost, one row of panels for each model."""
    scores = scores[scores["method"] != "random"]  # ten times farther off than all others
    names = list(dict.fromkeys(scores["method"]))
    colours = dict(zip(names, [*sns.color_palette("tab10", 10), (0, 0, 0)], strict=False))
    figure = mpl.figure.Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    titles = {"l1": "relative L1 distance (lower is better)", "spearman": "Spearman (higher)"}
    for line, (model, part) in zip(panels, scores.groupby("model", sort=False), strict=True):
        for panel, metric in zip(line, METRICS, strict=True):
            for method, own in part.groupby("method", sort=False):
                low, high = own[metric] - own[f"{metric} low"], own[f"{metric} high"] - own[metric]
                panel.errorbar(
                    own["rows"].clip(lower=1), own[metric], yerr=[low.clip(0), high.clip(0)],
                    marker="o", markersize=4, capsize=2, label=method, color=colours[str(method)],
                )  # fmt: skip
            panel.set_xscale("log", base=2)
            panel.set_title(f"{model}: {titles[metric]}")
            panel.grid(alpha=0.3)
        line[0].set_yscale("log")
        line[0].legend(fontsize=7, ncols=2, loc="lower left" if model == "perceptron" else "right")
    for panel in panels[-1]:
        panel.set_xlabel("model rows for each sample, a gradient counting two; all 1,024 are exact")
    figure.savefig(HERE / "errors.png", dpi=110)


def written(scores: pd.DataFrame) -> str:
    """The table as Markdown."""
    shown = scores[["model", "method"]].assign(rows=scores["rows"].map("{:,.0f}".format))
    for metric, title in (("l1", "relative L1"), ("spearman", "Spearman")):
        shown[title] = [
            "-" if pd.isna(v) else f"{v:.3f} [{a:.3f}, {b:.3f}]"
            for v, a, b in zip(
                scores[metric], scores[f"{metric} low"], scores[f"{metric} high"], strict=True
            )
        ]
    return str(shown.to_markdown(index=False, disable_numparse=True)) + "\n"


def main() -> None:
    """Run it and write the files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=64)
    scores = measure(parser.parse_args().samples)
    scores.to_csv(HERE / "scores.csv", index=False, float_format="%.6g")
    (HERE / "table.md").write_text(written(scores), encoding="utf-8")
    draw(scores)


if __name__ == "__main__":
    main()
