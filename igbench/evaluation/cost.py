"""Estimate the cost of a run: rows counted on a stand-in model, seconds timed on the real one."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch, Method, Metric
from igbench.core.inference import Compiled, InferenceOptions
from igbench.core.score import Cost, Score, frozen
from igbench.evaluation import isolation, kept, loading, loop
from igbench.evaluation.experiment import CURVES, LOADING, REPORT, Experiment
from igbench.evaluation.loading import Loading
from igbench.integration.convergence import gradients_for_curve
from igbench.integration.integrate import input_gradient
from igbench.schema import MethodSpec

log = logging.getLogger(__name__)

ROUNDS = 5
"""Most calls of the model that are timed, for forwards and for gradients; the median counts."""

PATIENCE = 2.0
"""Seconds after which no further call is timed."""

PARTS = {"page": 1.0, "method": 0.2, "cell": 0.045, "map": 0.035}
"""Seconds to draw a report, roughly: for itself, each method, each method x metric, and each map.

Fitted to reports of 3 and 9 methods, 3 and 7 metrics, 0 and 80 maps; the number of samples matters
little.
"""


@dataclass(frozen=True)
class Estimate:
    """Model rows and seconds that a run is expected to need.

    Attributes:
        forward: Model rows evaluated.
        backward: Model rows differentiated.
        seconds: Wall time of all stages; the report comes on top.
        stages: Rows evaluated and differentiated for one sample, by stage.
        outside: Seconds outside the model for one sample, by stage.
        per_forward: Seconds of one row evaluated.
        per_gradient: Seconds of one row differentiated, its evaluation included.
    """

    forward: int
    backward: int
    seconds: float
    stages: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)
    per_forward: float = 0.0
    per_gradient: float = 0.0

    def per_sample(self) -> dict[str, float]:
        """Seconds of one sample by stage."""
        return {stage: self._price(*rows, stage) for stage, rows in self.stages.items()}

    def _price(self, forward: int, backward: int, stage: str) -> float:
        model = max(0, forward - backward) * self.per_forward + backward * self.per_gradient
        return model + self.outside.get(stage, 0.0)

    def seconds_of(self, work: Mapping[str, int]) -> float:
        """Seconds of so many samples in each stage, see `Experiment.progress_steps`."""
        found = self.per_sample()
        return sum(samples * found.get(stage, 0.0) for stage, samples in work.items())


def prices(experiment: Experiment, estimate: Estimate) -> dict[str, float]:
    """Seconds of one sample by stage, and of the report."""
    return estimate.per_sample() | {REPORT: report_seconds(experiment)}


DRAWN = 8
"""Samples that a report draws one by one, at most."""


def report_seconds(experiment: Experiment) -> float:
    """Seconds to draw the report of a run, roughly; most of it goes into figures."""
    methods, metrics = len(experiment.methods), len(experiment.metrics)
    most = min(experiment.keep_maps, len(experiment.data), DRAWN)
    shown = most if kept.shows(experiment.data) else 0
    counts = {
        "page": 1,
        "method": methods,
        "cell": methods * metrics,
        "map": shown * (methods + 1),
    }
    return sum(n * PARTS[part] for part, n in counts.items())


class StandIn(nn.Module):
    """A model that costs next to nothing, with the outputs and the layers that methods need.

    Args:
        classes: K.
        layer: Dotted name of the layer of activation maps.
        weighted: Number of layers with weights, which randomisation tests change one by one.

    Its maps are not those of the model, so `stands_in` asks metrics not to save rows by them.
    """

    stands_in = True

    def __init__(self, classes: int, layer: str, weighted: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.layer = layer
        self.weighted = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(weighted)))
        for parameter in self.weighted.parameters():
            nn.init.ones_(parameter)
        parent: nn.Module = self
        for name in filter(None, layer.split(".")):
            child = nn.Identity()
            parent.add_module(name, child)
            parent = child
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, *F) to (N, K): multiples of the mean of the input."""
        seen = self.get_submodule(self.layer)(x) if self.layer else x
        mean = self.weighted(seen.flatten(1).mean(dim=1, keepdim=True))
        return mean * torch.arange(1, self.classes + 1, device=x.device, dtype=x.dtype)


class Counting(Score):
    """A scalar that counts perturbed rows without evaluating them; they have the value 0."""

    def evaluate_draws(
        self,
        draws: int,
        target: Tensor | None,
        build: Callable[[Tensor], Tensor],
        *,
        device: torch.device | None = None,
        full: bool = False,
    ) -> Tensor:
        """Zeros, (D,)."""
        self.cost.forward += draws
        return torch.zeros(draws, device=device)


@dataclass(frozen=True)
class Priced:
    """A method of the stand-in that takes as many rows as another one of the real model.

    Attributes:
        spec: That of the other one.
        rows: For one sample.
    """

    spec: MethodSpec
    rows: Cost

    def __call__(self, batch: Batch) -> Tensor:
        """The samples themselves, (N, *F)."""
        batch.score.cost.forward += self.rows.forward * len(batch)
        batch.score.cost.backward += self.rows.backward * len(batch)
        return batch.x


def estimate(experiment: Experiment) -> Estimate:
    """Rows of the whole run from a dry run of one sample, and seconds from the real model.

    What the dry run takes on the CPU is the time outside the model, since the stand-in costs next
    to nothing; on other devices that time is not known, and left out.  Rows of methods that look
    into layers are counted on the real model.  A method that works neither there nor on the
    stand-in counts as nothing.  Of removal curves it counts every point of every map, the most that
    they may take: the run has equal sets of features once, and fewer points with step="auto".  A
    metric that stops drawing by itself counts with the most draws that it may take, since on the
    stand-in it would stop at once.
    """
    start = time.perf_counter()
    loadable = loading.first(experiment.data, experiment.loading)
    load_seconds = time.perf_counter() - start
    if loadable is None:
        return Estimate(0, 0, 0.0)
    found = _dry_run(experiment, *loadable)
    stages = {
        name: (round(cost["forward"]), round(cost["backward"])) for name, cost in found.items()
    }
    outside = {name: cost["seconds"] for name, cost in found.items()}
    if experiment.device.type != "cpu":
        outside = {}
    curve = gradients_for_curve()
    stages = {LOADING: (1, 0)} | stages
    outside[LOADING] = load_seconds
    if experiment.convergence:
        stages[CURVES] = (curve, curve)
    per_forward, per_gradient = _time(experiment, loadable[1])
    n = len(experiment.data)
    work = dict.fromkeys(stages, n) | {CURVES: min(experiment.convergence, n)}
    counted = [(work[stage], *rows) for stage, rows in stages.items() if stage != LOADING]
    whole = Estimate(
        sum(samples * forward for samples, forward, _ in counted),
        sum(samples * backward for samples, _, backward in counted),
        0.0,
        stages,
        outside,
        per_forward,
        per_gradient,
    )
    return replace(whole, seconds=whole.seconds_of(work))


class Tally(Compiled):
    """A compiled model that counts the rows it is called with, and is the model itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module, "")
        self.rows = 0

    def __call__(self, x: Tensor, most: int | None = None) -> Tensor:
        """Outputs of the module."""
        self.rows += len(x)
        found: Tensor = self.module(x)
        return found


def perturbed(experiment: Experiment) -> tuple[int, float]:
    """Perturbed inputs of a run that may be compiled, and seconds of one as it is now.

    The rows are those of one sample in a dry run, times the samples.
    """
    loadable = loading.first(experiment.data, experiment.loading)
    if loadable is None:
        return 0, 0.0
    tally = Tally(nn.Identity())
    _dry_run(experiment, *loadable, tally)
    return tally.rows * len(experiment.data), _time(experiment, loadable[1])[0]


def perturbed_seconds(experiment: Experiment) -> float:
    """Seconds of one perturbed input; 0 if no sample can be loaded."""
    loadable = loading.first(experiment.data, experiment.loading)
    return 0.0 if loadable is None else _time(experiment, loadable[1])[0]


def _dry_run(
    experiment: Experiment, index: int, x: Tensor, tally: Tally | None = None
) -> dict[str, dict[str, float]]:
    """Rows and seconds by stage of one sample on the stand-in, on the CPU."""
    data = experiment.data
    model = experiment.model
    weighted = sum(
        any(p.dim() > 1 for p in m.parameters(recurse=False)) for m in model.module.modules()
    )
    stand_in = StandIn(len(model.class_names) or 2, model.cam_layer, weighted).to(experiment.dtype)
    methods = {
        name: Priced(method.spec, _counted(experiment, method, x, index))
        if getattr(method, "looks_inside", False)
        else method
        for name, method in experiment.methods.items()
    }
    dry = replace(
        experiment,
        methods=methods,
        metrics={name: _at_most(metric) for name, metric in experiment.metrics.items()},
        model=replace(model, module=stand_in),
        data=replace(data.only(index), labels=(None,), load=lambda i: x, display=None),
        target="prediction",
        device=torch.device("cpu"),
        convergence=0,
        loading=Loading(),
        folding=None,
    )
    quick = InferenceOptions()
    if tally is not None:
        tally.module = stand_in
        quick = InferenceOptions(compiled=tally)
    return loop.run(
        dry, score=Score(stand_in, batch_size=experiment.batch_size, quick=quick)
    ).stages


def _at_most(metric: Metric) -> Metric:
    """The metric with the most work that it may take, where it says so."""
    found: Metric = metric.at_most() if hasattr(metric, "at_most") else metric
    return found


def _counted(experiment: Experiment, method: Method, x: Tensor, index: int) -> Cost:
    """Rows that a method takes for one sample on the real model, none where it is not defined."""
    model, x = experiment.model, x[None].to(experiment.device, experiment.dtype)
    score = Counting(model.module, experiment.output, experiment.batch_size, model.channels_last)
    try:
        with frozen(score.model):
            with torch.no_grad():
                outputs = score.outputs(x).flatten(1)
            target = outputs.argmax(dim=1) if outputs.shape[1] > 1 else None
            unit = experiment.data.features_of(index)
            start = torch.zeros_like(x)
            method(Batch(score, x, start, target, ("",), unit, seed=experiment.seed))
    except isolation.CAUGHT:  # the run gives the reason
        return Cost()
    return score.cost


def _time(experiment: Experiment, x: Tensor) -> tuple[float, float]:
    """Seconds per row of a forward, and of a forward with its gradient; 0 where that fails.

    The rows of a call are halved until they fit into memory.
    """
    rows = x.to(experiment.device, experiment.dtype).expand(experiment.batch_size, *x.shape).clone()
    target = torch.zeros(len(rows), dtype=torch.int64, device=experiment.device)
    score = experiment.score()

    def forward() -> int:
        score.evaluate_draws(
            len(rows), target[:1], lambda draw: rows[: len(draw)], device=rows.device
        )
        return len(rows)

    def gradient() -> int:
        n = min(score.batch_size, len(rows))
        input_gradient(score, rows[:n], target[:n])
        return n

    while True:
        try:
            with frozen(score.model), score.folding(True):
                per_forward = _typical(forward, rows.device)
                per_gradient = _typical(gradient, rows.device) if score.differentiable else 0.0
                return per_forward, per_gradient
        except Exception as error:
            if not score.shrink(error):
                log.warning("no estimate of the time: %s", isolation.describe(error))
                return 0.0, 0.0


def _typical(call: Callable[[], int], device: torch.device) -> float:
    """Median seconds per row of some calls, after one that is not counted."""
    call()
    found: list[float] = []
    first = time.perf_counter()
    while len(found) < ROUNDS and time.perf_counter() - first < PATIENCE:
        start = time.perf_counter()
        rows = call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append((time.perf_counter() - start) / rows)
    return statistics.median(found)
