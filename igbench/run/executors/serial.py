"""Evaluate shards one after the other in this process."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from igbench.core.arguments import Checked
from igbench.errors import check_positive
from igbench.evaluation.experiment import Advance
from igbench.run import checkpoint
from igbench.run.executors.base import Work


@dataclass(frozen=True)
class Serial(Checked):
    """Evaluate shards one after the other in this process.

    Args:
        threads: Number of threads of torch; None for the default of torch.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the number of threads."""
        super().__post_init__()
        if self.threads is not None:
            check_positive("executor.threads", self.threads)

    def run(self, work: Work, advance: Advance) -> None:
        """Evaluate all shards, see `igbench.run.executors.base`."""
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            order = [i for shard in work.shards for i in range(shard.first, shard.last + 1)]
            with work.experiment.loaded(order) as experiment:
                for shard in work.shards:
                    checkpoint.execute(experiment, shard, work.folder, advance)
        finally:
            torch.set_num_threads(before)
