"""A disk that is full for files over some bytes; with room again the same command goes on."""

from __future__ import annotations

import random
import resource
from functools import partial
from pathlib import Path

from experiments.soak.kinds import common

NAME = "disk full for files over a random size"


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Run on a full disk, then on one with room, and compare."""
    results = common.copy(folder, rng.choice(["none", "half"]))
    most = round(10 ** rng.uniform(1, 4.5))
    limits = (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    process = common.run(results, partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits))
    found, what = process.result(), f"files of {most} bytes at most"
    if found not in (common.EQUAL, common.REFUSED):
        # What it wants to say may be more than the disk takes of its log.
        text = process.log.read_text(errors="replace")
        if found != common.TRACEBACK or len(text.encode()) < most:
            return common.Outcome(found, what)
    outcome = common.finish(results, what)
    if outcome.result == common.EQUAL and (left := common.leftovers(results)):
        return common.Outcome(common.LEFT, f"{what}: {left[0].name}")
    return outcome
