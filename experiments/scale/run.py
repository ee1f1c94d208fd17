"""Measure the memory of runs by their number of samples, and write table.md beside this file.

python experiments/scale/run.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from igbench.core.model import Model, Preprocess
from igbench.data.photographs import PHOTOS
from igbench.models.weights import state_hash
from igbench.records import store

HERE = Path(__file__).parent
SIDE = 96
"""Of the images on disk, in pixels."""

RUNS = ((200, 0), (2000, 0), (200, 2), (2000, 2))
"""Numbers of samples, and of processes that load them."""

WATCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Starts a run from a small process: what a child has before it begins is that of its parent."""

WORDS = (
    "experiment=custom",
    "name=scale",
    "model._target_=run.tiny",
    "~model.variant",
    "batch_size=32",
    "method=[saliency,input_x_gradient,random]",
    "metric=[completeness,deletion]",
    "keep_maps=8",
    "device=cpu",
    "overwrite=true",
)


def tiny() -> Model:
    """A tiny network of random weights, so that everything else takes the time and memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 1000),
        ).eval()
    return Model(
        name="tiny",
        module=net,
        class_names=tuple(f"class {k}" for k in range(1000)),
        cam_layer="0",
        weights_hash=state_hash(net),
        source="random weights",
        preprocess=Preprocess(72, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    )


def write_images(folder: Path, count: int) -> None:
    """Write distinct squares cut from the photographs of the package."""
    draw = np.random.default_rng(0)
    photos = [Image.open(p).convert("RGB") for p in sorted(PHOTOS.glob("*.jpg"))]
    for i in range(count):
        photo = photos[i % len(photos)]
        left, top = (int(draw.integers(0, side - SIDE)) for side in photo.size)
        square = photo.crop((left, top, left + SIDE, top + SIDE))
        square.save(folder / f"{i % 1000:04d}_{i:05d}.jpg")


@dataclass(frozen=True)
class Measured:
    """Peak resident memory of a run in MiB, its seconds, and the rows and points it wrote."""

    peak: float
    seconds: float
    rows: int
    points: int


def measure(images: Path, results: Path, samples: int, workers: int) -> Measured:
    """Run the command line in a process of its own and measure its memory and time."""
    words = [
        *WORDS,
        f"data.path={images}",
        f"limit={samples}",
        f"loading.workers={workers}",
        f"results_dir={results}",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    begun = time.perf_counter()
    printed = subprocess.run(
        [sys.executable, "-S", "-c", WATCH, sys.executable, "-m", "igbench", *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    took = time.perf_counter() - begun
    records = store.read(store.latest(results, "scale"))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    # The run starts the system's count again with every method, and keeps the largest.
    peak = max(int(printed) / unit, records.run.totals["peak_memory"])
    return Measured(peak, took, len(records.scores), len(records.curves))


def main() -> None:
    """Measure all runs and write the table."""
    lines = [
        "| samples | processes | rows | points | peak memory (MiB) | seconds |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    peaks: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        write_images(images, max(samples for samples, _ in RUNS))
        for samples, workers in RUNS:
            found = measure(images, Path(name) / f"{samples}-{workers}", samples, workers)
            peaks[samples, workers] = found.peak
            lines.append(
                f"| {samples:,} | {workers} | {found.rows:,} | {found.points:,} | "
                f"{found.peak:,.0f} | {found.seconds:,.0f} |"
            )
    for workers in sorted({w for _, w in RUNS}):
        few, many = sorted(samples for samples, w in RUNS if w == workers)
        growth = peaks[many, workers] / peaks[few, workers] - 1
        lines += ["", f"{workers} processes: {growth:+.1%} from {few:,} to {many:,} samples."]
    (HERE / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
