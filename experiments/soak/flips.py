"""Flip random bits in the files of a finished and of a stopped run, and count what is accepted.

Each flip is made, everything that reads the run is asked, and the flip is taken back.  For a
finished run that is: reading all of it (`igbench report`, `compare`), its summary (`igbench
table`), the search for a finished run with the same identity, and the reuse of its rows.  For a
stopped one: the search for saved shards, and the joining of all of them.
Writes flips.md beside this file.

    python experiments/soak/flips.py [--flips 2000] [--seed 0]
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from igbench.__main__ import main as igbench
from igbench.config import compose
from igbench.errors import InputError
from igbench.records import store
from igbench.run import checkpoint, reuse, runner

sys.path.append(str(Path(__file__).parent))
from run import WORDS, same

HERE = Path(__file__).parent
SAVED = 2
"""Shards that the stopped run has."""
KINDS = {
    "run.json": "record",
    "scores.parquet": "rows",
    "curves.parquet": "curves",
    "summary.csv": "summary",
}


def main() -> None:
    """Make both runs, flip, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    bits, start = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        words = [*WORDS, f"results_dir={name}"]
        job = runner.job(compose.compose(words))
        shard_dir = Path(name) / "shards"
        for shard in job.shards[:SAVED]:
            checkpoint.execute(job.experiment, shard, shard_dir)
        if igbench(words):
            raise RuntimeError("the run failed")
        (folder,) = store.runs(job.home)
        tables = [
            flipped(finished_files(folder), options.flips // 2, bits, finished(folder, job)),
            flipped(list(shard_dir.iterdir()), options.flips // 2, bits, stopped(shard_dir, job)),
        ]
    took = time.perf_counter() - start
    text = "\n\n".join(
        f"{title}:\n\n{frame(counts).to_markdown(index=False)}"
        for title, counts in zip(("A finished run", "A stopped run"), tables, strict=True)
    )
    head = f"{options.flips} flips, seed {options.seed}, {took:.0f} s"
    (HERE / "flips.md").write_text(f"{head}. {text}\n", encoding="utf-8")


def finished_files(folder: Path) -> list[Path]:
    """What belongs to the numbers; the report can be drawn again and is read by nothing."""
    return [*(folder / name for name in KINDS), *folder.glob("attributions/*")]


Outcome = str
Read = Callable[[], Iterator[bool | None]]
"""Asks all readers: None if one refuses, else whether it finds what it found without the flip."""


def finished(folder: Path, job: runner.Job) -> Read:
    """The readers of a finished run."""
    whole, summary = store.read(folder), store.read_summary(folder)
    shared = reuse.FinishedRun(folder, whole.run).read()

    def rows() -> bool:
        found = list(store.runs_mentioning(job.home, job.identity))
        if not found:
            raise InputError("ignored")
        return same_results(reuse.FinishedRun(*found[0]).read(), shared)

    def search() -> bool:
        if job.finished() is None:
            raise InputError("ignored")
        return True

    return readers(
        lambda: same_run(store.read(folder), whole),
        lambda: store.read_summary(folder).equals(summary),
        search,
        rows,
    )


def stopped(shard_dir: Path, job: runner.Job) -> Read:
    """The readers of saved shards."""
    methods = list(job.experiment.methods)
    saved = job.shards[:SAVED]
    whole = checkpoint.join(shard_dir, saved, "", methods)

    def search() -> bool:
        manifests = checkpoint.index(shard_dir)
        found = [checkpoint.find(shard, manifests) for shard in saved]
        if any(damaged for _, damaged in found):
            raise InputError("damaged")
        return all(good for good, _ in found)

    return readers(
        search,
        lambda: same_results(checkpoint.join(shard_dir, saved, "", methods), whole),
    )


def readers(*reads: Callable[[], bool]) -> Read:
    """Ask one after the other."""

    def ask() -> Iterator[bool | None]:
        for read in reads:
            try:
                yield read()
            except InputError:
                yield None

    return ask


def same_run(a: Any, b: Any) -> bool:
    """Equal in every field of the record and every number."""
    return bool(a.run == b.run) and same(a, b)


def same_results(a: checkpoint.ShardResults, b: checkpoint.ShardResults) -> bool:
    """Equal in rows, curves, samples, costs and maps, as text, so that NaN equals NaN."""
    parts = [
        [r.rows.to_pylist(), r.points.to_pylist(), r.samples, r.stages, r.curves, r.seconds]
        for r in (a, b)
    ]
    maps = [{n: {s: v.tobytes() for s, v in m.items()} for n, m in r.maps.items()} for r in (a, b)]
    return repr(parts[0]) == repr(parts[1]) and maps[0] == maps[1]


def flipped(paths: list[Path], flips: int, bits: random.Random, ask: Read) -> Counter[Any]:
    """Count flips by kind of file and by the outcome."""
    counts: Counter[Any] = Counter()
    kinds: dict[str, list[Path]] = {}
    for path in sorted(paths):
        kinds.setdefault(kind(path), []).append(path)
    for number in range(flips):
        name = list(kinds)[number % len(kinds)]
        path = bits.choice(kinds[name])
        content = path.read_bytes()
        changed = bytearray(content)
        changed[bits.randrange(len(content))] ^= 1 << bits.randrange(8)
        path.write_bytes(changed)
        counts[name, outcome(list(ask()))] += 1
        path.write_bytes(content)
    if set(ask()) != {True}:
        raise RuntimeError("the files are not as they were")
    return counts


def outcome(answers: list[bool | None]) -> Outcome:
    """In a word, what all readers said."""
    if False in answers:
        return "accepted with other numbers"
    return "accepted, no effect" if None not in answers else "refused"


def kind(path: Path) -> str:
    """What a file holds."""
    if path.suffix == ".safetensors":
        return "maps"
    if path.suffix == ".json" and path.name != store.RUN_FILE:
        return "manifest"
    return KINDS.get(path.name, "curves" if ".curves." in path.name else "rows")


def frame(counts: Counter[Any]) -> pd.DataFrame:
    """A line for each kind of file."""
    columns = ("refused", "accepted, no effect", "accepted with other numbers")
    names = list(dict.fromkeys(name for name, _ in counts))
    return pd.DataFrame(
        {
            "file": name,
            "flips": sum(counts[name, column] for column in columns),
            **{column: counts[name, column] for column in columns},
        }
        for name in names
    )


if __name__ == "__main__":
    main()
