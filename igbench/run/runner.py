"""What happens between a configuration and a finished run?  Plan, skip what is done, do, join.

A run that is stopped, in whatever way, leaves a folder `.<identity>.partial` with its finished
shards; the same configuration goes on from there.  A configuration that was finished is not run
again.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

from igbench import certify
from igbench.config import build
from igbench.errors import InputError
from igbench.evaluation import isolation, precision
from igbench.evaluation.experiment import Advance, Experiment
from igbench.records import store
from igbench.run import checkpoint, lock, provenance, reuse
from igbench.run.executors.base import Engine, Work
from igbench.run.executors.serial import Serial
from igbench.run.shards import Shard, foundation, identity, shards

log = logging.getLogger(__name__)

SETTINGS = ("model", "data", "method", "metric", "baseline")
"""Groups of the configuration that rows depend on, besides what the experiment says of itself."""


ANEW = "anew"
"""File beside the shards of a run that was asked for although there is a finished one."""


class Stopped(KeyboardInterrupt):
    """The user, or the system, asked to stop; the message says what is kept."""


@dataclass(frozen=True)
class Job:
    """A configuration with what it means.

    Attributes:
        config: Resolved configuration.
        experiment: What it describes.
        shards: Its pieces.
        home: Folder of all runs of this experiment.
    """

    config: Mapping[str, Any]
    experiment: Experiment
    shards: list[Shard]
    home: Path

    @cached_property
    def identity(self) -> str:
        """Hash of everything that decides the rows."""
        return identity(self.shards)

    @property
    def partial(self) -> Path:
        """Folder of what is done so far."""
        return self.home / f".{self.identity[:16]}.partial"

    @property
    def pieces(self) -> Path:
        """Folder of the finished shards."""
        return self.partial / "shards"

    @property
    def anew(self) -> bool:
        """Whether a run beside the finished ones was begun, and stopped."""
        return (self.partial / ANEW).is_file()

    def finished(self) -> Path | None:
        """The newest finished run of this configuration; None if a newer one was begun."""
        return None if self.anew else store.find(self.home, self.identity)

    @cached_property
    def precision(self) -> dict[str, Any]:
        """How perturbed inputs are evaluated and what it costs; measured once."""
        return precision.report(self.experiment)

    def engine(self) -> Engine:
        """The engine that the configuration asks for."""
        node = self.config.get("engine")
        engine: Engine = build.construct(node, "engine") if node else Serial()
        return engine


def job(config: Mapping[str, Any]) -> Job:
    """Build everything that a configuration describes; writes nothing.

    Raises:
        InputError: Anything in it that cannot be used.
    """
    experiment = build.experiment(config)
    settings = {name: config[name] for name in SETTINGS}
    home = Path(config["results_dir"]) / experiment.name
    return Job(config, experiment, shards(experiment, settings), home)


@dataclass(frozen=True)
class Outcome:
    """Where a run is.

    Attributes:
        folder: The run folder.
        page: Its report.
        again: Whether it had been finished before.
    """

    folder: Path
    page: Path
    again: bool


def finish(
    job: Job,
    *,
    command: str = "",
    overwrite: bool = False,
    watch: Callable[[int], AbstractContextManager[Advance]] | None = None,
    make: Callable[[Mapping[str, Any]], Experiment] = build.experiment,
) -> Outcome:
    """The finished run of a job: found, or made from what is left to do.

    Args:
        job: What to run.
        command: How to repeat it, for the record.
        overwrite: Run it anew, whatever there is; the earlier run stays beside it.
        watch: Given the number of pieces of work, a context that is told of each.
        make: Builds the experiment from the configuration, in other processes.

    Raises:
        InputError: Another process is at it, or the results cannot be written.
        Stopped: Ctrl-C, or a request of the system to end; what is done is kept.
    """
    if not overwrite and (folder := job.finished()):
        _tidy(job)
        return _found(folder)
    engine = job.engine()
    store.writable(job.home)
    started, clock = datetime.now(UTC), time.perf_counter()
    with _kept(job, overwrite), lock.held(job.partial):
        if not overwrite and (folder := job.finished()):  # by another process, just now
            shutil.rmtree(job.partial, ignore_errors=True)
            return _found(folder)
        left = _prepare(job, overwrite)
        earlier = checkpoint.seconds(job.pieces, job.shards)
        _work(job, engine, left, watch, make)
        run_id = store.next_id(job.home, started)
        whole = checkpoint.joined(job.pieces, job.shards, run_id, list(job.experiment.methods))
        took = time.perf_counter() - clock + earlier
        run = provenance.make_run(
            job.experiment,
            {**job.config, "command": command},
            whole,
            run_id=run_id,
            created=started,
            seconds=took,
            key=job.identity,
            engine={
                "name": repr(engine),
                "shards": len(job.shards),
                "found": len(job.shards) - len(left),
            },
            reuse=reuse.passport(job.shards, whole.curves),
            certificates=certify.on_record(job.experiment.metrics),
            precision=job.precision,
        )
        folder = store.write(
            job.home / run_id, run, whole.rows, whole.points, whole.maps, under=job.partial
        )
        del whole  # it is on disk; the report needs the room
        pa.default_memory_pool().release_unused()
        shutil.rmtree(job.partial, ignore_errors=True)
    return replace(_found(folder), again=False)


def _prepare(job: Job, overwrite: bool) -> list[Shard]:
    """What is left to do, once all that other runs have is there; no half-written file stays."""
    if overwrite:
        shutil.rmtree(job.pieces, ignore_errors=True)
        (job.partial / ANEW).touch()
    for leftover in job.pieces.glob("*.tmp"):
        leftover.unlink(missing_ok=True)
    for leftover in job.partial.glob(".*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    left = checkpoint.missing(job.pieces, job.shards)
    if job.anew or not left:
        return left
    reuse.adopt(job.home, job.pieces, foundation(job.shards), left)
    return checkpoint.missing(job.pieces, left)


def _tidy(job: Job) -> None:
    """Remove what a process left that was killed after its run was written."""
    if job.partial.exists():
        with suppress(InputError), lock.held(job.partial):
            shutil.rmtree(job.partial, ignore_errors=True)


def _found(folder: Path) -> Outcome:
    """A run with its report, which is drawn unless it is there."""
    page, scores = folder / "report.html", folder / "tables" / "scores.md"
    if not (page.is_file() and scores.is_file()):
        from igbench import report

        draw = f"igbench report {folder}"
        try:
            with _asked_politely():
                page = report.write_report(store.read(folder))
        except InputError:
            raise
        except KeyboardInterrupt as stop:
            raise Stopped(
                f"stopped; the run is kept in {folder}; draw its report with: {draw}"
            ) from stop
        except Exception as error:
            raise InputError(
                f"the report cannot be drawn ({isolation.describe(error)}); the run is kept in "
                f"{folder}; draw its report later with: {draw}"
            ) from error
    return Outcome(folder, page, again=True)


def _work(
    job: Job,
    engine: Engine,
    left: Sequence[Shard],
    watch: Callable[[int], AbstractContextManager[Advance]] | None,
    make: Callable[[Mapping[str, Any]], Experiment],
) -> None:
    if not left:
        return
    e = job.experiment
    pieces = sum(shard.part_of(e).pieces() for shard in left)
    # Others take the batch size and the device from here, so that everyone cuts batches alike.
    config = {**job.config, "batch_size": e.rows, "device": e.device.type}
    quiet: AbstractContextManager[Advance] = nullcontext(lambda text: None)
    with quiet if watch is None else watch(pieces) as advance:
        engine.run(Work(e, make, config, left, job.pieces), advance)


@contextmanager
def _kept(job: Job, overwrite: bool) -> Iterator[None]:
    """Turn a request to stop into `Stopped`, and leave no empty folder behind."""
    try:
        with _asked_politely():
            yield
    except KeyboardInterrupt as stop:
        done = checkpoint.count(job.pieces, job.shards)
        kept = (
            f"{done} of {len(job.shards)} shards are kept; repeat the command "
            f"{'without overwrite=true ' if overwrite else ''}to go on"
            if done
            else "nothing was finished yet"
        )
        raise Stopped(f"stopped; {kept}.") from stop
    finally:
        if not checkpoint.count(job.pieces, job.shards) and not (job.partial / lock.NAME).exists():
            shutil.rmtree(job.partial, ignore_errors=True)


@contextmanager
def _asked_politely() -> Iterator[None]:
    """Treat a request of the system to end (SIGTERM) like Ctrl-C, where signals can be caught."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
