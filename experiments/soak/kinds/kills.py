"""SIGKILL at random moments; the same command goes on, and the run is as if undisturbed."""

from __future__ import annotations

import random
from pathlib import Path

from experiments.soak.kinds import common

NAME = "killed at a random moment, up to three times"
LONGEST = 1.2
"""Seconds; many runs get away before."""


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Kill a run, let it finish, and compare it."""
    results = common.copy(folder, rng.choice(["none", "none", "half"]))
    moments = [rng.uniform(0, LONGEST) for _ in range(rng.randint(1, 3))]
    for moment in moments:
        process = common.run(results)
        if process.wait(moment) is None:
            process.kill()
    outcome = common.finish(results, f"killed after {moments} s")
    if outcome.result == common.EQUAL and (left := common.leftovers(results)):
        return common.Outcome(common.LEFT, f"{outcome.what}: {left[0].name}")
    return outcome
