"""One report that is drawn by several commands at once, some of them killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

from experiments.soak.kinds import common
from igbench import report
from igbench.report import write_report

NAME = "one report drawn by two commands at once, one of them killed in every third attempt"
RARE = True
"""Drawing costs more than these runs."""


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Draw it twice at once, then once more, and look for what is missing."""
    (run,) = common.copy(folder, "whole").glob("*/2*")
    words, killed = ["report", str(run)], rng.random() < 1 / 3
    first = common.start(words, folder / "0.log", drawn)
    time.sleep(rng.uniform(0, 1))
    second = common.start(words, folder / "1.log", drawn)
    what = f"two{', one killed' if killed else ''}"
    if killed and first.wait(rng.uniform(0, 1)) is None:
        first.kill()
    found = [process.result() for process in ((second,) if killed else (first, second))]
    for result in found:
        if result not in (common.EQUAL, common.REFUSED):
            return common.Outcome(result, what)
    if killed:
        found.append(common.start(words, folder / "2.log", drawn).result())
    if common.EQUAL not in found:
        return common.Outcome(common.REFUSED, f"{what}: nobody went on")
    whole = "</html>" in (run / "report.html").read_text(encoding="utf-8")
    if not whole or common.leftovers(run):
        return common.Outcome(common.LEFT, what)
    return common.Outcome(common.compared(folder / "results", common.EQUAL), what)


def drawn() -> None:
    """Draw reports as they are."""
    report.write_report = write_report
