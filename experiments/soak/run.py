"""Kill runs with SIGKILL at random moments, and check that they resume without a difference.

Runs on digits are killed at random moments and started again until they finish; each finished run
is compared, to the last bit, with one that nothing happened to.  Writes table.md beside this file.

    python experiments/soak/run.py [--kills 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from igbench.records import store
from igbench.schema import Records

HERE = Path(__file__).parent
SHARDS = 16
WORDS = (
    "experiment=digits_resnet",
    f"limit={SHARDS}",
    "shard_size=1",
    "convergence=2",
    "keep_maps=2",
    "batch_size=16",
    "executor.threads=1",
    "method=[ig,random]",
    "metric=[completeness,deletion]",
)
PHASES = ("start-up", "between shards", "joining and writing", "drawing the report")
WEIGHTS = (3, 3, 3, 1)
"""How often a phase is aimed at: from the last one, no run comes back to the others."""
MOST = 5
"""Kills of one run; the next attempt is left alone."""
LATE = 1.15
"""Moments are drawn from so many times the length of a phase, so that some runs get away."""


def main() -> None:
    """Kill, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start, moments = time.perf_counter(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        Attempt(place, place / "first").finish()  # trains the model
        whole = Attempt(place, place / "whole")
        lengths = whole.finish()
        reference, cached = only_run(whole.results), set(_files(place / "cache"))
        tally = Tally()
        while tally.kills < options.kills:
            most = min(MOST, options.kills - tally.kills)
            chain(place, place / f"run-{tally.runs}", lengths, moments, most, tally)
            found = only_run(place / f"run-{tally.runs}")
            tally.differ += not same(found, reference)
            tally.left += len(leftovers(place / f"run-{tally.runs}"))
            tally.runs += 1
        tally.left += len(set(_files(place / "cache")) - cached)
    took = time.perf_counter() - start
    (HERE / "table.md").write_text(table(tally, options.seed, lengths, took), encoding="utf-8")


@dataclass
class Tally:
    """Counts over all runs.

    Attributes:
        runs: Runs that finished.
        attempts: Processes that were started for them.
        hits: Kills by phase.
        again: Shards that were finished before a kill, and lost or written again after it.
        miscounted: Runs whose record has another number of shards found than there were.
        differ: Runs that are not the reference, to the last bit.
        left: Files and folders that should not be there at the end.
    """

    runs: int = 0
    attempts: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    again: int = 0
    miscounted: int = 0
    differ: int = 0
    left: int = 0

    @property
    def kills(self) -> int:
        """Kills in all phases."""
        return self.hits.total()


def chain(
    place: Path,
    results: Path,
    lengths: dict[str, float],
    moments: random.Random,
    most: int,
    tally: Tally,
) -> None:
    """One run: killed up to `most` times, each time started again, until it finishes."""
    before: dict[str, int] = {}
    for kill in range(most + 1):
        attempt = Attempt(place, results)
        tally.attempts += 1
        (phase,) = moments.choices(PHASES, WEIGHTS)
        wait = moments.uniform(0, LATE * lengths[phase])
        killed = kill < most and attempt.kill(phase, wait)
        if kill == most:
            attempt.finish()
        if not killed:
            run = only_run(results)
            recorded = run and run.run.environment["executor"]["found"]
            # Attempts that only drew the report of a finished run record nothing.
            tally.miscounted += attempt.saw_no_run and recorded != len(before)
            return
        tally.hits[attempt.phase()] += 1
        after = attempt.seals()
        if not attempt.runs():
            tally.again += sum(after.get(name) != when for name, when in before.items())
        before = after


class Attempt:
    """One process at work on a run."""

    def __init__(self, place: Path, results: Path) -> None:
        """Start it."""
        self.results = results
        self.saw_no_run = not self.runs()
        self.old = set(self.seals())
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "igbench", *WORDS, f"results_dir={results}"],
            cwd=HERE.parent.parent,
            env={**os.environ, "IGBENCH_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def runs(self) -> list[Path]:
        """Finished runs."""
        return store.runs(self.results / "digits_resnet")

    def seals(self) -> dict[str, int]:
        """Finished shards, and when they were written."""
        paths = self.results.glob("digits_resnet/.*.partial/shards/*.json")
        return dict(_written(paths))

    def phase(self) -> str:
        """Where it is, by what is on disk."""
        if self.runs():
            return PHASES[3]
        seals = set(self.seals())
        if len(seals) == SHARDS:
            return PHASES[2]
        return PHASES[1] if seals - self.old else PHASES[0]

    def kill(self, phase: str, wait: float) -> bool:
        """Kill it some seconds after a phase began; False if it finished before."""
        begun: dict[str, Callable[[], bool]] = {
            PHASES[0]: lambda: True,
            PHASES[1]: lambda: bool(set(self.seals()) - self.old),
            PHASES[2]: lambda: len(self.seals()) == SHARDS > len(self.old),
            PHASES[3]: lambda: self.saw_no_run and bool(self.runs()),
        }
        while self.process.poll() is None and not begun[phase]():
            time.sleep(0.002)
        try:
            self.process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._check((0, -9))
        return self.process.returncode == -9

    def finish(self) -> dict[str, float]:
        """Wait for the end; seconds in each phase."""
        seen = {PHASES[0]: self.began}
        while self.process.poll() is None:
            seen.setdefault(self.phase(), time.perf_counter())
            time.sleep(0.002)
        self._check((0,))
        ends = [*list(seen.values())[1:], time.perf_counter()]
        return {name: end - seen[name] for name, end in zip(seen, ends, strict=True)}

    def _check(self, expected: tuple[int, ...]) -> None:
        printed = self.process.communicate()[1].decode()
        if self.process.returncode not in expected:
            raise RuntimeError(f"exit status {self.process.returncode}: {printed}")


def _written(paths: Iterator[Path]) -> Iterator[tuple[str, int]]:
    for path in paths:
        try:
            yield path.name, path.stat().st_mtime_ns
        except FileNotFoundError:  # gone just now: the run is finished
            continue


def only_run(results: Path) -> Records | None:
    """The one run; None if there are none, or more."""
    folders = store.runs(results / "digits_resnet")
    return store.read(folders[0]) if len(folders) == 1 else None


def leftovers(results: Path) -> list[Path]:
    """Files and folders besides one run with its report."""
    homes = list(results.iterdir())
    folders = [p for home in homes for p in home.iterdir()]
    inside = [p for p in _files(results) if p.name.startswith((".", "lock")) or p.suffix == ".tmp"]
    pages = list(results.glob("*/*/report.html"))
    return [*homes[1:], *folders[1:], *inside, *([] if len(pages) == 1 else folders)]


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def same(a: Records | None, b: Records | None) -> bool:
    """Equal to the last bit, but for names, times and memory; False if one is None."""
    if a is None or b is None:
        return False
    for one, other in ((a.scores, b.scores), (a.curves, b.curves)):
        if not _untimed(one).equals(_untimed(other)):
            return False
    if a.run.samples != b.run.samples or a.run.comparability != b.run.comparability:
        return False
    maps = [{(n, s): value for n, m in r.maps.items() for s, value in m.items()} for r in (a, b)]
    return maps[0].keys() == maps[1].keys() and all(
        np.array_equal(value, maps[1][key]) for key, value in maps[0].items()
    )


def _untimed(frame: pd.DataFrame) -> pd.DataFrame:
    if "metric" in frame:
        frame = frame[~frame["metric"].isin(["seconds", "peak_memory"])]
    return frame.drop(columns=["run", "seconds"], errors="ignore").reset_index(drop=True)


def table(tally: Tally, seed: int, lengths: dict[str, float], took: float) -> str:
    """The counts as Markdown tables."""
    phases = pd.DataFrame(
        {
            "phase": phase,
            "seconds when undisturbed": lengths[phase],
            "kills": tally.hits[phase],
        }
        for phase in PHASES
    )
    counts = {
        "kills": tally.kills,
        "runs, each killed and started again until it finished": tally.runs,
        "processes started": tally.attempts,
        "finished shards lost or done again": tally.again,
        "runs that record another number of shards found than there were": tally.miscounted,
        "runs that differ from the undisturbed one in any bit": tally.differ,
        "temporary files, locks and partial folders left": tally.left,
        "seconds in all": round(took),
    }
    lines = pd.DataFrame(counts.items(), columns=["count", "value"])
    return (
        f"{SHARDS} shards, seed {seed}, kills by what was on disk afterwards:\n\n"
        f"{phases.to_markdown(index=False, floatfmt='.2f')}\n\n"
        f"{lines.to_markdown(index=False)}\n"
    )


if __name__ == "__main__":
    main()
