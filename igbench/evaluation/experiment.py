"""`Experiment`: everything that decides the numbers of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from igbench.baselines import Baseline
from igbench.core import callers
from igbench.core.batch import Method, Metric
from igbench.core.content import content
from igbench.core.dataset import Data
from igbench.core.fold import Folding
from igbench.core.inference import InferenceOptions
from igbench.core.model import Model
from igbench.core.probe import Outputs
from igbench.core.score import Output, Score
from igbench.errors import InputError, NotDefinedError
from igbench.evaluation import loading
from igbench.evaluation.definitions import check_methods, check_metrics
from igbench.evaluation.loading import Loading
from igbench.files import check_name
from igbench.schema import AS_DATA, COSTS, MethodSpec, MetricSpec

Advance = Callable[[str, int], None]
"""Called after each step of a batch with its stage and its number of samples."""

LOADING, CURVES, REPORT = "loading", "convergence curves", "report"
"""Stages besides those of the methods and metrics; the report is one step of a whole run."""


def method_stage(name: str) -> str:
    """Name of the stage in which a method attributes."""
    return f"method {name}"


def metric_stage(names: Iterable[str]) -> str:
    """Name of the stage in which metrics that share an observation score all methods."""
    return f"metric {', '.join(names)}"


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
        target: "prediction" (of the clean input), "label", a class for all samples, or one for
            each.  A model with a single output leaves nothing to choose.
        seed: Seed of everything random.
        batch_size: Largest number of rows in one call of the model.
        shard_size: Samples that are held at a time, and kept together.
        device: Where the model runs.
        dtype: Precision of model and samples.
        keep_maps: Number of samples whose maps are kept for the report.
        convergence: Samples for the convergence curves of Integrated Gradients; 0 for none.
        loading: How samples are loaded, which decides nothing.
        quick: What forwards of perturbed inputs may do to be faster.
        outputs: What the model returns for a row, where it was looked at before.
        folding: A folded copy of the model, and its error; None where nothing can be folded, or
            where that is not wanted.
    """

    name: str
    model: Model
    data: Data
    methods: Mapping[str, Method]
    metrics: Mapping[str, Metric]
    baseline: Baseline
    output: Output = "logit"
    target: Literal["prediction", "label"] | int | tuple[int, ...] = "prediction"
    seed: int = 0
    batch_size: int = 32
    shard_size: int = 8
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    keep_maps: int = 8
    convergence: int = 0
    loading: Loading = field(default_factory=Loading)
    quick: InferenceOptions = field(default_factory=InferenceOptions)
    outputs: Outputs | None = None
    folding: Folding | None = None

    def __post_init__(self) -> None:
        """Place the model, and fill in what metrics take from samples and outputs.

        Raises:
            InputError: A name cannot be that of a file or folder, or a method needs gradients and
                the model has none.
        """
        check_name("name", self.name)
        check_methods(self.methods)
        check_metrics(self.metrics)
        if isinstance(self.baseline, type) or not callable(self.baseline):
            raise InputError(f"baseline is {self.baseline!r}; it must be a function or an object.")
        check_gradients(self)
        module = callers.placed(self.model.module, self.device, self.dtype)
        if module is not self.model.module:
            object.__setattr__(self, "model", replace(self.model, module=module))
        fitted = {name: _fitted(m, self.data, self.outputs) for name, m in self.metrics.items()}
        object.__setattr__(self, "metrics", fitted)
        check_fit(self)

    def batches(self) -> list[range]:
        """Positions of the samples of each batch: fixed by the plan, not by who runs it."""
        return [
            range(start, min(start + self.shard_size, len(self.data)))
            for start in range(0, len(self.data), self.shard_size)
        ]

    @contextmanager
    def loaded(self, order: Sequence[int]) -> Iterator[Experiment]:
        """Load the samples in a known order, see `igbench.evaluation.loading`."""
        with loading.opened(
            self.data, order, self.loading, device=self.device, batch=self.shard_size
        ) as data:
            yield replace(self, data=data)

    @property
    def folded(self) -> int:
        """Number of batch norms that are folded."""
        return 0 if self.folding is None else self.folding.used

    def score(self) -> Score:
        """The scalar that is explained, with counters of its own."""
        return Score(
            self.model.module,
            self.output,
            self.batch_size,
            channels_last=self.model.channels_last,
            quick=self.quick,
            folded=None if self.folding is None else self.folding.module,
        )

    def progress_steps(self, positions: range) -> dict[str, int]:
        """Stages that a batch goes through, in order, each with its number of samples.

        `Advance` is called once for each of them.
        """
        stages = [
            LOADING,
            *map(method_stage, self.methods),
            *map(metric_stage, observation_groups(self.metrics)),
        ]
        steps = dict.fromkeys(stages, len(positions))
        curves = sum(i < self.convergence for i in positions)
        return steps | ({CURVES: curves} if curves else {})


def _fitted(metric: Metric, data: Data, outputs: Outputs | None) -> Metric:
    """A metric with the parameters that depend on samples and outputs filled in."""
    known = metric if outputs is None else metric.for_outputs(outputs)
    by_kind = getattr(known, "for_kind", None)  # metrics of users may know shapes alone
    return (known if by_kind is None else by_kind(data.kind)).for_shape(data.shape)


def check_fit(experiment: Experiment) -> None:
    """Raise if an argument of a method or metric does not fit model or samples.

    Methods and metrics without meaning for such samples stay: the rows say so.  Where elements of
    samples take no part, each sample has its own number of them, which decides in the run.

    Raises:
        InputError: Names the method or metric, and the argument.
    """
    shape, data = tuple(experiment.data.shape), experiment.data
    if data.active is not None or callable(data.groups):
        return
    unit = data.features if data.groups is None else data.groups
    for group, parts, against in (
        ("method", experiment.methods, experiment.model.module),
        ("metric", experiment.metrics, unit),
    ):
        for name, part in parts.items():
            try:
                getattr(part, "check_fit", _any)(against, shape)
            except NotDefinedError:
                continue
            except InputError as error:
                raise InputError(f"{group}.{name}: {error}") from error


def _any(against: object, shape: object) -> None:
    """The check of methods and metrics of users without one."""


WITHOUT_GRADIENT = ("occlusion", "random")
"""Methods to choose for models without gradients where none of the chosen ones works."""


def check_gradients(experiment: Experiment) -> None:
    """Raise if a method needs gradients and the model has none.

    Raises:
        InputError: Names these methods, and those that work.
    """
    if experiment.model.differentiable:
        return
    needing = [n for n, m in experiment.methods.items() if m.spec.needs_gradient]
    if needing:
        working = [n for n in experiment.methods if n not in needing] or WITHOUT_GRADIENT
        raise InputError(
            f"the model has no gradients, which {', '.join(needing)} cannot do without; choose "
            f"methods that evaluate it alone: {', '.join(working)}."
        )
    if experiment.convergence:
        raise InputError(
            "the model has no gradients, so there are no convergence curves of Integrated "
            "Gradients; set convergence=0."
        )


def observation_groups(metrics: Mapping[str, Metric]) -> list[dict[str, Metric]]:
    """Metrics that share an observation, together."""
    groups: dict[object, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        groups.setdefault(content(metric.sharing_key), {})[name] = metric
    return list(groups.values())


def specs(experiment: Experiment) -> tuple[dict[str, MethodSpec], dict[str, MetricSpec]]:
    """Definitions of everything in the rows."""
    unit = experiment.data.features
    metrics = {
        name: replace(m.spec, unit=unit) if m.spec.unit == AS_DATA else m.spec
        for name, m in experiment.metrics.items()
    }
    return {n: m.spec for n, m in experiment.methods.items()}, metrics | COSTS
