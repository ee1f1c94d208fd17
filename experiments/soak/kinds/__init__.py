"""Kinds of attacks: each module has a NAME and `attempt(rng, folder) -> Outcome`.

To add a kind, write such a module and list it in `KINDS`.  `folder` is empty; beside it are
`whole`, the results of a run that nothing happened to, and `half`, those of one that was killed.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Protocol

from experiments.soak.kinds import damage, disks, kills, reports, strangers, twice
from experiments.soak.kinds.common import Outcome


class Kind(Protocol):
    """A module with a kind of attacks."""

    NAME: str

    def attempt(self, rng: random.Random, folder: Path) -> Outcome:
        """Attack once."""


KINDS: dict[str, Kind] = {
    "kills": kills,
    "damage": damage,
    "strangers": strangers,
    "twice": twice,
    "disks": disks,
    "reports": reports,
}
"""By the name on the command line."""
