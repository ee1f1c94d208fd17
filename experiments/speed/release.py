"""Time the default run beside an earlier revision, in turn, on the same photographs.

Sides: the earlier revision, this one on the exact grid, and this one with other settings.  All
have the methods that both revisions define, and the same rows in a call.  A side's seconds are
those of the whole command, and those of loading, methods and metrics alone, without start,
compilation and report.  For each setting that asks the model less, every mean is compared with that
of the exact grid.  Writes release.md and release.csv, or others, beside this file.

    python experiments/speed/release.py [--base 83fb347] [--limit 16] [--turns 2] [--rows 8]
        [--sides NAME ...] [--name release]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from igbench.records import store

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
METHODS = "ig,ig_captum,saliency,input_x_gradient,occlusion,random,edges"
METRICS = "completeness,infidelity,sensitivity_n,deletion,insertion,srg"
STEP = [f"metric.{name}.step=auto" for name in ("deletion", "insertion", "srg")]
COARSE = [*STEP, *(f"metric.{name}.error=0.02" for name in ("deletion", "insertion", "srg"))]
DRAWS = ["metric.infidelity.draws=auto", "metric.sensitivity_n.subsets=auto"]
SIDES: dict[str, list[str]] = {
    "exact grid": [],
    "exact grid, precision=exact": ["precision=exact"],
    "compile=true": ["compile=true"],
    "compile=auto": ["compile=auto"],
    "step=auto": STEP,
    "step=auto error=0.02": COARSE,
    "step=auto error=0.02 compile=true": [*COARSE, "compile=true"],
    "step=auto draws=auto": [*STEP, *DRAWS],
}


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A work tree of an earlier revision, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def timed(tree: Path, words: Sequence[str], results: Path) -> tuple[float, Path]:
    """Seconds of a whole run, and its folder."""
    command = [sys.executable, "-m", "igbench", *words, f"results_dir={results}"]
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, check=True, env=environment, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    (folder,) = (p.parent for p in results.glob("*/*/run.json"))
    return took, folder


def rows_of(folder: Path) -> float:
    """Model rows of a run: those of the methods and of the metrics."""
    stages = store.read(folder).run.totals["stages"]
    return sum(float(stage["forward"]) for stage in stages.values())


def in_stages(folder: Path) -> float:
    """Seconds of loading, methods and metrics."""
    stages = store.read(folder).run.totals["stages"]
    return sum(float(stage["seconds"]) for stage in stages.values())


def within(folder: Path, exact: Path) -> str:
    """How many means of a run lie within one standard error of those of the exact one."""
    one, two = (store.read(f).scores for f in (folder, exact))
    keys, inside, count = ["method", "metric"], 0, 0
    own = one[one["status"] == "ok"].groupby(keys)["value"].mean()
    for key, group in two[two["status"] == "ok"].groupby(keys):
        if key not in own.index or key[1] not in METRICS.split(","):
            continue
        error = group["value"].std() / math.sqrt(len(group))
        count += 1
        inside += abs(own[key] - group["value"].mean()) <= error
    return f"{inside} of {count}"


def _faster(base: list[float], own: list[float]) -> float:
    return statistics.median(b / t for b, t in zip(base, own, strict=True))


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="83fb347")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--rows", type=int, default=8, help="rows in a call")
    parser.add_argument("--sides", nargs="*", default=list(SIDES))
    parser.add_argument("--name", default="release", help="of the files that are written")
    options = parser.parse_args()
    words = [
        "experiment=imagenet_lite", f"method=[{METHODS}]", f"metric=[{METRICS}]",
        f"limit={options.limit}", f"batch_size={options.rows}", "convergence=0",
    ]  # fmt: skip
    seconds: dict[str, list[float]] = {}
    stages: dict[str, list[float]] = {}
    last: dict[str, Path] = {}
    with checked_out(options.base) as tree, tempfile.TemporaryDirectory() as results:
        sides: dict[str, tuple[Path, list[str]]] = {f"revision {options.base}": (tree, [])}
        sides |= {name: (ROOT, SIDES[name]) for name in options.sides}
        for turn in range(options.turns):
            for i, (name, (where, more)) in enumerate(sides.items()):
                place = Path(results) / f"{turn}-{i}"
                took, last[name] = timed(where, [*words, *more], place)
                seconds.setdefault(name, []).append(took)
                stages.setdefault(name, []).append(in_stages(last[name]))
                if turn == options.turns - 1:
                    write(options, seconds, stages, last)


def write(
    options: Any,
    seconds: dict[str, list[float]],
    stages: dict[str, list[float]],
    last: dict[str, Path],
) -> None:
    """Write the table of the sides that have had every turn."""
    done = [name for name, took in seconds.items() if len(took) == options.turns]
    base, exact = done[0], last.get("exact grid")
    lines = [
        {
            "side": name,
            "whole command, s": statistics.median(seconds[name]),
            "times as fast": _faster(seconds[base], seconds[name]),
            "stages, s": statistics.median(stages[name]),
            "stages, times as fast": _faster(stages[base], stages[name]),
            "model rows": rows_of(last[name]),
            "means within one standard error of the exact grid": within(last[name], exact)
            if exact and "auto" in name
            else "",
        }
        for name in done
    ]
    frame = pd.DataFrame(lines)
    frame.to_csv(HERE / f"{options.name}.csv", index=False, float_format="%.5g")
    head = (
        f"{options.limit} photographs, {len(METHODS.split(','))} methods, "
        f"{len(METRICS.split(','))} metrics, {options.rows} rows in a call, whole commands in turn."
    )
    table = frame.to_markdown(index=False, floatfmt=",.4g", missingval="-")
    (HERE / f"{options.name}.md").write_text(f"{head}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
