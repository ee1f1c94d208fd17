"""Measure the share of a run's time that goes into the model, and the gain of a second worker.

The default experiment, beside what the model alone would take for the same rows at its best
throughput; and photographs with one and with two workers of Ray.  The speed of a shared machine
changes from minute to minute, so the model alone is timed all along the run, between its pieces,
and that time is taken off.  Writes efficiency.md beside this file.

    python experiments/speed/efficiency.py [--workers | --only-workers]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from igbench.config import build, compose
from igbench.core import memory
from igbench.core.score import Score, frozen
from igbench.evaluation import cost
from igbench.evaluation.experiment import Experiment
from igbench.integration.integrate import input_gradient
from igbench.run import runner

HERE = Path(__file__).parent
ROWS = (1, 2, 4, 8, 16)
SUSTAINED = 4.0
"""Seconds for each row of the table: bursts are faster than what lasts."""
PROBE = 0.6
"""Seconds of the model alone between two pieces of the run, for forwards and for gradients."""

RAY = "Workers of Ray (0: one process without), one thread each, whole commands:"


@dataclass
class Alone:
    """A model alone, for timing.

    Attributes:
        score: Its scalar.
        x: (1, C, H, W) a photograph.
    """

    score: Score
    x: Tensor

    def rate(self, rows: int, seconds: float, *, gradient: bool) -> tuple[int, float]:
        """Rows evaluated (and differentiated) in at least so many seconds, and the seconds."""
        self.score.batch_size = rows
        many = self.x.expand(rows, *self.x.shape[1:]).contiguous()
        target = torch.zeros(rows, dtype=torch.int64)
        call = input_gradient if gradient else Score.evaluate
        call(self.score, many, target)
        done, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            call(self.score, many, target)
            done += rows
        return done, took


def alone(experiment: Experiment) -> Alone:
    """The model of an experiment, with a score of its own."""
    model = experiment.model
    return Alone(
        Score(model.module, channels_last=model.channels_last), experiment.data.load(0)[None]
    )


def throughput() -> pd.DataFrame:
    """Rows per second of the model of imagenet_lite by rows in a call, over some seconds."""
    model = alone(build.experiment(compose.compose(["limit=1"])))
    lines = []
    with frozen(model.score.model):
        for rows in ROWS:
            rates = []
            for gradient in (False, True):
                memory.give_back()
                done, took = model.rate(rows, SUSTAINED, gradient=gradient)
                rates.append(done / took)
            lines.append({"rows in a call": rows, "forwards/s": rates[0], "gradients/s": rates[1]})
    return pd.DataFrame(lines)


def probed(folder: Path, rows: tuple[int, int], out: Path) -> None:
    """The default run, as the command does it, with the model alone timed between its pieces.

    Args:
        folder: Where results go.
        rows: In a call, for forwards and for gradients.
        out: File for the rows and seconds of the model alone (JSON).
    """
    memory.keep_freed()
    job = runner.job(compose.compose([f"results_dir={folder}"]))
    model = alone(job.experiment)
    spent: dict[str, Any] = {"forwards": [0, 0.0], "gradients": [0, 0.0], "outside": 0.0}

    def probe(stage: str, samples: int) -> None:
        start = time.perf_counter()
        with frozen(model.score.model):
            for name, many in zip(("forwards", "gradients"), rows, strict=True):
                done, took = model.rate(many, PROBE, gradient=name == "gradients")
                spent[name] = [spent[name][0] + done, spent[name][1] + took]
        spent["outside"] += time.perf_counter() - start

    @contextmanager
    def watch(work: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
        cost.estimate(job.experiment)
        yield probe

    runner.finish(job, watch=watch)
    out.write_text(json.dumps(spent), encoding="utf-8")


def whole(
    folder: Path, words: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[float, dict[str, dict[str, float]]]:
    """Wall time of a process that runs an experiment, and its model rows and seconds by stage.

    Args:
        folder: Where its results go.
        words: Arguments of Python.
        environment: Its environment variables.
    """
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
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
    """Wall time of the whole command in one process, and with one and two workers of Ray.

    Start, end and report included; all processes have one thread.
    """
    lines = []
    for photographs, count in itertools.product((2, 16), (0, 1, 2)):
        words = [
            *(f"limit={photographs}", "shard_size=1", "batch_size=4"),
            *("method=[ig,saliency,random]", "metric=[completeness,srg]"),
            *(("executor=ray", f"executor.workers={count}") if count else ("executor.threads=1",)),
        ]
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "igbench", *words, f"results_dir={folder}"]
            wall, stages = whole(Path(folder), command, {**os.environ, "OMP_NUM_THREADS": "1"})
        busy = sum(cost["seconds"] for cost in stages.values())
        lines.append(
            {"photographs": photographs, "workers": count, "wall, s": wall, "busy, s": busy}
        )
    return pd.DataFrame(lines)


def _with_ray() -> str:
    return f"{RAY}\n\n{workers().to_markdown(index=False, floatfmt='.3g')}"


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", action="store_true", help="measure Ray as well")
    parser.add_argument("--probed", nargs=4, help=argparse.SUPPRESS)  # the run, in a process
    parser.add_argument("--only-workers", action="store_true", help="measure Ray alone")
    options = parser.parse_args()
    if options.only_workers:
        kept = (HERE / "efficiency.md").read_text(encoding="utf-8").partition(RAY)[0].rstrip()
        (HERE / "efficiency.md").write_text(f"{kept}\n\n{_with_ray()}\n", encoding="utf-8")
        return
    if options.probed:
        folder, forwards, gradients, out = options.probed
        probed(Path(folder), (int(forwards), int(gradients)), Path(out))
        return
    memory.keep_freed()  # as the command does
    best = throughput().set_index("rows in a call")
    rows = (int(best["forwards/s"].idxmax()), int(best["gradients/s"].idxmax()))
    with tempfile.TemporaryDirectory() as folder:
        results, out = Path(folder) / "results", Path(folder) / "alone.json"
        words = [__file__, "--probed", str(results), *map(str, rows), str(out)]
        wall, stages = whole(results, words)
        spent = json.loads(out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = whole(Path(folder), ["-m", "igbench", f"results_dir={folder}"])
    wall -= spent["outside"]
    every = sum(cost["forward"] for cost in stages.values())
    both = sum(cost["backward"] for cost in stages.values())
    rates = {name: spent[name][0] / spent[name][1] for name in ("forwards", "gradients")}
    model = (every - both) / rates["forwards"] + both / rates["gradients"]
    inside = sum(cost["seconds"] for cost in stages.values())
    with tempfile.TemporaryDirectory() as folder:
        found = profile(Path(folder))
    table = pd.DataFrame({"stage": name, **cost} for name, cost in stages.items())
    text = [
        f"imagenet_lite on {torch.get_num_threads()} threads, torch {torch.__version__}.",
        f"The model alone before the run, {SUSTAINED:g} s each:",
        best.reset_index().to_markdown(index=False, floatfmt=".3g"),
        f"The model alone all along the run, {rows[0]} rows in a forward call and {rows[1]} in a "
        f"gradient call: {rates['forwards']:.0f} forwards/s and {rates['gradients']:.0f} "
        "gradients/s.",
        f"{every:,.0f} rows evaluated, {both:,.0f} of them differentiated: {model:.1f} s at this "
        f"throughput. Wall time of the whole process, imports and report included, less the time "
        f"of the model alone: {wall:.1f} s. **Efficiency {model / wall:.2f}**; of the stages that "
        f"call the model ({inside:.1f} s) {model / inside:.2f}.",
        f"The plain command right after it: {plain:.1f} s.",
        "By stage:",
        table.to_markdown(index=False, floatfmt=".4g"),
        "Profile (own time of functions; another run, on 4 photographs, slowed by the profiler):",
        found.to_markdown(index=False, floatfmt=".3g"),
    ]
    if options.workers and importlib.util.find_spec("ray"):
        text.append(_with_ray())
    (HERE / "efficiency.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
