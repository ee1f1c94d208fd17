"""Executors: who works shards out, one after the other or in many processes."""

from igbench.run.executors.ray import Ray
from igbench.run.executors.serial import Serial

__all__ = ["Ray", "Serial"]
