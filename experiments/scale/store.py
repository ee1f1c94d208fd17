"""Measure the commands that read a store of 1,000 runs, and write store.md beside this file.

python experiments/scale/store.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from igbench.records import integrity, store
from igbench.schema import COSTS, MethodSpec, MetricSpec, Row, Run

HERE = Path(__file__).parent
RUNS, SAMPLES = 1000, 16
TRIES = 2
"""Measurements of each command, of which the fastest counts."""
DISTINCT = 10
"""Runs with scores of their own."""
MOST_SECONDS = 5.0
"""CPU seconds that a command may take, imports included."""
METHODS = ("ig", "occlusion", "random")
METRICS = ("srg", "deletion", "completeness")
START = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = 25_000
"""Bytes of the record of a run, about those of an experiment with six methods and metrics."""


def run(place: int) -> Run:
    """The record of a run; every tenth has another version of a package."""
    created = START + timedelta(hours=place)
    metric = MetricSpec("Made up", "higher", -1, 1, 1, "none", explains="nothing")
    method = MethodSpec("Made up", "none", "global", True)
    return Run(
        id=f"{created:%Y%m%d-%H%M%S}-{place:08x}", experiment="scale", created=created.isoformat(),
        state="finished", config={"seed": 0, "data": {"name": "made up"}},
        metrics={**dict.fromkeys(METRICS, metric), **COSTS},
        methods={
            m: replace(method, role="control" if m == "random" else "method") for m in METHODS
        },
        comparability={"samples": "5f" * 32, "weights": "a7" * 32, "seed": 0},
        identity={"versions": {"igbench": "0.1.0", "captum": f"0.9.{place // 10}"}},
        environment={"parameters": {"methods": {}, "text": ["a word"] * (RECORD // 12)}},
        samples=[{"sample_id": f"s{i:03d}", "status": "ok"} for i in range(SAMPLES)],
        totals={},
    )  # fmt: skip


def rows(made: Run, place: int) -> list[Row]:
    """Scores and counts: the samples differ alike in all runs, with noise of each run."""
    shared, own = np.random.default_rng(0), np.random.default_rng(place)
    found = []
    for metric in (*METRICS, *COSTS):
        for method in METHODS:
            values = shared.normal(0.3, 0.1, SAMPLES) + own.normal(0, 0.003, SAMPLES)
            if metric in ("forward_rows", "backward_rows"):
                values = np.full(SAMPLES, 50.0)
            found += [
                Row(made.id, made.experiment, "made_up", method, metric, f"s{i:03d}", float(v))
                for i, v in enumerate(values)
            ]
    return found


def make(results: Path, count: int) -> None:
    """Write the runs, those after the first ten with the scores of one of these; damage one."""
    for place in range(min(count, DISTINCT)):
        made = run(place)
        store.write(store.place(results, made), made, rows(made, place))
    first = store.runs(results / "scale")
    for place in range(DISTINCT, count):
        made, source = run(place), integrity.open_run(first[place % DISTINCT])
        repeat(store.place(results, made), made, source)
    victim = store.runs(results / "scale")[count // 2] / store.SCORES_FILE
    victim.write_bytes(victim.read_bytes()[:-100])


def repeat(folder: Path, made: Run, source: integrity.RunFiles) -> None:
    """Write a run with the scores of another, whose summary is not computed again."""
    scores = store.read_table(source, store.SCORES_FILE)
    scores = scores.set_column(0, "run", pa.array([made.id] * len(scores)))
    files = [
        (store.SCORES_FILE, store.parquet(scores)),
        (store.CURVES_FILE, source.read(store.CURVES_FILE)),
        (store.SUMMARY_FILE, source.read(store.SUMMARY_FILE)),
    ]
    content = store.encode(made.as_dict())
    store.write_folder(folder, lambda place: store.fill(place, content, files))


def measure(words: Sequence[str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command in a fresh process, and the last line of its errors.

    Raises:
        RuntimeError: It failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "igbench", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"igbench {' '.join(words)}: {said}")
    lines = said.splitlines()
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, lines[-1] if lines else ""


def main() -> int:
    """Make the runs, measure, and write the table; 1 where a command is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        make(results, count)
        runs = store.runs(results / "scale")
        where = ["--results-dir", str(results)]
        commands = {
            "`igbench runs`": ["runs", *where],
            "`igbench runs --where captum=0.9.1*`": ["runs", "--where", "captum=0.9.1*", *where],
            "`igbench history scale`": ["history", "scale", *where],
            "`igbench history scale --plot`": [
                "history", "scale", "--plot", str(results / "trend.png"), *where
            ],
            "`igbench compare scale`": ["compare", "scale", *where],
            "`igbench compare RUN RUN`, for comparison": ["compare", *map(str, runs[-2:])],
        }  # fmt: skip
        lines, worst = [], 0.0
        for name, words in commands.items():
            wall, cpu, said = min((measure(words) for _ in range(TRIES)), key=lambda m: m[1])
            expected = "compare RUN" not in name
            assert ("skipped" in said) == expected, f"{name} said {said!r} of the damaged run"
            lines.append(f"| {name} | {cpu:.1f} | {wall:.1f} |")
            worst = max(worst, cpu)
    load = os.getloadavg()[0]
    head = (
        f"{count:,} runs of {len(METHODS)} methods, {len(METRICS)} metrics and {SAMPLES} samples, "
        f"records of {RECORD // 1000} kB, one of them damaged: it is named and skipped.  Fresh "
        f"processes, imports included; the better of {TRIES}.  Load average {load:.0f} on "
        f"{os.cpu_count()} CPU cores, which raises CPU seconds too."
    )
    table = "\n".join(["| command | CPU seconds | wall seconds |", "|---|---:|---:|", *lines])
    (HERE / "store.md").write_text(f"{head}\n\n{table}\n", encoding="utf-8")
    sys.stdout.write(f"{table}\n")
    return int(worst > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
