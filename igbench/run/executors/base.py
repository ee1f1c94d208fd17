"""The protocol of executors, which evaluate shards; all of them give the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from igbench.evaluation.experiment import Advance, Experiment
from igbench.run.shards import Shard

Make = Callable[[Mapping[str, Any]], Experiment]
"""Builds an experiment from a plain configuration; a module-level function, to be pickled."""


@dataclass(frozen=True)
class Work:
    """The shards to evaluate, and how to build their experiment.

    Attributes:
        experiment: The experiment in this process.
        make: Builds the same experiment in another process.
        config: Argument of `make`.
        shards: The shards to evaluate.
        folder: Where shards are saved, see `igbench.run.checkpoint`.
    """

    experiment: Experiment
    make: Make
    config: Mapping[str, Any]
    shards: Sequence[Shard]
    folder: Path


class Executor(Protocol):
    """Evaluates shards."""

    def run(self, work: Work, advance: Advance) -> None:
        """Evaluate all shards; each is saved as soon as it is finished.

        Args:
            work: The shards.
            advance: Called after each progress step, as by `igbench.evaluation.loop.run`.
        """
        ...
