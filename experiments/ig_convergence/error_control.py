"""Compare rules that decide when Integrated Gradients has converged.

Gradients are taken once for each line, on a fine grid, and every rule is replayed on them.  The
truth is Simpson's rule on all of them.  Errors are those of the sums per feature (per token of a
text).  Writes error_control.csv, error_control.md, error_control_truth.md and error_control.png
beside this file.

    python experiments/ig_convergence/error_control.py --keep FOLDER [--only KIND ...] [--device D]

What lies in FOLDER is not computed again: NAME.npz has the gradients of a line, NAME.csv the states
of all refinements on it, which may come from another machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pandas as pd
import seaborn as sns
from kept_lines import Kept, gather

from igbench.integration.quadrature import log_warp, log_warp_slope

HERE = Path(__file__).parent
TOLERANCES = (0.05, 0.01)
MOST = 513
MOST_GAUSS = 300
Step = dict[str, float]
"""A state of a refinement: gradients, error, and what a rule may look at."""

GRIDS = {
    "digits": (50, 1024),
    "vit": (40, 1024),
    "decoder": (60, 1024),
    "minilm": (19, 256),
    "photographs": (30, 2048),
    "smollm": (1, 256),
}
"""Lines and intervals of the grid, by kind."""

KNOWN = [
    "known gradients",
    "own error",
    "sum over norm",
    "norm of features over elements",
]
"""What is known of a line and its truth."""


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """L1 norm of a over that of b."""
    return float(np.abs(a).sum() / np.abs(b).sum())


def levels(line: Kept, truth: np.ndarray) -> Iterator[Step]:
    """Trapezoid rule in u with 8, 16, 32, ... intervals, made complete; Simpson's beside it."""
    rise, coarse, complete, simpson = line.rise, None, None, None
    for n in (8, 16, 32, 64, 128, 256, 512):
        u = np.arange(n + 1) / n
        values, slopes, vectors = line.in_u(u)
        weights, density = np.full(n + 1, 1 / n), log_warp_slope(u)
        weights[[0, -1]] /= 2
        plain = weights @ vectors
        own = weights / (weights @ density)
        pull = own * slopes
        missing, power = rise - pull.sum(), (pull**2).sum()
        factor = missing / power if abs(missing * np.abs(pull).max()) <= 0.5 * power else 0.0
        now = own @ vectors + factor * (own * pull) @ vectors
        sums, here = line.sums(now), line.sums(plain)
        local = np.abs((slopes[1:] + slopes[:-1]) / (2 * n) - np.diff(values)).sum()
        step = {
            "gradients": n + 1.0,
            "error": relative(sums - truth, truth),
            "gap": 0.0 if factor else abs(missing) / abs(rise),
            "residuals": local / abs(rise),
        }
        if complete is not None and coarse is not None:
            finer = (4 * here - coarse) / 3
            step["change"] = relative(sums - complete, sums)
            step["simpson error"] = relative(finer - truth, truth)
            total = (
                4 * weights @ slopes - 2 / n * (slopes[::2].sum() - slopes[[0, -1]].mean())
            ) / 3
            step["simpson gap"] = abs(total - rise) / abs(rise)
            if simpson is not None:
                step["simpson change"] = relative(finer - simpson, finer)
            simpson = finer
        coarse, complete = here, sums
        yield step


def bisection(line: Kept, truth: np.ndarray) -> Iterator[Step]:
    """Four Gauss nodes each; the interval with the largest residual of f is halved."""
    x, w = np.polynomial.legendre.leggauss(4)

    def piece(left: float, right: float) -> tuple[float, float, float, np.ndarray]:
        slopes, vectors = line.at((left + right) / 2 + (right - left) / 2 * x)[1:]
        own, ends = w * (right - left) / 2, line.at(np.array([left, right]))[0]
        return abs(own @ slopes - (ends[1] - ends[0])), left, right, line.sums(own @ vectors)

    pieces, spent = [piece(0.0, 1.0)], 4
    while spent <= MOST_GAUSS:
        sums = np.sum([p[3] for p in pieces], axis=0)
        yield {
            "gradients": float(spent),
            "error": relative(sums - truth, truth),
            "residuals": sum(p[0] for p in pieces) / abs(line.rise),
        }
        _, left, right, _ = worst = max(pieces, key=lambda p: p[0])
        middle = (left + right) / 2
        pieces = [p for p in pieces if p is not worst]
        pieces += [piece(left, middle), piece(middle, right)]
        spent += 8


def panels(line: Kept, truth: np.ndarray) -> Iterator[Step]:
    """Simpson's rule on four panels, each refined by itself, as `ig_adaptive` has it."""

    def panel(p: int, n: int) -> dict[str, np.ndarray]:
        u = (p + np.arange(n + 1) / n) / 4
        values, slopes, vectors = line.in_u(u)
        width = float(np.diff(log_warp(np.array([p, p + 1.0]) / 4))[0])

        def rule(stride: int) -> tuple[np.ndarray, float]:
            own = np.full(n // stride + 1, 2.0)
            own[1::2] = 4
            own[[0, -1]] = 1
            own *= width / (own @ log_warp_slope(u[::stride]))
            return line.sums(own @ vectors[::stride]), float(own @ slopes[::stride])

        fine, slope = rule(1)
        return {
            "n": np.array(n),
            "sums": fine,
            "difference": rule(2)[0] - fine,
            "missed": np.array(abs(slope - (values[-1] - values[0]))),
        }

    parts = [panel(p, 4) for p in range(4)]
    while (spent := sum(int(p["n"]) for p in parts) + 1) <= MOST:
        sums = np.sum([p["sums"] for p in parts], axis=0)
        sizes = np.array([np.abs(p["difference"]).sum() for p in parts])
        norm = np.abs(sums).sum()
        together = np.abs(np.sum([p["difference"] for p in parts], axis=0)).sum()
        yield {
            "gradients": float(spent),
            "error": relative(sums - truth, truth),
            "together": float(together / norm),
            "apart": float(np.sqrt((sizes**2).sum()) / norm),
            "missed": float(sum(p["missed"] for p in parts) / (norm * line.share)),
        }
        worst = int(np.argmax([s**2 / p["n"] for s, p in zip(sizes, parts, strict=True)]))
        parts[worst] = panel(worst, 2 * int(parts[worst]["n"]))


REFINEMENTS = {"levels": levels, "bisection": bisection, "panels": panels}

Rule = tuple[str, str, Callable[[pd.DataFrame], pd.Series]]


def _panel_rule(factor: float, *columns: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda t: pd.concat([factor * t[list(columns)], t["missed"]], axis=1).max(axis=1)


RULES: dict[str, Rule] = {
    "levels: change": ("levels", "error", lambda t: t[["change", "gap"]].max(axis=1, skipna=False)),
    "levels: change and residuals": (
        "levels",
        "error",
        lambda t: t[["change", "gap", "residuals"]].max(axis=1, skipna=False),
    ),
    "levels: two changes": (
        "levels",
        "error",
        lambda t: pd.concat([t["change"], t["change"].shift(), t["gap"]], axis=1).max(
            axis=1, skipna=False
        ),
    ),
    "levels of Simpson: 0.7 change": (
        "levels",
        "simpson error",
        lambda t: pd.concat([0.7 * t["simpson change"], t["simpson gap"]], axis=1).max(
            axis=1, skipna=False
        ),
    ),
    "bisection: residuals": ("bisection", "error", lambda t: t["residuals"]),
    "panels: 0.5 difference": ("panels", "error", _panel_rule(0.5, "together")),
    "panels: 0.7 difference": ("panels", "error", _panel_rule(0.7, "together")),
    "panels: 0.7 largest (chosen)": ("panels", "error", _panel_rule(0.7, "together", "apart")),
    "panels: 1.0 largest": ("panels", "error", _panel_rule(1.0, "together", "apart")),
}
"""Name to the refinement, the column of its error, and the estimate that is compared."""


def replay(line: Kept) -> pd.DataFrame:
    """All states of all refinements of one line, and what is known of its truth, in each row."""
    fine, coarse = line.truth()
    truth, other = line.sums(fine), line.sums(coarse)
    steps = []
    for name, refine in REFINEMENTS.items():
        try:
            for step in refine(line, truth):
                steps.append({"refinement": name, **step})
        except KeyError:  # a node that was not computed: the refinement ends here
            continue
    known = {
        "known gradients": len(line.positions),
        "own error": relative(truth - other, truth),
        "sum over norm": abs(line.rise) / float(np.abs(truth).sum()),
        "norm of features over elements": float(np.abs(truth).sum() / np.abs(fine).sum()),
    }
    return pd.DataFrame(steps).assign(model=line.model, sample=line.sample, **known)


def judge(steps: pd.DataFrame) -> pd.DataFrame:
    """When each rule stops on each line, and the error there."""
    found = []
    for (model, sample), mine in steps.groupby(["model", "sample"], sort=False):
        for name, (refinement, column, estimate) in RULES.items():
            if not len(t := mine[mine["refinement"] == refinement]):
                continue
            size = estimate(t)
            for tolerance in TOLERANCES:
                done = t[size <= tolerance]
                error = float(done[column].iloc[0]) if len(done) else np.nan
                found.append(
                    {
                        "model": model,
                        "sample": sample,
                        "rule": name,
                        "tolerance": tolerance,
                        "converged": bool(len(done)),
                        "gradients": done["gradients"].iloc[0] if len(done) else np.nan,
                        "error": error,
                        "kept": error <= tolerance if len(done) else np.nan,
                    }
                )
    return pd.DataFrame(found)


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """Shares and costs by tolerance, rule and model."""
    every = pd.concat([judged, judged.assign(model="all")])
    every["kept"] = every["kept"].astype(float)
    rows = every.groupby(["tolerance", "rule", "model"], sort=False).agg(
        lines=("converged", "size"),
        converged=("converged", "mean"),
        kept=("kept", "mean"),
        largest=("error", "max"),
        median=("gradients", "median"),
        mean=("gradients", "mean"),
    )
    names = {
        "kept": "of these, error under the tolerance",
        "largest": "largest error",
        "median": "median gradients",
        "mean": "mean gradients",
    }
    return rows.rename(columns=names).sort_index(level=0, sort_remaining=False, ascending=False)


def draw(steps: pd.DataFrame) -> None:
    """Median error against gradients of each refinement, a panel for each model."""
    simpson = steps[steps["refinement"] == "levels"].assign(refinement="levels of Simpson")
    shown = pd.concat([steps, simpson.assign(error=simpson["simpson error"])])
    shown = shown[(shown["gradients"] >= 12) & (shown["error"] > 1e-7)]
    # Refinements spend what they need: medians are taken over cells of the same width in log2.
    shown["cell"] = 2 ** ((np.log2(shown["gradients"]) * 2).round() / 2)
    models = list(dict.fromkeys(shown["model"]))
    figure = mpl.figure.Figure(figsize=(11, 3.3 * -(-len(models) // 3)), layout="constrained")
    axes = list(figure.subplots(-(-len(models) // 3), 3, squeeze=False, sharex=True).flat)
    order = ["levels", "levels of Simpson", "bisection", "panels"]
    for ax, model in zip(axes, models, strict=False):
        sns.lineplot(
            shown[shown["model"] == model],
            x="cell",
            y="error",
            hue="refinement",
            style="refinement",
            hue_order=order,
            style_order=order,
            palette="colorblind",
            estimator="median",
            errorbar=("pi", 80),
            markers=True,
            dashes=False,
            ax=ax,
            legend=ax is axes[0],
        )
        ax.set(xscale="log", yscale="log", title=model, xlabel="gradients", ylabel="L1 error")
        ax.set_xticks([16, 32, 64, 128, 256, 512], ["16", "32", "64", "128", "256", "512"])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
        for tolerance in TOLERANCES:
            ax.axhline(tolerance, color="0.4", linestyle=":")
    for ax in axes[len(models) :]:
        ax.set_visible(False)
    figure.savefig(HERE / "error_control.png", dpi=110)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(GRIDS))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    for kind in options.only:
        for name, line in gather(kind, *GRIDS[kind], options.keep, options.device):
            replay(line).to_csv(options.keep / f"{name}.csv", index=False)
    steps = pd.concat([pd.read_csv(path) for path in sorted(options.keep.glob("*.csv"))])
    judged = judge(steps)
    judged.to_csv(HERE / "error_control.csv", index=False, float_format="%.4g")
    text = table(judged).reset_index().to_markdown(index=False, floatfmt=".3g")
    (HERE / "error_control.md").write_text(text + "\n", encoding="utf-8")
    known = steps.groupby(["model", "sample"], sort=False)[KNOWN].first()
    known = known.rename(columns={"known gradients": "gradients"})
    text = known.groupby("model", sort=False).median().to_markdown(floatfmt=".2g")
    (HERE / "error_control_truth.md").write_text(text + "\n", encoding="utf-8")
    draw(steps)


if __name__ == "__main__":
    main()
