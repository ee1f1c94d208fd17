"""Who works shards out?  Engines: they share one protocol, and give the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from igbench.evaluation.experiment import Advance, Experiment
from igbench.run.shards import Shard

Make = Callable[[Mapping[str, Any]], Experiment]
"""Builds an experiment from a plain configuration; a function of a module, so that its name can
travel."""


@dataclass(frozen=True)
class Work:
    """What an engine is to do.

    Attributes:
        experiment: As the driver built it.
        make: Builds the same experiment elsewhere.
        config: Argument of `make`.
        shards: What is to be done.
        folder: Where shards are kept, see `igbench.run.checkpoint`.
    """

    experiment: Experiment
    make: Make
    config: Mapping[str, Any]
    shards: Sequence[Shard]
    folder: Path


class Engine(Protocol):
    """Something that works shards out."""

    def run(self, work: Work, advance: Advance) -> None:
        """Do all shards; each is kept as soon as it is done.

        Args:
            work: What to do.
            advance: Told of each piece of work, as by `igbench.evaluation.loop.run`.
        """
        ...
