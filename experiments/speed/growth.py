"""Measure how the cost of an evaluation grows with its sizes, on a small network on the CPU.

One size at a time is doubled: samples, methods, steps of Integrated Gradients, draws of infidelity,
pixels, and workers (Ray, where it is installed).  The exponent is the slope of log seconds over log
size by least squares, with its standard error; model rows are counted and not timed.  Sizes are
timed in turn, and the least seconds of all turns count.  Writes growth.csv, growth.md and
growth.png beside this file.

    python experiments/speed/growth.py [--turns 2] [--samples 16] [--sizes 5] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import igbench
from igbench import methods, metrics
from igbench.core import memory
from igbench.report import styles

HERE = Path(__file__).parent
SIDE, ROWS = 32, 16
"""Pixels of a side, and rows in a call, unless they grow."""

Cost = tuple[float, float]
"""Seconds, and model rows."""


@dataclass(frozen=True)
class Sweep:
    """One size that grows.

    Attributes:
        name: What grows.
        sizes: From small to large.
        cost: Of an evaluation of a size.
        expected: What the exponent should be, and why.
    """

    name: str
    sizes: Sequence[int]
    cost: Callable[[int], Cost]
    expected: str


def network() -> nn.Module:
    """A convolutional network of random weights for pictures of any size."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels, wider in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()


def cost(
    chosen: Mapping[str, Any], metric: Mapping[str, Any], samples: int, side: int = SIDE
) -> Cost:
    """Seconds of all stages of an evaluation, without its start, and the model rows."""
    x = torch.rand(samples, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = igbench.evaluate(network(), x, methods=chosen, metrics=metric, batch_size=ROWS)
    stages = found.run.totals["stages"].values()
    return sum(s["seconds"] for s in stages), sum(s["forward"] for s in stages)


def of_workers(workers: int) -> Cost:
    """Seconds of a command with some workers of one thread; its rows do not depend on them."""
    words = [
        *("experiment=digits_resnet", "limit=64", "shard_size=2", "batch_size=16"),
        *("executor=ray", f"executor.workers={workers}"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "igbench", *words, f"results_dir={folder}"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return time.perf_counter() - start, float("nan")


def sweeps(samples: int, sizes: int) -> list[Sweep]:
    """All sweeps, each of so many sizes."""

    def doubled(first: int) -> list[int]:
        return [first * 2**k for k in range(sizes)]

    infidelity = metrics.Infidelity(perturbation="square", draws=64)
    two = {"saliency": methods.Saliency(), "random": methods.Random()}

    def copies(count: int) -> Cost:
        return cost(
            {f"saliency_{i}": methods.Saliency() for i in range(count)},
            {"infidelity": infidelity},
            samples,
        )

    def steps(n: int) -> Cost:
        ig = methods.IntegratedGradients(n_steps=n)
        return cost({"ig": ig}, {"completeness": metrics.Completeness()}, samples)

    def draws(n: int) -> Cost:
        own = metrics.Infidelity(perturbation="square", draws=n)
        return cost(two, {"infidelity": own}, samples)

    few = max(1, samples // 4)
    found = [
        Sweep(
            "samples",
            doubled(few),
            lambda n: cost(two, {"infidelity": infidelity}, n),
            "1: every sample costs the same",
        ),
        Sweep("methods", doubled(1), copies, "far below 1: perturbed rows are shared"),
        Sweep("steps of IG", doubled(8), steps, "1: a gradient a step"),
        Sweep("draws of infidelity", doubled(32), draws, "1: a row a draw"),
        Sweep(
            "pixels",
            [side**2 for side in np.linspace(32, 96, sizes).astype(int)],
            lambda n: cost(two, {"infidelity": infidelity}, few, round(n**0.5)),
            "1 for convolutions; as many rows",
        ),
    ]
    if importlib.util.find_spec("ray"):
        most = range(1, min(sizes, os.cpu_count() or 1) + 1)
        found.append(Sweep("workers", list(most), of_workers, "-1, less start and report"))
    return found


def slope(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Exponent by least squares on logarithms, and its standard error.

    NaN where values are missing, and for the error of fewer than three sizes.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float))
    x -= x.mean()
    if len(x) < 2 or not np.isfinite(y).all():
        return float("nan"), float("nan")
    found = float(x @ y / (x @ x))
    left = y - y.mean() - found * x
    free = len(x) - 2
    error = float(np.sqrt(left @ left / free / (x @ x))) if free else float("nan")
    return found, error


def measure(sweep: Sweep, turns: int) -> pd.DataFrame:
    """Least seconds and the model rows of every size, timed in turn."""
    found = [[sweep.cost(size) for size in sweep.sizes] for _ in range(turns)]
    return pd.DataFrame(
        {
            "what grows": sweep.name,
            "size": list(sweep.sizes),
            "seconds": [min(s for s, _ in each) for each in zip(*found, strict=True)],
            "model rows": [rows for _, rows in found[0]],
        }
    )


def exponents(frame: pd.DataFrame, sweep: Sweep) -> dict[str, Any]:
    """A line of the table."""
    own = frame[frame["what grows"] == sweep.name]
    of_seconds, error = slope(own["size"], own["seconds"])
    rows, _ = slope(own["size"], own["model rows"])
    return {
        "what grows": sweep.name,
        "from": own["size"].iloc[0],
        "to": own["size"].iloc[-1],
        "seconds, first": own["seconds"].iloc[0],
        "seconds, last": own["seconds"].iloc[-1],
        "exponent of seconds": of_seconds,
        "standard error": error,
        "exponent of rows": rows,
        "expected": sweep.expected,
    }


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Seconds over size relative to the smallest, on logarithmic axes, with a line of slope 1."""
    with styles.style():
        figure = styles.canvas(styles.FULL_WIDTH, 3.4)
        axes = figure.add_subplot()
        widest = 1.0
        for i, (name, own) in enumerate(frame.groupby("what grows", sort=False)):
            size = own["size"] / own["size"].iloc[0]
            widest = max(widest, float(size.max()))
            axes.plot(
                size, own["seconds"] / own["seconds"].iloc[0], label=name,
                marker=styles.MARKERS[i], color=styles.METHOD_COLOURS[i],
            )  # fmt: skip
        axes.plot([1, widest], [1, widest], color="0.5", linestyle=":", label="proportional")
        axes.set(xscale="log", yscale="log")
        ticks = [2**k for k in range(round(np.log2(widest)) + 1)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("Size, relative to the smallest")
        axes.set_ylabel("Seconds, relative to the first")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        styles.save(figure, path, ("png",))


def main() -> None:
    """Measure, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--sizes", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    memory.keep_freed()
    chosen = sweeps(options.samples, options.sizes)
    chosen[0].cost(1)  # the first call is slower
    frame = pd.concat([measure(sweep, options.turns) for sweep in chosen], ignore_index=True)
    frame.to_csv(options.out / "growth.csv", index=False)
    table = pd.DataFrame([exponents(frame, sweep) for sweep in chosen])
    head = (
        f"A network of three convolutions on the CPU, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, {ROWS} rows in a call; least seconds of {options.turns} turns."
    )
    if not importlib.util.find_spec("ray"):
        head += " Workers were not measured: Ray is not installed."
    text = f"{head}\n\n{table.to_markdown(index=False, floatfmt='.3g', missingval='-')}\n"
    (options.out / "growth.md").write_text(text, encoding="utf-8")
    draw(frame, options.out / "growth")


if __name__ == "__main__":
    main()
