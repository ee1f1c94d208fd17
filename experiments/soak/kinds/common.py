"""The tiny run that is attacked, the commands on it, and what came of them."""

from __future__ import annotations

import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.soak.run import only_run, same
from igbench.errors import InputError
from igbench.records import store
from igbench.report.table import TableOptions
from igbench.schema import COSTS, Records

SHARDS = 4
WORDS = (
    "experiment=digits_resnet",
    f"limit={SHARDS}",
    "shard_size=1",
    "convergence=0",
    "keep_maps=1",
    "batch_size=8",
    "method=[ig,random]",
    "method.ig.n_steps=4",
    "metric=[completeness,deletion]",
    "metric.deletion.step=8",
)
EQUAL, REFUSED, WRONG = "equal", "refused in one line", "wrong numbers"
TRACEBACK, HUNG, FOLLOWED, LEFT = "traceback", "no end", "strangers' files changed", "left behind"
UNNOTICED = "damage not noticed"
RESULTS = (EQUAL, REFUSED, WRONG, UNNOTICED, TRACEBACK, HUNG, FOLLOWED, LEFT)
"""What may come of an attempt: the first two are right."""
PATIENCE = 120.0
"""Seconds after which a command has no end."""
_DEAD = -signal.SIGKILL


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        result: One of `RESULTS`.
        what: What was done, to do it again.
    """

    result: str
    what: str


@dataclass(frozen=True)
class Process:
    """A command at work in a fork of this process.

    Attributes:
        pid: Its number.
        log: What it writes to stderr.
    """

    pid: int
    log: Path

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Its exit status, negative after a signal; None if it is at work still."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                return None
            time.sleep(0.003)

    def kill(self) -> None:
        """End it by SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def result(self, expected: Sequence[int] = (0, 2, 3)) -> str:
        """`EQUAL` where it ended with status 0, `REFUSED` with one line, or what went wrong."""
        status = self.wait()
        if status is None:
            self.kill()
            return HUNG
        lines = [s for s in self.log.read_text(errors="replace").splitlines() if s]
        if status not in expected or any(s.startswith("Traceback") for s in lines):
            return TRACEBACK
        said = [s for s in lines if s.startswith("igbench: ")]
        if status == 2 and len(said) != 1:
            return TRACEBACK
        return REFUSED if status else EQUAL


def start(words: Sequence[str], log: Path, prepare: Callable[[], None] = lambda: None) -> Process:
    """Run a command of igbench in a fork, in which everything is imported already."""
    pid = os.fork()
    if pid:
        return Process(pid, log)
    status = 70
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)
        prepare()
        from igbench.__main__ import main

        status = main(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def run(results: Path, prepare: Callable[[], None] = lambda: None) -> Process:
    """Start the run, or let it go on."""
    number = len(list(results.parent.glob("*.log")))
    log = results.parent / f"{number}.log"
    return start([*WORDS, f"results_dir={results}"], log, prepare)


def prepare(place: Path) -> None:
    """Make what attempts start from: `whole`, a finished run, and `half`, one that was killed.

    Raises:
        RuntimeError: That failed.
    """
    for name in ("whole", "half"):
        (place / f"{name}s").mkdir()
        results = place / f"{name}s" / name
        process = run(results)
        if name == "half":
            while len(list(results.glob("*/.*.partial/shards/*.json"))) < SHARDS // 2:
                time.sleep(0.002)
            process.kill()
        elif process.result() != EQUAL:
            raise RuntimeError(process.log.read_text())
        results.rename(place / name)


def copy(folder: Path, name: str) -> Path:
    """The results that an attempt in a folder starts from: "whole", "half" or "none"."""
    results = folder / "results"
    if name != "none":
        shutil.copytree(folder.parent / name, results)
    return results


def finish(results: Path, what: str) -> Outcome:
    """Let the run finish undisturbed, and compare all that can be read with the reference."""
    found = run(results).result()
    if found not in (EQUAL, REFUSED):
        return Outcome(found, what)
    return Outcome(compared(results, found), what)


def compared(results: Path, found: str) -> str:
    """`WRONG` if any run can be read and is not the reference.

    `UNNOTICED` if the command was content with a run that cannot be read; `found` otherwise.
    """
    reference = only_run(results.parent.parent / "whole")
    (known,) = results.parent.parent.glob("whole/*/2*")
    means = _untimed(store.read_summary(known))
    home = results / "digits_resnet"
    equal = 0
    for folder in store.runs(home) if home.is_dir() else []:
        try:
            mine, summary = store.read(folder), store.read_summary(folder)
        except InputError:
            continue
        if not same(mine, reference) or not _untimed(summary).equals(means):
            return WRONG
        equal += 1
    return found if equal or found != EQUAL else UNNOTICED


def _untimed(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[~summary["metric"].isin(COSTS)].reset_index(drop=True)


def leftovers(results: Path) -> list[Path]:
    """Temporary files, locks and folders of shards."""
    return [
        p
        for p in results.rglob("*")
        if p.name.startswith((".", "lock.json")) or p.name.endswith(".tmp")
    ]


def sketch(records: Records, options: TableOptions | None = None, *, paper: bool = False) -> Path:
    """A report that costs nothing, for runs whose numbers are asked for."""
    folder = Path(records.folder)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables" / "scores.md").write_text("scores\n")
    (folder / "report.html").write_text("a report")
    return folder / "report.html"
