"""Executors of shards: `Serial` in this process, `Ray` in many processes."""

from igbench.run.executors.ray import Ray
from igbench.run.executors.serial import Serial

__all__ = ["Ray", "Serial"]
