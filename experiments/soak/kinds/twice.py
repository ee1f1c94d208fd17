"""Equal commands at once, some of them killed: one does the work, and the others are refused."""

from __future__ import annotations

import random
import time
from pathlib import Path

from experiments.soak.kinds import common

NAME = "two or three equal commands at once, one of them killed in every third attempt"


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Start some at once, and compare the run when all are done."""
    start = rng.choice(["none", "half", "half", "whole"])
    results = common.copy(folder, start)
    for page in results.rglob("report.html"):  # equal commands draw it at once
        page.unlink()
    processes, killed = [], rng.random() < 1 / 3
    for _ in range(rng.randint(2, 3)):
        processes.append(common.run(results))
        time.sleep(rng.choice([0, rng.uniform(0, 0.3)]))
    what = f"{len(processes)} from {start}{', one killed' if killed else ''}"
    if killed:
        process = processes.pop(rng.randrange(len(processes)))
        if process.wait(rng.uniform(0, 0.6)) is None:
            process.kill()
    found = [process.result() for process in processes]
    for result in found:
        if result not in (common.EQUAL, common.REFUSED):
            return common.Outcome(result, what)
    if common.EQUAL not in found and not killed:
        return common.Outcome(common.REFUSED, f"{what}: nobody went on")
    outcome = common.finish(results, what)
    if outcome.result == common.EQUAL and (left := common.leftovers(results)):
        return common.Outcome(common.LEFT, f"{what}: {left[0].name}")
    return outcome
