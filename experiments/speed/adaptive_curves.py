"""Rows, errors and time of removal curves with step=auto, against every point of step=1/28.

    python experiments/speed/adaptive_curves.py --photographs 16

Maps of the default run are scored twice, with both steps in turn, on the same photographs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from igbench.config import build, compose
from igbench.core import memory
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score, frozen
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.placement import TOLERANCE

HERE = Path(__file__).parent
METRICS = {"deletion": Deletion(), "srg": SymmetricRelevanceGain(), "insertion": Insertion()}
"""In the order of a run: `srg` takes over the curves of `deletion`."""


def load(photographs: int, methods: str) -> tuple[Batch, dict[str, Attribution]]:
    """Photographs and the maps of the default run on them."""
    words = ["experiment=imagenet_lite", f"limit={photographs}", f"method=[{methods}]"]
    experiment = build.experiment(compose.compose(words if methods else words[:-1]))
    model = experiment.model
    x = torch.stack([experiment.data.load(i) for i in range(photographs)])
    with torch.no_grad():
        target = torch.cat([model.module(one[None]).argmax(dim=1) for one in x])
    score = Score(model.module, batch_size=32, channels_last=model.channels_last)
    ids = experiment.data.sample_ids
    batch = Batch(score, x, torch.zeros_like(x), target, ids, "pixel", 0)
    with frozen(model.module):
        maps = {
            name: Attribution(method(batch).detach(), method.spec, method)
            for name, method in experiment.methods.items()
        }
    return batch, maps


Found = dict[str, dict[str, Measurement]]


def scored(batch: Batch, maps: Mapping[str, Attribution], step: Any) -> tuple[Found, int, float]:
    """Measurements by metric and method, model rows, and seconds."""
    before, start = batch.score.cost.snapshot(), time.perf_counter()
    found: Found = {}
    seen: dict[object, Any] = {}
    for name, metric in METRICS.items():
        own = replace(metric, step=step).for_shape(batch.x.shape[1:])
        if own.sharing_key not in seen:
            seen[own.sharing_key] = own.observe(batch)
        found[name] = own.measure(batch, maps, seen[own.sharing_key])
    return found, batch.score.cost.since(before).forward, time.perf_counter() - start


def unshared(batch: Batch, maps: Mapping[str, Attribution]) -> int:
    """Rows where equal sets of removed features are evaluated again, as a forecast counts them."""
    cost = Score(_Zero(), batch_size=256)
    return scored(replace(batch, score=cost, target=None), maps, METRICS["srg"].step)[1]


class _Zero(torch.nn.Module):
    """A model that costs nothing, and for which no row is saved."""

    stands_in = True

    def __init__(self) -> None:
        super().__init__()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero for each row, (N,)."""
        return x.new_zeros(len(x))


def compared(exact: Found, auto: Found) -> pd.DataFrame:
    """Errors of each metric against every point, over methods and samples."""
    lines = []
    for metric in METRICS:
        a, b = (np.stack([m.value.numpy() for m in f[metric].values()]) for f in (exact, auto))
        stated = np.stack([_error(m) for m in auto[metric].values()])
        apart = np.abs(b - a)
        means = np.abs(np.nanmean(b, axis=1) - np.nanmean(a, axis=1))
        count = a.shape[1]
        spread = np.nanstd(a, axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.nan * means
        known = np.isfinite(means) & np.isfinite(spread)
        lines.append(
            {
                "metric": metric,
                "values": int(np.isfinite(apart).sum()),
                "largest error": np.nanmax(apart),
                "mean error": np.nanmean(apart),
                "root mean square": np.sqrt(np.nanmean(apart**2)),
                "stated": np.sqrt(np.nanmean(stated**2)),
                f"share under {TOLERANCE}": np.nanmean((apart < TOLERANCE)[np.isfinite(apart)]),
                "share under 2 stated": np.nanmean((apart <= 2 * stated)[np.isfinite(apart)]),
                "largest error of a mean": np.nanmax(means),
                "over its standard error": np.max(means[known] / spread[known], initial=0.0),
            }
        )
    return pd.DataFrame(lines)


def _error(found: Measurement) -> np.ndarray:
    assert found.std_error is not None
    return found.std_error.numpy()


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--methods", default="", help="names with commas; those of the default run")
    options = parser.parse_args()
    memory.keep_freed()  # as the command does
    batch, maps = load(options.photographs, options.methods)
    exact_step = METRICS["srg"].step
    seconds: dict[Any, list[float]] = {exact_step: [], "auto": []}
    rows: dict[Any, int] = {}
    found: dict[Any, Found] = {}
    with frozen(batch.score.model):
        every = unshared(batch, maps)
        batch.score.evaluate(batch.x, batch.target)  # warm up
        for _ in range(options.repeats):
            for step, taken in seconds.items():
                found[step], rows[step], wall = scored(batch, maps, step)
                taken.append(wall)
    exact, auto = (statistics.median(seconds[step]) for step in (exact_step, "auto"))
    frame = compared(found[exact_step], found["auto"])
    frame.to_csv(HERE / "adaptive_curves.csv", index=False)
    text = [
        f"{len(maps)} methods, {len(batch)} photographs, EfficientNet-Lite0, float32, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}: {every:,} model rows with "
        f"equal sets apart, {rows[exact_step]:,} with these evaluated once "
        f"({rows[exact_step] / every:.0%}), {rows['auto']:,} with step=auto "
        f"({rows['auto'] / rows[exact_step]:.0%} of the latter); {exact:.0f} s and {auto:.0f} s, "
        f"{auto / exact:.2f} times, medians of {options.repeats} in turn.",
        frame.to_markdown(index=False, floatfmt=".2g"),
    ]
    (HERE / "adaptive_curves.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(*text, sep="\n\n")  # noqa: T201


if __name__ == "__main__":
    main()
