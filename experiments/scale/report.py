"""Measure the time and memory of the report of a large run, and write report.md beside this file.

python experiments/scale/report.py
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from igbench.records import store
from igbench.schema import COSTS, MethodSpec, MetricSpec, Point, Row, Run

HERE = Path(__file__).parent
SAMPLES, METHODS, METRICS = 50_000, 12, 10
MOST_SECONDS, MOST_GIB = 60.0, 4.0
"""What the report may take: seconds of one CPU core, and peak resident memory."""
UNDEFINED, FAILED = 0.01, 0.001
"""Shares of the rows without a value."""
NAMES = (
    "ig", "expected_gradients", "gradient_shap", "occlusion", "kernel_shap", "lime", "saliency",
    "smoothgrad", "grad_cam", "input_x_gradient", "random", "edges",
)  # fmt: skip
QUALITIES = (
    "srg", "insertion", "deletion", "sensitivity_n", "infidelity", "completeness",
)  # fmt: skip
PARTS = ("read", "report")


def run(samples: int) -> Run:
    """The record of a run whose rows `rows` makes up."""
    spec = MethodSpec("Made up", "none", "global", True)
    metric = MetricSpec("Made up", "higher", -1, 1, 1, "none", explains="nothing")
    names = [*QUALITIES, *COSTS]
    roles = {"random": "control", "edges": "control"}
    return Run(
        id="20260102-030405-0a1b2c3d", experiment="scale", created="2026-01-02T03:04:05+00:00",
        state="finished", config={"seed": 0, "limit": None},
        metrics={m: COSTS.get(m, metric) for m in names},
        methods={m: replace(spec, role=roles.get(m, "method")) for m in NAMES},  # type: ignore[arg-type]
        comparability={"samples": "5f" * 32, "weights": "a7" * 32, "seed": 0}, identity={},
        environment={}, totals={},
        samples=[{"sample_id": f"s{i:06d}", "status": "ok"} for i in range(samples)],
    )  # fmt: skip


def rows(made: Run) -> pa.Table:
    """Scores and costs of every method on every sample, some without a value."""
    rng = np.random.default_rng(0)
    ids = pa.array([s["sample_id"] for s in made.samples])
    count, hard = len(ids), 0.1 * rng.normal(size=len(made.samples))
    parts = []
    for metric in made.metrics:
        for k, method in enumerate(made.methods):
            values = 0.3 + 0.02 * k + hard + 0.1 * rng.normal(size=count)
            if metric in COSTS:
                values = np.full(count, float(2**k))
            luck = rng.random(count)
            status = np.where(
                luck < FAILED, "failed", np.where(luck < UNDEFINED, "undefined", "ok")
            )
            values = np.where(status == "ok", values, np.nan)
            reason = np.where(status == "ok", "", "made up")
            fixed = {"run": made.id, "experiment": made.experiment, "model": "net",
                     "method": method, "metric": metric}  # fmt: skip
            columns = {name: pa.array([text]).take(pa.array(np.zeros(count, int)))
                       for name, text in fixed.items()}  # fmt: skip
            columns |= {
                "sample_id": ids, "value": pa.array(values), "status": pa.array(status),
                "reason": pa.array(reason), "std_error": pa.nulls(count, pa.float64()).fill_null(
                    float("nan")),
                "n_forward": pa.array(np.zeros(count, int)),
                "n_backward": pa.array(np.zeros(count, int)),
                "seconds": pa.array(np.zeros(count)),
            }  # fmt: skip
            parts.append(pa.table({name: columns[name] for name in Row._fields}))
    return pa.concat_tables(parts).cast(store.table(Row, []).schema)


def points(made: Run) -> list[Point]:
    """One removal curve of every method, of few samples."""
    x = np.linspace(0, 1, 11)
    return [
        Point(made.id, made.experiment, "net", m, "deletion", f"s{i:06d}", float(a), float(1 - a))
        for m in made.methods
        for i in range(16)
        for a in x
    ]


def measure(folder: Path) -> None:
    """Draw the report in this process, and print what each step takes."""
    import igbench.report as report

    clock = [(time.perf_counter(), time.process_time())]
    records = store.read(folder)
    clock.append((time.perf_counter(), time.process_time()))
    report.write_report(records)
    clock.append((time.perf_counter(), time.process_time()))
    for name, (wall, cpu), (wall_after, cpu_after) in zip(PARTS, clock, clock[1:], strict=False):
        sys.stdout.write(f"{name} {wall_after - wall:.2f} {cpu_after - cpu:.2f}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"peak {peak:.3f}\n")


def main(words: Sequence[str] | None = None) -> int:
    """Make the rows, draw their report in a fresh process, and write report.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--measure", type=Path, help="draw the report of this run and print times")
    given = parser.parse_args(words)
    if given.measure:
        measure(given.measure)
        return 0
    with tempfile.TemporaryDirectory() as where:
        made = run(given.samples)
        started = time.process_time()
        folder = store.write(Path(where) / made.id, made, rows(made), points(made))
        writing = time.process_time() - started
        found = subprocess.run(
            [sys.executable, __file__, "--measure", str(folder)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        size = (folder / "report.html").stat().st_size
    lines = [line.split() for line in found.splitlines()]
    taken = {name: tuple(map(float, numbers)) for name, *numbers in lines if name in PARTS}
    (peak,) = (float(line[1]) for line in lines if line[0] == "peak")
    cpu = sum(seconds for _, seconds in taken.values())
    text = (
        f"{given.samples:,} samples, {METHODS} methods, {METRICS} metrics and costs: "
        f"{given.samples * METHODS * METRICS:,} rows.\n\n"
        "| step | wall seconds | CPU seconds |\n|---|---:|---:|\n"
        f"| rows, records and their summary are written | | {writing:.1f} |\n"
        + "".join(f"| {name} | {wall:.1f} | {own:.1f} |\n" for name, (wall, own) in taken.items())
        + f"\nPeak memory of reading and reporting: {peak:.2f} GiB. report.html: "
        f"{size / 2**20:.2f} MiB.\n"
    )
    sys.stdout.write(text)
    if given.samples == SAMPLES:
        (HERE / "report.md").write_text(text, encoding="utf-8")
    return int(cpu > MOST_SECONDS or peak > MOST_GIB)


if __name__ == "__main__":
    sys.exit(main())
