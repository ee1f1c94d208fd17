"""Time our Integrated Gradients next to Captum's, and count the gradients until it is complete.

Both sides are timed in one process, in turn, on the same photographs.  Writes integration.csv,
convergence.csv and table.md beside this file.

    python experiments/speed/run.py [--photographs 6] [--repeats 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from igbench.config import build, compose
from igbench.core.score import Score, frozen
from igbench.evaluation.experiment import Experiment
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.integrate import integrated_gradients

HERE = Path(__file__).parent
STEPS = (16, 32, 50, 100, 200, 300, 400)
"""Numbers of Gauss-Legendre nodes that are tried until the gap is small enough."""
REFERENCE = 800
"""Nodes of the reference (log_middle)."""


def load(photographs: int) -> tuple[Experiment, Tensor, Tensor]:
    """The experiment imagenet_lite, its photographs and their predicted classes."""
    experiment = build.experiment(compose.compose([f"limit={photographs}"]))
    x = torch.stack([experiment.data.load(i) for i in range(photographs)])
    with torch.inference_mode():
        target = torch.cat([experiment.model.module(one[None]).argmax(dim=1) for one in x])
    return experiment, x, target


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def equal_nodes(experiment: Experiment, x: Tensor, target: Tensor, repeats: int) -> pd.DataFrame:
    """Wall time of 50 Gauss-Legendre nodes on 4 photographs, ours and Captum's by chunk size."""
    few, own = x[:4], target[:4]
    module = experiment.model.module
    score = Score(
        module, batch_size=experiment.batch_size, channels_last=experiment.model.channels_last
    )
    zero = torch.zeros_like(few)
    captum = IntegratedGradients(module)
    sides: dict[str, Callable[[], Tensor]] = {
        f"ours, {experiment.batch_size} rows": lambda: integrated_gradients(
            score, few, zero, own, n_steps=50
        )
    }
    for size in (None, 4, 8, 16, 32):  # fewer than the photographs it cannot
        sides[f"captum, internal_batch_size={size}"] = partial(
            captum.attribute, few, target=own, n_steps=50, internal_batch_size=size
        )
    first = {name: work() for name, work in sides.items()}  # warm up, and the same answer
    ours = next(iter(first.values()))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            times[name].append(seconds(work))
    base = statistics.median(times[next(iter(times))])
    return pd.DataFrame(
        {
            "side": name,
            "seconds": statistics.median(t),
            "fastest": min(t),
            "slowest": max(t),
            "over ours": statistics.median(t) / base,
            "relative L1 difference": float((first[name] - ours).abs().sum() / ours.abs().sum()),
        }
        for name, t in times.items()
    )


def gap_and_error(found: Tensor, truth: Tensor, change: Tensor) -> tuple[float, float]:
    """Relative completeness gap, and L1 error to the reference."""
    gap = (found.double().sum() - change).abs() / change.abs()
    return float(gap), float((found - truth).abs().sum() / truth.abs().sum())


def until_complete(experiment: Experiment, x: Tensor, target: Tensor, limit: float) -> pd.DataFrame:
    """For each photograph, gradients, wall time and error until the gap is at most `limit`."""
    module = experiment.model.module
    score = Score(
        module, batch_size=experiment.batch_size, channels_last=experiment.model.channels_last
    )
    captum = IntegratedGradients(module)
    lines: list[dict[str, Any]] = []
    for i, sample in enumerate(experiment.data.sample_ids):
        one, own = x[i : i + 1], target[i : i + 1]
        zero = torch.zeros_like(one)
        change = (score.evaluate(one, own) - score.evaluate(zero, own)).double()[0]
        truth = integrated_gradients(score, one, zero, own, rule="log_middle", n_steps=REFERENCE)

        def line(
            side: str,
            n: int,
            took: float,
            found: Tensor,
            *,
            sample: str = sample,
            truth: Tensor = truth,
            change: Tensor = change,
        ) -> float:
            gap, error = gap_and_error(found, truth, change)
            lines.append(
                {
                    "photograph": sample,
                    "side": side,
                    "gradients": n,
                    "seconds": took,
                    "gap": gap,
                    "L1 error": error,
                }
            )
            return gap

        for n in STEPS:
            start = time.perf_counter()
            found = captum.attribute(one, target=own, n_steps=n, internal_batch_size=8)
            if line("captum, gausslegendre", n, time.perf_counter() - start, found) <= limit:
                break
        for name, constrain in {"ours, constrained": True, "ours, unconstrained": False}.items():
            for most in (17, 33, 65, 129, 257):
                start = time.perf_counter()
                adaptive = adaptive_integrated_gradients(
                    score, one, zero, own, tolerance=1e-9, max_steps=most, constrain=constrain
                )
                took = time.perf_counter() - start
                if line(name, most, took, adaptive.attribution) <= limit:
                    break
        # Captum's rule at the cost of our last line, for the error at equal cost.
        spent = next(v["gradients"] for v in reversed(lines) if v["side"] == "ours, constrained")
        found = captum.attribute(one, target=own, n_steps=spent, internal_batch_size=8)
        line("captum, at the cost of ours, constrained", spent, float("nan"), found)
    return pd.DataFrame(lines)


def to_tolerance(experiment: Experiment, x: Tensor, target: Tensor) -> pd.DataFrame:
    """Gradients and largest error under a given `tolerance`."""
    module = experiment.model.module
    score = Score(
        module, batch_size=experiment.batch_size, channels_last=experiment.model.channels_last
    )
    zero = torch.zeros_like(x)
    truth = integrated_gradients(score, x, zero, target, rule="log_middle", n_steps=REFERENCE)
    lines = []
    for tolerance in (0.1,):
        found = adaptive_integrated_gradients(
            score, x, zero, target, tolerance=tolerance, max_steps=513
        )
        error = (found.attribution - truth).flatten(1).abs().sum(1) / truth.flatten(1).abs().sum(1)
        lines.append(
            {
                "tolerance": tolerance,
                "median gradients": float(found.gradients.double().median()),
                "largest L1 error": float(error.max()),
                "converged": f"{int(found.converged.sum())} of {len(x)}",
            }
        )
    return pd.DataFrame(lines)


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Per side: the last line of each photograph."""
    last = lines.groupby(["side", "photograph"], sort=False).last()
    total = lines.groupby(["side", "photograph"], sort=False)["seconds"].last()
    return (
        last.assign(seconds=total)
        .groupby(level="side", sort=False)
        .agg(
            photographs=("gap", "size"),
            gradients_median=("gradients", "median"),
            gradients_largest=("gradients", "max"),
            gradients_total=("gradients", "sum"),
            seconds_total=("seconds", "sum"),
            largest_gap=("gap", "max"),
            error_median=("L1 error", "median"),
            error_largest=("L1 error", "max"),
        )
        .reset_index()
    )


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    experiment, x, target = load(options.photographs)
    with frozen(experiment.model.module):
        equal = equal_nodes(experiment, x, target, options.repeats)
        equal.to_csv(HERE / "integration.csv", index=False)
        lines = until_complete(experiment, x, target, 0.01)
        lines.to_csv(HERE / "convergence.csv", index=False)
        tolerance = to_tolerance(experiment, x[:4], target[:4])
    text = [
        f"{options.photographs} photographs, EfficientNet-Lite0, float32, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}.",
        f"50 Gauss-Legendre nodes on 4 photographs, medians of {options.repeats} runs in turn:",
        equal.to_markdown(index=False, floatfmt=".3g"),
        "Until every photograph has a relative completeness gap of at most 1 %:",
        summary(lines).to_markdown(index=False, floatfmt=".3g"),
        "Gradients and error under a tolerance (4 photographs):",
        tolerance.to_markdown(index=False, floatfmt=".3g"),
    ]
    (HERE / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
