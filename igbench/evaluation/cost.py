"""Estimate the cost of a run: rows counted on a stand-in model, seconds timed on the real one."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from igbench.core.score import frozen
from igbench.evaluation import isolation, kept, loading
from igbench.evaluation.dry_run import Tally, dry_run
from igbench.evaluation.experiment import CURVES, LOADING, REPORT, Experiment
from igbench.integration.convergence import gradients_for_curve
from igbench.integration.integrate import input_gradient

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


def estimate(experiment: Experiment, per_row: Sequence[float] = ()) -> Estimate:
    """Rows of the whole run from a dry run of one sample, and seconds from the real model.

    What the dry run takes on the CPU is the time outside the model, since the stand-in costs next
    to nothing; on other devices that time is not known, and left out.  Of many perturbed inputs the
    first ones stand for all.  Rows of methods that look into layers are counted on the real model.
    A method that works neither there nor on the stand-in counts as nothing.  Of removal curves it
    counts every point of every map, the most that they may take: the run has equal sets of features
    once, and fewer points with step="auto".  A metric that stops drawing by itself counts with the
    most draws that it may take, since on the stand-in it would stop at once.

    Args:
        experiment: What is to run.
        per_row: Seconds of a row evaluated, and of one differentiated; timed if they are not known.
    """
    start = time.perf_counter()
    loadable = loading.first(experiment.data, experiment.loading)
    load_seconds = time.perf_counter() - start
    if loadable is None:
        return Estimate(0, 0, 0.0)
    found = dry_run(experiment, *loadable)
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
    per_forward, per_gradient = per_row or _time(experiment, loadable[1])
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


def perturbed(experiment: Experiment) -> tuple[int, float]:
    """Perturbed inputs of a run that may be compiled, and seconds of one as it is now.

    The rows are those of one sample in a dry run, times the samples.
    """
    loadable = loading.first(experiment.data, experiment.loading)
    if loadable is None:
        return 0, 0.0
    tally = Tally(nn.Identity())
    dry_run(experiment, *loadable, tally)
    return tally.rows * len(experiment.data), _time(experiment, loadable[1])[0]


def perturbed_seconds(experiment: Experiment) -> float:
    """Seconds of one perturbed input; 0 if no sample can be loaded."""
    loadable = loading.first(experiment.data, experiment.loading)
    return 0.0 if loadable is None else _time(experiment, loadable[1])[0]


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
