"""What will a run cost?  Counted on a stand-in model, timed on two calls of the real one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from igbench.core.score import Score
from igbench.evaluation import isolation, loading, loop
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.loading import Loading
from igbench.integration.convergence import gradients_for_curve
from igbench.integration.integrate import input_gradient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """Model rows and seconds that a run is expected to need.

    Attributes:
        forward: Model rows evaluated.
        backward: Model rows differentiated.
        seconds: Wall time in the model; the rest comes on top.
        stages: Rows evaluated and differentiated for one sample, by stage.
        per_forward: Seconds of one row evaluated.
        per_gradient: Seconds of one row differentiated, its evaluation included.
    """

    forward: int
    backward: int
    seconds: float
    stages: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    per_forward: float = 0.0
    per_gradient: float = 0.0

    def price(self, forward: int, backward: int) -> float:
        """Seconds in the model for so many rows evaluated, of which some are differentiated."""
        return max(0, forward - backward) * self.per_forward + backward * self.per_gradient


class StandIn(nn.Module):
    """A model that costs next to nothing, with the outputs and the one layer that methods need.

    Args:
        classes: K.
        layer: Dotted name of the layer.
    """

    def __init__(self, classes: int, layer: str) -> None:
        super().__init__()
        self.classes = classes
        self.layer = layer
        parent: nn.Module = self
        for name in filter(None, layer.split(".")):
            child = nn.Identity()
            parent.add_module(name, child)
            parent = child
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, *F) to (N, K): multiples of the mean of the input."""
        seen = self.get_submodule(self.layer)(x) if self.layer else x
        mean = seen.flatten(1).mean(dim=1, keepdim=True)
        return mean * torch.arange(1, self.classes + 1, device=x.device, dtype=x.dtype)


def estimate(experiment: Experiment) -> Estimate:
    """Rows of the whole run from a dry run of one sample, and seconds from the real model.

    A method that does not work on the stand-in (a layer of the real model, say) counts as nothing.
    """
    loadable = loading.first(experiment.data, experiment.loading)
    if loadable is None:
        return Estimate(0, 0, 0.0)
    index, x = loadable
    data = experiment.data
    one = replace(
        data,
        sample_ids=data.sample_ids[index : index + 1],
        labels=(None,),
        load=lambda i: x,
        display=None,
    )
    stand_in = StandIn(len(experiment.model.class_names) or 2, experiment.model.cam_layer)
    dry = replace(
        experiment,
        model=replace(experiment.model, module=stand_in),
        data=one,
        target="prediction",
        device=torch.device("cpu"),
        convergence=0,
        loading=Loading(),
    )
    score = Score(stand_in, rows=experiment.rows)
    dry_results = loop.run(dry, score=score)
    n = len(data)
    curves = gradients_for_curve() * min(experiment.convergence, n)
    forward, backward = score.cost.forward * n + curves, score.cost.backward * n + curves
    per_forward, per_gradient = _time(experiment, x)
    stages = {
        name: (round(cost["forward"]), round(cost["backward"]))
        for name, cost in dry_results.stages.items()
    }
    whole = Estimate(forward, backward, 0.0, stages, per_forward, per_gradient)
    return replace(whole, seconds=whole.price(forward, backward))


def _time(experiment: Experiment, x: Tensor) -> tuple[float, float]:
    """Seconds per row of a forward, and of a forward with its gradient; 0 where that fails.

    The rows of a call are halved until they fit into memory.
    """
    rows = x.to(experiment.device, experiment.dtype).expand(experiment.rows, *x.shape).clone()
    target = torch.zeros(len(rows), dtype=torch.int64, device=experiment.device)
    score = experiment.score()
    while True:
        try:
            score.evaluate(rows, target)  # warm up
            start = time.perf_counter()
            score.evaluate(rows, target)
            middle = time.perf_counter()
            if score.differentiable:
                input_gradient(score, rows[: score.rows], target[: score.rows])
            end = time.perf_counter()
            return (middle - start) / len(rows), (end - middle) / min(score.rows, len(rows))
        except Exception as error:
            if not score.shrink(error):
                log.warning("no estimate of the time: %s", isolation.describe(error))
                return 0.0, 0.0
