"""Evaluate shards in parallel with Ray, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from igbench.core import memory
from igbench.core.arguments import Checked
from igbench.errors import InputError, check_positive
from igbench.evaluation.experiment import Advance
from igbench.run import checkpoint
from igbench.run.executors.base import Make, Work
from igbench.run.shards import Shard

log = logging.getLogger(__name__)

MISSING = "executor=ray needs Ray: pip install 'igbench[ray]', or use executor=serial."


class Worker:
    """A process that builds the experiment once and evaluates shards.

    Args:
        make: Builds the experiment.
        config: Argument of `make`.
        folder: Where shards are saved.
        weights: Hash of the weights in the driver.
        threads: Number of threads of torch.
        path: Where the driver finds modules; the user's own are beside its configuration.

    Raises:
        InputError: The weights differ from those of the driver.
    """

    def __init__(
        self,
        make: Make,
        config: Mapping[str, Any],
        folder: str,
        weights: str,
        threads: int,
        path: Sequence[str] = (),
    ) -> None:
        sys.path += [entry for entry in path if entry not in sys.path]
        torch.set_num_threads(threads)
        memory.keep_freed()
        self.experiment = make(config)
        self.folder = Path(folder)
        if self.experiment.model.weights_hash != weights:
            raise InputError(
                "a worker loaded other weights than the main process; give every machine the same "
                "file."
            )

    def run(self, shard: Shard) -> str:
        """Evaluate and save a shard; returns its key."""
        if self.experiment.data.sample_ids[shard.first : shard.last + 1] != shard.sample_ids:
            raise InputError(
                "a worker found other samples than the main process; give every machine the same "
                "data."
            )
        checkpoint.execute(self.experiment, shard, self.folder)
        return shard.key


@dataclass(frozen=True)
class Ray(Checked):
    """Evaluate shards in many processes, which must share the folder of results.

    A worker that dies, for lack of memory for example, is restarted and repeats its shard.  A shard
    that crashes its worker every time is skipped, and raises an error after all others.

    Args:
        workers: Number of processes; None for as many as the cluster has resources for.
        threads: Number of threads of torch in each.
        gpus_per_worker: Share of a GPU; None means 1 for experiments on CUDA, otherwise 0.
        address: Address of a running cluster; None starts one on this machine, unless RAY_ADDRESS
            is set.
        restarts: How often a worker is restarted.
    """

    workers: int | None = None
    threads: int = 1
    gpus_per_worker: float | None = None
    address: str | None = None
    restarts: int = 3

    def __post_init__(self) -> None:
        """Check the numbers of workers and threads."""
        super().__post_init__()
        for name in ("workers", "threads"):
            if getattr(self, name) is not None:
                check_positive(f"executor.{name}", getattr(self, name))

    def run(self, work: Work, advance: Advance) -> None:
        """Evaluate all shards, see `igbench.run.executors.base`."""
        if work.shards:
            with self.started(work) as evaluate:
                evaluate(advance)

    @contextmanager
    def started(self, work: Work) -> Iterator[Callable[[Advance], None]]:
        """Start the workers, which build the experiment while this process does something else.

        Args:
            work: The shards, at least one.

        Yields:
            Evaluates all shards, as `run` does.
        """
        on_gpu = work.experiment.device.type == "cuda"
        gpus = float(on_gpu) if self.gpus_per_worker is None else self.gpus_per_worker
        with self._cluster() as ray:
            workers = self.workers or _room(ray.cluster_resources(), self.threads, gpus)
            make = ray.remote(
                num_cpus=self.threads,
                num_gpus=gpus,
                max_restarts=self.restarts,
                max_task_retries=self.restarts,
            )(Worker)
            arguments = (
                work.make,
                dict(work.config),
                str(work.folder.absolute()),
                work.experiment.model.weights_hash,
                self.threads,
                [entry for entry in sys.path if entry],
            )
            if message := _idle(workers, len(work.shards)):
                log.warning(message)
            pool = _Pool(ray, lambda: make.remote(*arguments), work.shards, workers)
            yield partial(self._evaluate, work, pool)

    def _evaluate(self, work: Work, pool: _Pool, advance: Advance) -> None:
        _import_ahead()
        for shard in pool.run():
            for stage, samples in shard.progress_steps(work.experiment).items():
                advance(stage, samples)
        if pool.lost:
            first = pool.lost[0]
            raise InputError(
                f"{len(pool.lost)} shards crashed their workers {self.restarts + 1} times, the "
                f"first with samples {first.first} to {first.last}, probably for lack of "
                "memory. All others are saved; use fewer workers, or batch_size=1."
            )

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """A connection to Ray that is closed with the run if it was opened here."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError(MISSING) from error
        mine = not ray.is_initialized()
        if mine:
            address = self.address or os.environ.get("RAY_ADDRESS")
            local: dict[str, Any] = {"include_dashboard": False}
            if self.workers is not None:
                local["num_cpus"] = max(self.workers * self.threads, 1)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        try:
            yield ray
        finally:
            if mine:
                ray.shutdown()


def _idle(workers: int, shards: int) -> str:
    """What to say of workers that get no shard; empty if all get one."""
    if workers <= shards:
        return ""
    return (
        f"{shards} shards keep {shards} of {workers} workers busy; a smaller shard_size makes more "
        "of them, and executor=serial needs no time to start."
    )


def _import_ahead() -> threading.Thread:
    """Import what the report draws with while workers compute and this process waits for them."""

    def work() -> None:
        with suppress(Exception):  # the report says what is wrong with it
            from igbench.report import drawing  # noqa: F401  with what it draws with

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _room(resources: Mapping[str, float], threads: int, gpus: float) -> int:
    """Number of workers that fit into a cluster."""
    fit = int(resources.get("CPU", 1) // threads)
    if gpus > 0:
        fit = min(fit, int(resources.get("GPU", 0) // gpus))
    if fit < 1:
        raise InputError(
            f"the cluster has no room for a worker with {threads} threads and {gpus:g} GPUs; lower "
            "executor.threads or executor.gpus_per_worker."
        )
    return fit


class _Pool:
    """Starts workers with a shard each, gives idle ones another, and replaces those that died."""

    def __init__(self, ray: Any, start: Any, shards: Sequence[Shard], workers: int) -> None:
        self.ray, self.start = ray, start
        self.lost: list[Shard] = []
        self.waiting = list(reversed(shards))
        self.pending: dict[Any, tuple[Any, Shard]] = {}
        for _ in range(min(workers, len(shards))):
            self._assign(start())

    def _assign(self, worker: Any) -> None:
        shard = self.waiting.pop()
        self.pending[worker.run.remote(shard)] = (worker, shard)

    def run(self) -> Iterator[Shard]:
        """Yield each shard when it is finished."""
        waiting, pending = self.waiting, self.pending
        while pending:
            (ready, *_), _ = self.ray.wait(list(pending), num_returns=1)
            worker, shard = pending.pop(ready)
            try:
                self.ray.get(ready)
                yield shard
            except self.ray.exceptions.RayTaskError as error:
                cause = getattr(error, "cause", None)
                raise (cause if isinstance(cause, InputError) else error) from error
            except self.ray.exceptions.RayActorError as error:
                self._died(error, shard)
                worker = self.start() if waiting else None
            if waiting:
                self._assign(worker)

    def _died(self, error: Exception, shard: Shard) -> None:
        """Record the shard of a dead worker; raise if the worker could not be built."""
        init = getattr(error, "actor_init_failed", False)
        if init:
            lines = [line for line in str(error).splitlines() if "InputError: " in line]
            raise InputError(
                lines[-1].partition("InputError: ")[2] if lines else f"no worker can start: {error}"
            )
        log.warning("samples %d to %d crashed their worker", shard.first, shard.last)
        self.lost.append(shard)
