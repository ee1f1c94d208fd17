"""Count the model rows of one sample, and the seconds outside the model, on a stand-in for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch, Method, Metric
from igbench.core.inference import Compiled, InferenceOptions
from igbench.core.outputs import Output
from igbench.core.score import Cost, Score, frozen
from igbench.evaluation import isolation, loop
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.loading import Loading
from igbench.schema import MethodSpec


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


class Excerpt(Score):
    """A scalar that evaluates up to two calls of perturbed rows, and counts the others.

    The others get the values of these again, and the time of the last call.

    Args:
        model: See `igbench.core.score.Score`, as for what follows.
        spared: Receives the seconds that the others would have taken; siblings share it.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], *args: Any, spared: list[float]) -> None:
        super().__init__(model, *args)
        self.spared = spared

    def sibling(
        self, model: nn.Module | Callable[[Tensor], Tensor], output: Output, quick: InferenceOptions
    ) -> Score:
        """The scalar of another function, of which as few rows are evaluated."""
        own = (output, self.batch_size, self.channels_last, quick)
        return Excerpt(model, *own, spared=self.spared).share(self)

    def evaluate_draws(
        self,
        draws: int,
        target: Tensor | None,
        build: Callable[[Tensor], Tensor],
        *,
        device: torch.device | None = None,
        full: bool = False,
    ) -> Tensor:
        """Outputs of the first draws, repeated, (D,)."""
        some, parts, seconds = self.batch_size, [], 0.0
        if draws <= 2 * some:
            return super().evaluate_draws(draws, target, build, device=device, full=full)
        for first in (0, some):
            start = time.perf_counter()
            rows = partial(_after, build, first)
            parts.append(super().evaluate_draws(some, target, rows, device=device, full=full))
            seconds = time.perf_counter() - start
        left = draws - 2 * some
        self.spared.append(seconds * left / some)
        self.cost.forward += left
        return torch.cat(parts).repeat(-(-draws // (2 * some)))[:draws]


def _after(build: Callable[[Tensor], Tensor], first: int, draw: Tensor) -> Tensor:
    """Inputs of draws that are counted from the first one."""
    return build(draw + first)


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


def dry_run(
    experiment: Experiment, index: int, x: Tensor, tally: Tally | None = None
) -> dict[str, dict[str, float]]:
    """Rows and seconds by stage of one sample on the stand-in, on the CPU."""
    e = experiment
    data, model = e.data, e.model
    weighted = _weighted(model.module) if any(map(_explains_again, e.metrics.values())) else 0
    stand_in = StandIn(len(model.class_names) or 2, model.cam_layer, weighted).to(experiment.dtype)
    methods = {
        name: Priced(method.spec, counted(experiment, method, x, index))
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
    if tally is not None:
        tally.module = stand_in
        score = Score(stand_in, batch_size=e.batch_size, quick=InferenceOptions(compiled=tally))
        return loop.run(dry, score=score).stages
    spared, times = dict[str, float](), list[float]()
    excerpt = Excerpt(stand_in, "logit", e.batch_size, spared=times)

    def advance(stage: str, samples: int) -> None:
        spared[stage] = sum(times)
        times.clear()

    found = loop.run(dry, advance=advance, score=excerpt).stages
    return {
        stage: spent | {"seconds": spent["seconds"] + spared[stage]}
        for stage, spent in found.items()
    }


def _weighted(module: nn.Module) -> int:
    """Number of layers with weights."""
    return sum(any(p.dim() > 1 for p in m.parameters(recurse=False)) for m in module.modules())


def _explains_again(metric: Metric) -> bool:
    """Whether a metric calls methods, maybe of a changed network; metrics of users may not say."""
    return bool(getattr(metric, "needs_method", True))


def _at_most(metric: Metric) -> Metric:
    """The metric with the most work that it may take, where it says so."""
    found: Metric = metric.at_most() if hasattr(metric, "at_most") else metric
    return found


def counted(experiment: Experiment, method: Method, x: Tensor, index: int) -> Cost:
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
