"""Attack a tiny run in all ways for some minutes, and count what comes of it.

Kinds of attacks take turns until the time is over; every command runs in a fork, so that hundreds
of attempts fit.  Each attempt is drawn from the seed, its kind and its number, and can be made
again by itself.  Writes docs/attacks.md.

    python -m experiments.soak.attack [--seconds 600] [--seed 0] [--kind kills --number 17]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pandas as pd
import torch

from experiments.soak.kinds import KINDS, common
from igbench import report
from igbench.config import compose
from igbench.run import runner

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "attacks.md"
RARE = {"reports": 8}
"""Kinds that cost more than others: one in so many turns."""
RIGHT = (common.EQUAL, common.REFUSED)
HEAD = """# Attacks

What comes of a run when processes are killed, files are damaged or exchanged, strangers' files and
links lie in its way, the disk is full, and equal commands work at once. Every attempt ends with the
same command once more; then everything that can be read of the run is compared, to the last bit,
with a run that nothing happened to. Two outcomes are right: the same numbers, or one line that says
what to do. [When something goes wrong](faults.md) has the single faults and the test of each.

`make soak` repeats this for ten minutes (`SECONDS=600`) and writes this page. One attempt is made
again by `python -m experiments.soak.attack --kind KIND --number N`.
[experiments/soak](../experiments/soak/README.md) says how to add a kind.
"""


def main() -> int:
    """Attack, and write the page; 1 if an outcome was not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), default="")
    parser.add_argument("--number", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        warm(place)
        began = time.monotonic()
        found: list[tuple[str, int, common.Outcome]] = []
        for kind, number in turns(options.kind, options.number):
            found.append((kind, number, attempt(place, options.seed, kind, number)))
            if found[-1][2].result not in RIGHT:
                print(described(*found[-1]), flush=True)  # noqa: T201
            if time.monotonic() - began > options.seconds:
                break
    text = page(found, options.seed, time.monotonic() - began)
    print(text)  # noqa: T201
    if options.number is None:
        PAGE.write_text(HEAD + "\n" + text, encoding="utf-8")
    return int(any(outcome.result not in RIGHT for _, _, outcome in found))


def turns(kind: str, number: int | None) -> Iterator[tuple[str, int]]:
    """Kinds and numbers of attempts without an end, or the one that is asked for."""
    if number is not None:
        yield kind or next(iter(KINDS)), number
        return
    for turn in count():
        for name in [kind] if kind else KINDS:
            if turn % RARE.get(name, 1) == 0 or kind:
                yield name, turn


def attempt(place: Path, seed: int, kind: str, number: int) -> common.Outcome:
    """Make an attempt in a folder of its own, which goes afterwards."""
    folder = place / f"{kind}-{number}"
    folder.mkdir()
    try:
        return KINDS[kind].attempt(random.Random(f"{seed} {kind} {number}"), folder)
    finally:
        shutil.rmtree(folder)


def warm(place: Path) -> None:
    """Import everything that runs and reports need, before there are forks, and make two runs."""
    os.environ["IGBENCH_CACHE"] = str(place / "cache")
    os.environ["OMP_NUM_THREADS"] = "1"
    words = [*common.WORDS, f"results_dir={place / 'trained'}"]
    # Trains the model; in a process of its own, because autograd starts threads.
    subprocess.run(
        [sys.executable, "-m", "igbench", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    torch.set_num_threads(1)
    runner.job(compose.compose(words))
    from igbench.report import heatmaps, html, plots, tables

    del heatmaps, html, plots, tables
    report.write_report = common.sketch
    common.prepare(place)


def described(kind: str, number: int, outcome: common.Outcome) -> str:
    """An attempt in a line."""
    return f"- `--kind {kind} --number {number}`: {outcome.what}: {outcome.result}"


def page(found: list[tuple[str, int, common.Outcome]], seed: int, took: float) -> str:
    """Counts of the outcomes of each kind, and the attempts whose outcome is not right."""
    counts = Counter((kind, outcome.result) for kind, _, outcome in found)
    kinds = [kind for kind in KINDS if any(k == kind for k, _ in counts)]
    lines = [
        {
            "what is done": KINDS[kind].NAME,
            "attempts": sum(counts[kind, result] for result in common.RESULTS),
            **{result: counts[kind, result] for result in common.RESULTS},
        }
        for kind in kinds
    ]
    frame = pd.DataFrame(lines)
    total = {c: "all" if c == "what is done" else int(frame[c].sum()) for c in frame.columns}
    frame = pd.concat([frame, pd.DataFrame([total])])
    wrong = [described(*one) for one in found if one[2].result not in RIGHT]
    head = f"{len(found)} attempts in {took:.0f} s, seed {seed}, {datetime.now(UTC):%Y-%m-%d}:"
    tail = ["What was not right:\n\n" + "\n".join(wrong)] if wrong else []
    return "\n\n".join([head, frame.to_markdown(index=False), *tail]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
