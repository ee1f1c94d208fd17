"""What decides the numbers of a run, and what does a run find?  Two values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch

from igbench import loading
from igbench.baselines import Baseline
from igbench.fast import Quick
from igbench.loading import Loading
from igbench.rows import COSTS, MethodSpec, MetricSpec, Point, Row, Status
from igbench.sources import Data, Model
from igbench.types import Method, Metric, Output, Score

Advance = Callable[[str], None]
"""Called after each piece of work with what it was."""


@dataclass(frozen=True)
class Experiment:
    """All that decides the numbers of a run.

    Attributes:
        name: Name of the experiment.
        model: The model.
        data: The samples.
        methods: Attribution methods by name.
        metrics: Metrics by name.
        baseline: What absence is.
        output: Scalar that is explained.
        target: "prediction" (of the clean input) or "label".
        seed: Seed of everything random.
        rows: Largest number of rows in one call of the model.
        batch: Samples that are held at a time.
        device: Where the model runs.
        dtype: Precision of model and samples.
        keep_maps: Number of samples whose maps are kept for the report.
        convergence: Samples for the convergence curves of Integrated Gradients; 0 for none.
        loading: How samples are loaded, which decides nothing.
        quick: What forwards of perturbed inputs may do to be faster.
    """

    name: str
    model: Model
    data: Data
    methods: Mapping[str, Method]
    metrics: Mapping[str, Metric]
    baseline: Baseline
    output: Output = "logit"
    target: Literal["prediction", "label"] = "prediction"
    seed: int = 0
    rows: int = 32
    batch: int = 8
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    keep_maps: int = 8
    convergence: int = 0
    loading: Loading = field(default_factory=Loading)
    quick: Quick = field(default_factory=Quick)

    def batches(self) -> list[range]:
        """Positions of the samples of each batch: fixed by the plan, not by who runs it."""
        return [
            range(start, min(start + self.batch, len(self.data)))
            for start in range(0, len(self.data), self.batch)
        ]

    @contextmanager
    def loaded(self, order: Sequence[int]) -> Iterator[Experiment]:
        """The same experiment, with samples that come in a known order, see `igbench.loading`."""
        with loading.opened(
            self.data, order, self.loading, device=self.device, batch=self.batch
        ) as data:
            yield replace(self, data=data)

    def score(self) -> Score:
        """The scalar that is explained, on the device, with counters of its own."""
        return Score(
            self.model.module.to(self.device, self.dtype),
            self.output,
            self.rows,
            channels_last=self.model.channels_last,
            quick=self.quick,
        )

    def pieces(self) -> int:
        """Number of calls of `Advance` for one batch."""
        return 1 + len(self.methods) + len(observation_groups(self.metrics))


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

    def count(self, status: Status) -> int:
        """Number of rows with a status."""
        return sum(row.status == status for row in self.rows)

    def peak_memory(self) -> float:
        """Largest peak of any row in MiB; 0 where none was measured."""
        return max((row.value for row in self.rows if row.metric == "peak_memory"), default=0.0)


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


class Found(Protocol):
    """What the record of a run needs to know of what it found."""

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What is known of each sample."""
        ...

    @property
    def stages(self) -> dict[str, dict[str, float]]:
        """Model rows and seconds by stage."""
        ...

    def count(self, status: Status) -> int:
        """Number of rows with a status."""
        ...

    def peak_memory(self) -> float:
        """Largest peak of any row in MiB."""
        ...


def observation_groups(metrics: Mapping[str, Metric]) -> list[dict[str, Metric]]:
    """Metrics that share an observation, together."""
    groups: dict[object, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        groups.setdefault(metric.observation_key, {})[name] = metric
    return list(groups.values())


def specs(experiment: Experiment) -> tuple[dict[str, MethodSpec], dict[str, MetricSpec]]:
    """Definitions of everything in the rows."""
    unit = experiment.data.features
    metrics = {
        name: replace(m.spec, unit=unit) if m.spec.unit == "as the data" else m.spec
        for name, m in experiment.metrics.items()
    }
    return {n: m.spec for n, m in experiment.methods.items()}, metrics | COSTS
