"""Metrics: one file each, and the same as plain functions."""

from igbench.metrics.functional import (
    completeness,
    deletion,
    infidelity,
    insertion,
    sensitivity_n,
    srg,
)

__all__ = ["completeness", "deletion", "infidelity", "insertion", "sensitivity_n", "srg"]
