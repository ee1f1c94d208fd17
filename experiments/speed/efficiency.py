"""How much of a run's time goes into the model, and what does a second worker bring?

The default experiment as a user starts it, beside what the model alone would take for the same
rows at the best throughput that is measured; and the digits with one and with two workers of Ray.
Writes efficiency.md beside this file.

    python experiments/speed/efficiency.py [--workers]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from igbench import build, configs, memory
from igbench.attr.integrate import input_gradient
from igbench.types import Score, frozen

HERE = Path(__file__).parent
ROWS = (1, 2, 4, 8, 16)
REPEATS = 5


def throughput() -> pd.DataFrame:
    """Rows per second of the model of imagenet_lite by rows in a call, the best of some calls."""
    experiment = build.experiment(configs.compose(["limit=1"]))
    module, x = experiment.model.module, experiment.data.load(0)[None]
    target = torch.zeros(1, dtype=torch.int64)
    lines = []
    with frozen(module):
        for rows in ROWS:
            score = Score(module, rows=rows, channels_last=experiment.model.channels_last)
            many, own = x.expand(rows, *x.shape[1:]).contiguous(), target.expand(rows)
            forward, gradient = [], []
            for _ in range(REPEATS + 1):
                start = time.perf_counter()
                score.evaluate(many, own)
                middle = time.perf_counter()
                input_gradient(score, many, own)
                forward.append(middle - start)
                gradient.append(time.perf_counter() - middle)
            lines.append(
                {
                    "rows in a call": rows,
                    "forwards/s": rows / min(forward[1:]),
                    "gradients/s": rows / min(gradient[1:]),
                }
            )
    return pd.DataFrame(lines)


def whole(
    folder: Path, words: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[float, dict[str, dict[str, float]]]:
    """Wall time of a whole command, and its model rows and seconds by stage."""
    command = [sys.executable, "-m", "igbench", *words, f"results_dir={folder}"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    wall = time.perf_counter() - start
    (record,) = folder.glob("*/*/run.json")
    return wall, json.loads(record.read_text(encoding="utf-8"))["totals"]["stages"]


def profile(folder: Path) -> pd.DataFrame:
    """Where the time of a run goes, by function, its own time alone."""
    out = folder / "profile"
    words = ["-m", "cProfile", "-o", str(out), "-m", "igbench", "limit=4", f"results_dir={folder}"]
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    stats = pstats.Stats(str(out))
    total = stats.total_tt  # type: ignore[attr-defined]
    lines = [
        {
            "function": name if file == "~" else f"{Path(file).name}: {name}",
            "calls": calls,
            "seconds": own,
            "share": f"{own / total:.1%}",
        }
        for (file, _, name), (_, calls, own, _, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    return pd.DataFrame(sorted(lines, key=lambda line: -float(str(line["seconds"])))[:15])


def workers() -> pd.DataFrame:
    """Wall time of the shards with one and two single-threaded workers, start of Ray apart."""
    lines = []
    for count in (1, 2):
        words = [
            *("limit=8", "samples_at_once=1", "batch_size=4"),
            *("method=[ig,saliency,random]", "metric=[completeness,srg]"),
            *("engine=ray", f"engine.workers={count}"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            wall, stages = whole(Path(folder), words, {**os.environ, "OMP_NUM_THREADS": "1"})
        busy = sum(cost["seconds"] for cost in stages.values())
        lines.append({"workers": count, "wall, s": wall, "busy, s": busy})
    return pd.DataFrame(lines)


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", action="store_true", help="measure Ray as well")
    options = parser.parse_args()
    memory.keep_freed()  # as the command does
    before = throughput()
    with tempfile.TemporaryDirectory() as folder:
        wall, stages = whole(Path(folder))
    after = throughput()
    best = pd.concat([before, after])
    forwards, gradients = best["forwards/s"].max(), best["gradients/s"].max()
    rows = sum(cost["forward"] for cost in stages.values())
    both = sum(cost["backward"] for cost in stages.values())
    model = (rows - both) / forwards + both / gradients
    with tempfile.TemporaryDirectory() as folder:
        found = profile(Path(folder))
    table = pd.DataFrame({"stage": name, **cost} for name, cost in stages.items())
    text = [
        f"imagenet_lite on {torch.get_num_threads()} threads, torch {torch.__version__}.",
        "Throughput of the model, before and after the run:",
        best.to_markdown(index=False, floatfmt=".3g"),
        f"{rows:,.0f} rows evaluated, {both:,.0f} of them differentiated: {model:.1f} s at the "
        f"best throughput. Wall time of the whole command, imports and report included: "
        f"{wall:.1f} s. Efficiency {model / wall:.2f}.",
        "By stage:",
        table.to_markdown(index=False, floatfmt=".4g"),
        "Profile (own time of functions; another run, on 4 photographs, slowed by the profiler):",
        found.to_markdown(index=False, floatfmt=".3g"),
    ]
    if options.workers and importlib.util.find_spec("ray"):
        text += ["Workers of Ray, one thread each:", workers().to_markdown(index=False)]
    (HERE / "efficiency.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
