"""Run a configuration: build it, evaluate its missing shards, join them and write the report.

An interrupted run leaves a folder `.<identity>.partial` with its finished shards, and the same
configuration resumes from there.  A configuration that is finished is not run again.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

from igbench import certify
from igbench.config import build
from igbench.errors import InputError
from igbench.evaluation import isolation, precision
from igbench.evaluation.experiment import REPORT, Advance, Experiment
from igbench.files import refuse_link, refuse_links
from igbench.records import store
from igbench.run import checkpoint, lock, provenance, reuse, rows
from igbench.run.executors.base import Executor, Work
from igbench.run.executors.serial import Serial
from igbench.run.shards import Shard, foundation, identity, shards

log = logging.getLogger(__name__)

SETTINGS = ("model", "data", "method", "metric", "baseline")
"""Groups of the configuration that rows depend on, besides the attributes of the experiment."""

RESTARTED = "restarted"
"""File beside the shards of a run that was started with overwrite=true."""


class Stopped(KeyboardInterrupt):
    """An interrupt by the user or the system; the message says what is saved."""


@dataclass(frozen=True)
class Job:
    """A configuration with its experiment, shards and folders.

    Attributes:
        config: The resolved configuration.
        experiment: The experiment that it describes.
        shards: The shards of the experiment.
        home: Folder of all runs of this experiment.
    """

    config: Mapping[str, Any]
    experiment: Experiment
    shards: list[Shard]
    home: Path

    @cached_property
    def identity(self) -> str:
        """Hash of everything that decides the rows, see `igbench.run.shards`."""
        return identity(self.shards)

    @property
    def partial(self) -> Path:
        """Folder of the unfinished run."""
        return self.home / f".{self.identity[:16]}.partial"

    @property
    def shard_dir(self) -> Path:
        """Folder of the finished shards."""
        return self.partial / "shards"

    @property
    def restarted(self) -> bool:
        """Whether a run with overwrite=true was started and interrupted."""
        return (self.partial / RESTARTED).is_file()

    def finished(self) -> Path | None:
        """The newest finished run of this configuration; None if a newer one was started."""
        return None if self.restarted else store.find(self.home, self.identity)

    @cached_property
    def precision(self) -> dict[str, Any]:
        """Precision and error of forwards of perturbed inputs; measured once."""
        return precision.report(self.experiment)

    @cached_property
    def per_row(self) -> tuple[float, ...]:
        """Seconds of a row evaluated, and of one differentiated, if they were measured before."""
        return rows.per_row(self.config, self.experiment)

    def executor(self) -> Executor:
        """The configured executor, or the serial one."""
        return executor_of(self.config)


def executor_of(config: Mapping[str, Any]) -> Executor:
    """The configured executor, or the serial one.

    Raises:
        InputError: What is configured cannot run anything.
    """
    node = config.get("executor")
    executor: Executor = build.construct(node, "executor") if node else Serial()
    if not callable(getattr(executor, "run", None)):
        raise InputError(f"executor: {node} makes {type(executor).__name__}, which has no run().")
    return executor


def job(config: Mapping[str, Any]) -> Job:
    """Build the job of a resolved configuration; writes nothing.

    Raises:
        InputError: A value of the configuration cannot be used.
    """
    executor_of(config)
    remembered = rows.remembered()
    experiment = build.experiment(config)
    settings = {name: config[name] for name in SETTINGS}
    home = Path(config["results_dir"]) / experiment.name

    def used(batch_size: int) -> bool:
        return reuse.any_rows(home, shards(replace(experiment, batch_size=batch_size), settings))

    most = rows.settled(config, experiment, remembered, used)
    if most != experiment.batch_size:
        experiment = replace(experiment, batch_size=most)
    return Job(config, experiment, shards(experiment, settings), home)


@dataclass(frozen=True)
class Outcome:
    """The location of a finished run.

    Attributes:
        folder: The folder of the run.
        page: Its report.
        existing: Whether it was finished before this call.
    """

    folder: Path
    page: Path
    existing: bool


def finish(
    job: Job,
    *,
    command: str = "",
    overwrite: bool = False,
    watch: Callable[[Mapping[str, int]], AbstractContextManager[Advance]] | None = None,
    make: Callable[[Mapping[str, Any]], Experiment] = build.experiment,
) -> Outcome:
    """Return the finished run of a job, after evaluating what is missing.

    Args:
        job: The job to run.
        command: The command line, for the record.
        overwrite: Run it again from the start; an earlier run stays beside it.
        watch: Maps the number of samples in each stage to a context, whose value is called after
            each progress step.
        make: Builds the experiment from the configuration, in other processes.

    Raises:
        InputError: Another process works on the same run, or the results cannot be written.
        Stopped: Ctrl-C or SIGTERM; finished shards are saved.
    """
    if not overwrite and (folder := job.finished()):
        _tidy(job)
        return _found(folder)
    executor = job.executor()
    store.writable(job.home)
    started, clock = datetime.now(UTC), time.perf_counter()
    with ExitStack() as progress:
        with _interruptible(job, overwrite), _locked(job):
            if not overwrite and (folder := job.finished()):  # by another process, just now
                lock.empty(job.partial)
                return _found(folder)
            left = _prepare(job, overwrite)
            earlier = checkpoint.seconds(job.shard_dir, job.shards)
            with _started(job, executor, left, make) as evaluate:
                advance = progress.enter_context(_watched(job, left, watch))
                evaluate(advance)
            run_id = store.next_id(job.home, started)
            whole = checkpoint.join(job.shard_dir, job.shards, run_id, list(job.experiment.methods))
            took = time.perf_counter() - clock + earlier
            run = provenance.make_run(
                job.experiment,
                {**job.config, "command": command},
                whole.rows,
                whole.samples,
                whole.stages,
                run_id=run_id,
                created=started,
                seconds=took,
                key=job.identity,
                executor={
                    "name": repr(executor),
                    "shards": len(job.shards),
                    "found": len(job.shards) - len(left),
                },
                reuse=reuse.cache_keys(job.shards, whole.curves),
                certificates=certify.certify_run(job.experiment.metrics),
                precision=job.precision,
            )
            folder = store.write(
                job.home / run_id, run, whole.rows, whole.points, whole.maps, under=job.partial
            )
            if len(left) == len(job.shards) and executor == Serial():  # all of it here and now
                rows.note_speed(job.config, job.experiment, whole.stages)
            del whole  # it is on disk; the report needs the room
            pa.default_memory_pool().release_unused()
            lock.empty(job.partial)
        outcome = replace(_found(folder), existing=False)
        advance(REPORT, 1)
        return outcome


def _prepare(job: Job, overwrite: bool) -> list[Shard]:
    """Remove half-written files, import what other runs have, and return the missing shards."""
    if overwrite:
        shutil.rmtree(job.shard_dir, ignore_errors=True)
        (job.partial / RESTARTED).touch()
    for leftover in job.shard_dir.glob("*.tmp"):
        leftover.unlink(missing_ok=True)
    for leftover in job.partial.glob(".*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    left = checkpoint.missing(job.shard_dir, job.shards)
    if job.restarted or not left:
        return left
    reuse.import_from(job.home, job.shard_dir, foundation(job.shards), left)
    return checkpoint.missing(job.shard_dir, left)


@contextmanager
def _locked(job: Job) -> Iterator[None]:
    """Hold the lock of a job, and leave no folder behind in which no shard is finished."""
    refuse_link(job.partial)
    refuse_links(job.partial)
    try:
        with lock.held(job.partial):
            try:
                yield
            finally:
                if not checkpoint.count(job.shard_dir, job.shards):
                    lock.empty(job.partial)
    finally:
        with suppress(OSError):  # not empty, or gone
            job.partial.rmdir()


def _tidy(job: Job) -> None:
    """Remove the shards of a process that was killed after its run was written."""
    if job.partial.exists():
        with suppress(InputError), _locked(job):
            lock.empty(job.partial)


def _found(folder: Path) -> Outcome:
    """The outcome of a finished run; writes its report if there is none."""
    if (outcome := _with_report(folder)) is not None:
        return outcome
    from igbench import report

    command = f"igbench report {folder}"
    try:
        with _sigterm_as_interrupt(), lock.held(folder, "the report of this run"):
            outcome = _with_report(folder)  # another process may have written it just now
            if outcome is None:
                page = report.write_report(store.read(folder))
                outcome = Outcome(folder, page, existing=True)
    except InputError:
        raise
    except KeyboardInterrupt as stop:
        raise Stopped(
            f"Interrupted. The run is saved in {folder}; write its report with: {command}"
        ) from stop
    except Exception as error:
        raise InputError(
            f"the report cannot be written ({isolation.describe(error)}); the run is saved in "
            f"{folder}; write its report later with: {command}"
        ) from error
    return outcome


def _with_report(folder: Path) -> Outcome | None:
    """The outcome of a finished run; None if its report is missing or being written."""
    page = folder / "report.html"
    try:
        (folder / "tables" / "scores.md").read_text(encoding="utf-8")  # gone while others draw
    except (OSError, UnicodeDecodeError):
        return None
    return Outcome(folder, page, existing=True) if page.is_file() else None


@contextmanager
def _started(
    job: Job,
    executor: Executor,
    left: Sequence[Shard],
    make: Callable[[Mapping[str, Any]], Experiment],
) -> Iterator[Callable[[Advance], None]]:
    """What evaluates the shards that are left; processes start with the context, if there are any.

    They import and build while this one forecasts.
    """
    if not left:
        yield lambda advance: None
        return
    e = job.experiment
    work = Work(e, make, build.handed_on(job.config, e), left, job.shard_dir)
    started = getattr(executor, "started", None)  # executors of users may have `run` alone
    if started is None:
        yield partial(executor.run, work)
        return
    with started(work) as evaluate:
        yield evaluate


def _watched(
    job: Job,
    left: Sequence[Shard],
    watch: Callable[[Mapping[str, int]], AbstractContextManager[Advance]] | None,
) -> AbstractContextManager[Advance]:
    """The progress of the shards that are left, and of the report."""
    if watch is None or not left:
        return nullcontext(lambda stage, samples: None)
    work: Counter[str] = Counter()
    for shard in left:
        work.update(shard.progress_steps(job.experiment))
    return watch({**work, REPORT: 1})


@contextmanager
def _interruptible(job: Job, overwrite: bool) -> Iterator[None]:
    """Turn an interrupt into `Stopped`."""
    try:
        with _sigterm_as_interrupt():
            yield
    except KeyboardInterrupt as stop:
        done = checkpoint.count(job.shard_dir, job.shards)
        saved = (
            f"{done} of {len(job.shards)} shards are saved. Run the same command again "
            f"{'without overwrite=true ' if overwrite else ''}to resume."
            if done
            else "No shard was finished."
        )
        raise Stopped(f"Interrupted. {saved}") from stop


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, where signals can be caught."""

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
