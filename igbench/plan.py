"""What will a run cost?  Counted on a stand-in model, timed on two calls of the real one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from igbench import loop
from igbench.attr.convergence import gradients_for_curve
from igbench.attr.integrate import input_gradient
from igbench.checks import SampleError
from igbench.experiment import Experiment
from igbench.types import Score


@dataclass(frozen=True)
class Estimate:
    """Model rows and seconds that a run is expected to need.

    Attributes:
        forward: Model rows evaluated.
        backward: Model rows differentiated.
        seconds: Wall time in the model; the rest comes on top.
    """

    forward: int
    backward: int
    seconds: float


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
    loadable = _first_sample(experiment)
    if loadable is None:
        return Estimate(0, 0, 0.0)
    index, x = loadable
    data = experiment.data
    one = replace(
        data,
        sample_ids=data.sample_ids[index : index + 1],
        labels=(None,),
        load=lambda i: data.load(index),
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
    )
    score = Score(stand_in, rows=experiment.rows)
    loop.run(dry, score=score)
    n = len(data)
    curves = gradients_for_curve() * min(experiment.convergence, n)
    forward, backward = score.cost.forward * n + curves, score.cost.backward * n + curves
    per_forward, per_gradient = _time(experiment, x)
    return Estimate(forward, backward, (forward - backward) * per_forward + backward * per_gradient)


def _first_sample(experiment: Experiment) -> tuple[int, Tensor] | None:
    for i in range(len(experiment.data)):
        try:
            return i, experiment.data.load(i)
        except SampleError:
            continue
    return None


def _time(experiment: Experiment, x: Tensor) -> tuple[float, float]:
    """Seconds per row of a forward, and of a forward with its gradient."""
    module = experiment.model.module.to(experiment.device, experiment.dtype)
    rows = x.to(experiment.device, experiment.dtype).expand(experiment.rows, *x.shape).clone()
    target = torch.zeros(len(rows), dtype=torch.int64, device=experiment.device)
    score = Score(
        module, experiment.output, experiment.rows, channels_last=experiment.model.channels_last
    )
    score.evaluate(rows, target)  # warm up
    start = time.perf_counter()
    score.evaluate(rows, target)
    middle = time.perf_counter()
    input_gradient(score, rows, target)
    end = time.perf_counter()
    return (middle - start) / len(rows), (end - middle) / len(rows)
