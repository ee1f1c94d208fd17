"""Methods and metrics that bring trouble, once."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from igbench.checks import InputError
from igbench.data.digits import digit_id, load_split
from igbench.rows import MethodSpec

SIGNALS = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}


@dataclass(frozen=True)
class Trouble:
    """A signal for the own process when a sample comes by; only the first time.

    Args:
        how: "kill", "int" or "term".
        sample: Identifier of the sample.
        marker: File that says that it has happened; "" for every time.
    """

    how: str
    sample: str
    marker: str = ""

    @property
    def spec(self):
        return MethodSpec("trouble", "", "global", signed=True)

    def __call__(self, batch):
        marker = Path(self.marker or "missing")
        if self.sample in batch.sample_ids and not marker.exists():
            if self.marker:
                marker.touch()
            os.kill(os.getpid(), SIGNALS[self.how])
        return batch.x * 0.5


def trouble(how: str, position: int, marker: Path | str = "") -> str:
    """The override that adds it to an experiment on digits, at a position of the samples."""
    sample = digit_id(load_split().held_out[position])
    return (
        f"+method.trouble={{_target_:tests.faults.Trouble,how:{how},sample:{sample},"
        f"marker:'{marker}'}}"
    )


def broken(config):
    """An experiment that cannot be built elsewhere."""
    raise InputError("no such file here; copy it")
