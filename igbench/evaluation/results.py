"""`Results`: rows, curve points, maps and costs of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from igbench.schema import Point, Row


@dataclass
class Results:
    """What a run found, before it is written down.

    Attributes:
        rows: Scores and costs.
        points: Points of curves.
        maps: Name to sample to map.
        samples: What is known of each sample.
        stages: Model rows and seconds by stage.
        curves: Which metrics a curve comes from; none for curves of the methods themselves.
    """

    rows: list[Row] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[str]] = field(default_factory=dict)

    def extend(self, other: Results) -> None:
        """Append what another batch found."""
        add_owners(self.curves, other.curves)
        self.rows += other.rows
        self.points += other.points
        self.samples += other.samples
        for name, maps in other.maps.items():
            self.maps.setdefault(name, {}).update(maps)
        add_costs(self.stages, other.stages)


def add_owners(total: dict[str, list[str]], more: Mapping[str, Iterable[str]]) -> None:
    """Add metrics that curves come from, curve by curve."""
    for curve, metrics in more.items():
        total[curve] = sorted({*total.get(curve, ()), *metrics})


def add_costs(total: dict[str, dict[str, float]], more: Mapping[str, Mapping[str, float]]) -> None:
    """Add model rows and seconds, stage by stage."""
    for name, cost in more.items():
        mine = total.setdefault(name, dict.fromkeys(cost, 0.0))
        for kind, value in cost.items():
            mine[kind] += value
