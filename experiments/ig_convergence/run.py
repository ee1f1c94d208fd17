"""Measure the error of Integrated Gradients by quadrature rule and number of gradients.

Two settings: the digits ResNet in float64, where the exact integral is known, and photographs on
EfficientNet-Lite0, against a fine reference.  Writes errors.csv and errors.png beside this file.

    python experiments/ig_convergence/run.py [--digits 12] [--photographs 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.figure
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor

from igbench.config import build, compose
from igbench.core.score import Score, frozen
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.exact import exact_integrated_gradients
from igbench.integration.integrate import integrated_gradients

HERE = Path(__file__).parent
RULES = ("left", "middle", "trapezoid", "gauss_legendre", "clenshaw_curtis", "log_middle")
STEPS = (9, 17, 33, 65, 129)


def errors(
    setting: str, score: Score, x: Tensor, target: Tensor, truth: Tensor, ids: tuple[str, ...]
) -> list[dict[str, object]]:
    """Relative L1 error and completeness gap of every rule, and of the adaptive method."""
    zero = torch.zeros_like(x)
    change = (score.evaluate(x, target) - score.evaluate(zero, target)).double()
    lines: list[dict[str, object]] = []

    def add(rule: str, n: int, found: Tensor) -> None:
        error = (found - truth).flatten(1).abs().sum(1) / truth.flatten(1).abs().sum(1)
        gap = (found.flatten(1).double().sum(1) - change).abs() / change.abs()
        lines.extend(
            {
                "setting": setting,
                "sample": s,
                "rule": rule,
                "gradients": n,
                "L1 error": float(e),
                "completeness gap": float(g),
            }
            for s, e, g in zip(ids, error, gap, strict=True)
        )

    for n in STEPS:
        for rule in RULES:
            add(rule, n, integrated_gradients(score, x, zero, target, rule=rule, n_steps=n))
    for n in STEPS[1:]:
        for constrain in (False, True):
            found = adaptive_integrated_gradients(
                score, x, zero, target, tolerance=1e-12, max_steps=n, constrain=constrain
            )
            add("adaptive, constrained" if constrain else "adaptive", n, found.attribution)
    return lines


def digits(count: int) -> list[dict[str, object]]:
    """Held-out digits against the exact integral."""
    words = ["experiment=digits_resnet", f"limit={count}", "dtype=float64", "batch_size=256"]
    experiment = build.experiment(compose.compose(words))
    x = torch.stack([experiment.data.load(i) for i in range(count)]).double()
    module = experiment.model.module.double()
    score = Score(module, batch_size=256)
    with frozen(module):
        target = module(x).argmax(dim=1)
        exact = exact_integrated_gradients(score, x, torch.zeros_like(x), target)
        lines = errors(
            "digits, exact reference",
            score,
            x,
            target,
            exact.attribution,
            experiment.data.sample_ids,
        )
    pieces = exact.pieces.double()
    lines.append(
        {
            "setting": "digits, exact reference",
            "sample": "all",
            "rule": "exact",
            "gradients": int(pieces.median()),
            "L1 error": 0.0,
            "completeness gap": 0.0,
        }
    )
    return lines


def photographs(count: int) -> list[dict[str, object]]:
    """Photographs against 513 log_middle nodes."""
    experiment = build.experiment(compose.compose([f"limit={count}"]))
    x = torch.stack([experiment.data.load(i) for i in range(count)])
    module = experiment.model.module
    score = Score(module, batch_size=experiment.batch_size, channels_last=True)
    with frozen(module):
        with torch.inference_mode():
            target = module(x).argmax(dim=1)
        target = target.clone()
        zero = torch.zeros_like(x)
        truth = integrated_gradients(score, x, zero, target, rule="log_middle", n_steps=513)
        return errors(
            "photographs, 513 nodes as reference",
            score,
            x,
            target,
            truth,
            experiment.data.sample_ids,
        )


def draw(lines: pd.DataFrame) -> None:
    """Draw the median error and gap against gradients, a row for each setting."""
    order = [*RULES, "adaptive", "adaptive, constrained"]
    colours = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    settings = list(dict.fromkeys(lines["setting"]))
    figure = mpl.figure.Figure(figsize=(9, 3.4 * len(settings)), layout="constrained")
    axes = figure.subplots(len(settings), 2, squeeze=False)
    for row, setting in zip(axes, settings, strict=True):
        mine = lines[(lines["setting"] == setting) & (lines["rule"] != "exact")]
        for ax, what in zip(row, ("L1 error", "completeness gap"), strict=True):
            shown = mine[mine[what] > 1e-9] if what == "completeness gap" else mine
            sns.lineplot(
                shown,
                x="gradients",
                y=what,
                hue="rule",
                style="rule",
                hue_order=order,
                style_order=order,
                palette=colours,
                estimator="median",
                errorbar=("pi", 50),
                markers=True,
                dashes=False,
                ax=ax,
                legend=ax is row[1],
            )
            ax.set(
                xscale="log",
                yscale="log",
                title=setting,
                xlabel="gradients for each sample",
                ylabel=f"relative {what} (median, quartiles)"
                if what == "L1 error"
                else "relative completeness gap",
            )
            ax.set_xticks(STEPS, [str(n) for n in STEPS])
            ax.minorticks_off()
            ax.grid(alpha=0.3)
            exact = lines[(lines["setting"] == setting) & (lines["rule"] == "exact")]
            if len(exact):
                ax.axvline(exact["gradients"].iloc[0], color="0.4", linestyle=":")
                ax.annotate(
                    "exact: one gradient\na piece (median)",
                    (exact["gradients"].iloc[0], ax.get_ylim()[1]),
                    ha="right",
                    va="top",
                    xytext=(-4, -4),
                    textcoords="offset points",
                    fontsize=8,
                    color="0.3",
                )
        row[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8)
    figure.savefig(HERE / "errors.png", dpi=110)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=12)
    parser.add_argument("--photographs", type=int, default=2)
    options = parser.parse_args()
    lines = pd.DataFrame([*digits(options.digits), *photographs(options.photographs)])
    lines.to_csv(HERE / "errors.csv", index=False, float_format="%.6g")
    draw(lines)
    table = lines.pivot_table(
        index=["setting", "rule"], columns="gradients", values="L1 error", aggfunc="median"
    )
    (HERE / "table.md").write_text(table.to_markdown(floatfmt=".3g") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
