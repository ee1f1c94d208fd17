"""Measure which shifts of the symmetric relevance gain `igbench compare` finds, by simulation.

A release has 40 cells, methods by metrics.  The scores of one of them, the symmetric relevance gain
(SRG) of Integrated Gradients, are those of a real run on 128 digits, resampled to n samples.  Noise
between two releases is added on both sides, independently in every cell and sample; the new release
gets a shift of one cell.  It is found where that cell has regressed: p <= 5 % after Holm's
correction over all cells, and a mean difference of at least the minimum effect.  Kinds of noise:

- "normal": standard deviation .03 a side;
- "measured": the differences of the SRG of a method that draws, GradientSHAP, between two seeds,
  with both signs, from real runs.

The rule is that of `igbench.records.compare`, which must agree on the first releases of each size.
Draws the figure from these shares and those of alarms.csv.

    python -m experiments.regression.power [--repeats 400]

Writes power.csv, power.md and power.png beside this file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy.stats import binomtest

import igbench
from experiments.regression.alarms import HERE, LEVEL, alarm_counts
from igbench.core.batch import Method
from igbench.data.digits import digits
from igbench.methods import GradientShap, IntegratedGradients
from igbench.metrics import SymmetricRelevanceGain
from igbench.models.digits_resnet import digits_resnet
from igbench.records import stats
from igbench.records.compare import compare
from igbench.report import styles
from igbench.schema import Records

SAMPLES = 128
CELLS = 40
SIZES = (32, 64, 128, 256)
SHIFTS = (0.005, 0.01, 0.02)
NORMAL = 0.03
"""Standard deviation of the noise of one side."""
SEEDS = (1, 2)
CHECKED = (0.0, 0.02)
"""Shifts of the first repeats that are compared in full too."""
RESAMPLES = 99
GOAL = 0.95
TITLES = {
    "normal": f"Normal noise, sd {NORMAL:g} a side",
    "measured": "Noise between seeds of GradientSHAP",
}

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Draws the noise of both sides together, new minus base, (cells, n)."""


def real_run() -> tuple[Records, np.ndarray]:
    """The run of Integrated Gradients, and what GradientSHAP's SRG differs by between two seeds."""
    model = digits_resnet()
    asked: list[tuple[dict[str, Method], int]] = [({"ig": IntegratedGradients(n_steps=32)}, 0)]
    asked += [({"gradient_shap": GradientShap()}, seed) for seed in SEEDS]
    found = [
        igbench.evaluate(
            model, digits(model, limit=SAMPLES), methods=methods, seed=seed,
            metrics={"srg": SymmetricRelevanceGain(step=2)}, batch_size=1024, progress=False,
        ).records
        for methods, seed in asked
    ]  # fmt: skip
    base, *others = found
    first, second = (srg(r) for r in others)
    return base, second - first


def srg(records: Records) -> np.ndarray:
    """The scores of a run, (samples,)."""
    rows = records.scores
    values: np.ndarray = rows.loc[rows["metric"] == "srg", "value"].to_numpy(dtype=float)
    return values


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Independent normal noise on both sides."""
    return rng.normal(0, NORMAL, shape) - rng.normal(0, NORMAL, shape)


def measured(differences: np.ndarray) -> Noise:
    """Differences between two seeds, resampled, with a sign at random."""
    return lambda rng, shape: rng.choice(differences, shape) * rng.choice([-1.0, 1.0], shape)


def releases(
    base: Records, noise: Noise, n: int, repeats: int, seed: int
) -> Iterator[tuple[float, bool]]:
    """Shifts, 0 among them, and whether each is found; a shift of 0 is found where any cell is."""
    real, effect = srg(base), base.run.metrics["srg"].min_effect
    for repeat in range(repeats):
        rng = np.random.default_rng((seed, n, repeat))
        rows = rng.integers(len(real), size=(CELLS, n))
        differences = noise(rng, (CELLS, n))
        p_values = np.array([stats.signed_rank_p(d) for d in differences])
        for shift in (0.0, *SHIFTS):
            moved = differences - shift * (np.arange(CELLS) == 0)[:, None]
            p = p_values.copy()
            p[0] = stats.signed_rank_p(moved[0])
            worse = (stats.holm(p) <= LEVEL) & (moved.mean(axis=1) <= -effect)
            if repeat == 0 and shift in CHECKED:
                _check(base, real[rows], real[rows] + moved, worse)
            yield shift, bool(worse[0] if shift else worse.any())


def _check(base: Records, old: np.ndarray, new: np.ndarray, worse: np.ndarray) -> None:
    """Compare the releases in full.

    Raises:
        RuntimeError: Other cells have regressed.
    """
    found = compare(release(base, old), release(base, new), resamples=RESAMPLES)
    verdicts = {change.method: change.verdict == "regressed" for change in found.changes}
    if [verdicts[str(k)] for k in range(len(worse))] != worse.tolist():
        raise RuntimeError("the simulation and the comparison disagree.")


def release(base: Records, values: np.ndarray) -> Records:
    """Records of a run with values (cells, n) of the SRG; the methods are numbered."""
    cells, n = values.shape
    row = base.scores[base.scores["metric"] == "srg"].iloc[:1]
    scores = row.loc[row.index.repeat(cells * n)].assign(
        method=np.repeat([str(k) for k in range(cells)], n),
        sample_id=[f"digit-{i}" for i in range(n)] * cells,
        value=values.ravel(),
    )
    samples = [{**base.run.samples[0], "sample_id": f"digit-{i}"} for i in range(n)]
    return replace(base, run=replace(base.run, samples=samples), scores=scores)


def simulated(base: Records, differences: np.ndarray, repeats: int) -> pd.DataFrame:
    """Share of the repeats in which each shift is found, with its 95 % interval (Wilson)."""
    lines = []
    kinds: dict[str, Noise] = {"normal": normal, "measured": measured(differences)}
    for number, (kind, noise) in enumerate(kinds.items()):
        for n in SIZES:
            found = pd.DataFrame(
                releases(base, noise, n, repeats, number), columns=["shift", "found"]
            )
            for shift, own in found.groupby("shift")["found"]:
                low, high = binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")
                lines.append((kind, n, shift, int(own.sum()), len(own), own.mean(), low, high))
    columns = ["noise", "n", "shift", "found", "repeats", "share", "low", "high"]
    return pd.DataFrame(lines, columns=columns)


def table(lines: pd.DataFrame, base: Records, differences: np.ndarray) -> str:
    """Shares of shifts found, as Markdown."""
    sd = float(np.sqrt((differences**2).mean() / 2))
    text = [
        f"{SAMPLES} digits, SRG of Integrated Gradients {srg(base).mean():.3f} (sd "
        f"{srg(base).std(ddof=1):.3f}); minimum effect {base.run.metrics['srg'].min_effect:g}; "
        f"{CELLS} cells; {lines['repeats'].iloc[0]} repeats.  Noise a side: normal, sd {NORMAL:g}; "
        f"measured between seeds of GradientSHAP, sd {sd:.3f}.",
    ]
    for kind, own in lines.groupby("noise", sort=False):
        text += ["", f"| {kind} noise: n | false alarms | "
                 + " | ".join(f"shift {s:g} found" for s in SHIFTS) + " |",
                 "|:--|" + "--:|" * (1 + len(SHIFTS))]  # fmt: skip
        for n, of_n in own.groupby("n"):
            cells = [
                f"{100 * r.share:.1f} % [{100 * r.low:.1f}, {100 * r.high:.1f}]"
                for r in of_n.sort_values("shift").itertuples()
            ]
            text.append(f"| {n} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def draw(lines: pd.DataFrame) -> None:
    """Draw power against n, and the rates of false alarms with the line of 5 %."""
    with styles.style():
        figure = styles.canvas(styles.FULL_WIDTH, 2.4)
        axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.05])
        for panel, kind in zip(axes[:2], lines["noise"].unique(), strict=True):
            _power_panel(panel, lines[lines["noise"] == kind])
            styles.panel_title(panel, TITLES[kind])
        axes[0].set_ylabel("shifts that are found")
        axes[1].legend(title="shift of SRG", loc="lower left")
        _alarm_panel(axes[2], lines)
        styles.panel_title(axes[2], "False alarms")
        styles.save(figure, HERE / "power", ("png",), dpi=200)


def _power_panel(axes: Axes, lines: pd.DataFrame) -> None:
    """Share of each shift that is found, against the number of samples."""
    for k, (shift, own) in enumerate(lines[lines["shift"] > 0].groupby("shift", sort=True)):
        axes.errorbar(
            own["n"], own["share"], (own["share"] - own["low"], own["high"] - own["share"]),
            color=styles.METHOD_COLOURS[k], marker=styles.MARKERS[k], markersize=4,
            label=f"{shift:g}",
        )  # fmt: skip
    axes.axhline(GOAL, color="#4d4d4d", linewidth=0.8, linestyle=styles.DASHES[1])
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(n) for n in SIZES])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="samples n", ylim=(-0.03, 1.05))


def _alarm_panel(axes: Axes, lines: pd.DataFrame) -> None:
    """Rates of false alarms of seeds and of simulated releases, with the line of 5 %."""
    seeds = pd.read_csv(HERE / "alarms.csv")
    pairs = len(seeds)
    (failed, any_alarm, _), rows = alarm_counts(seeds).values(), []
    rows.append((f"{pairs} pairs of seeds:\nexit status 1", failed, pairs))
    rows.append(("the same: improved\nor changed too", any_alarm, pairs))
    for kind, own in lines[lines["shift"] == 0].groupby("noise", sort=False):
        name = f"simulated releases,\n{kind} noise"
        rows.append((name, int(own["found"].sum()), int(own["repeats"].sum())))
    for k, (_, alarms, of) in enumerate(rows):
        low, high = binomtest(alarms, of).proportion_ci(method="wilson")
        share = alarms / of
        axes.errorbar(
            share, k, xerr=[[share - low], [high - share]], color=styles.METHOD_COLOURS[0],
            marker="o", markersize=4,
        )  # fmt: skip
    axes.axvline(LEVEL, color="#4d4d4d", linewidth=0.8, linestyle=styles.DASHES[1])
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="comparisons with an alarm", xlim=(0, 0.1), ylim=(len(rows) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)


def main() -> None:
    """Run, simulate, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    options = parser.parse_args()
    start = time.process_time()
    base, differences = real_run()
    lines = simulated(base, differences, options.repeats)
    lines.to_csv(HERE / "power.csv", index=False, float_format="%.4g")
    seconds = time.process_time() - start
    text = f"{table(lines, base, differences)}\n{seconds:.0f} CPU seconds.\n"
    (HERE / "power.md").write_text(text, encoding="utf-8")
    draw(lines)


if __name__ == "__main__":
    main()
