"""Runs of two models with a known fault each, made in process in seconds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import igbench
from igbench.baselines import Baseline
from igbench.core import rng
from igbench.core.batch import Batch, Metric
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.digits import digits
from igbench.data.photographs import photographs
from igbench.integration.integrate import integrated_gradients
from igbench.methods import IntegratedGradients
from igbench.methods.base import BaseMethod
from igbench.metrics import Completeness, Deletion, Infidelity, SensitivityN
from igbench.models import weights
from igbench.models.digits_resnet import digits_resnet
from igbench.models.efficientnet_lite import efficientnet_lite
from igbench.records import store
from igbench.schema import Point, Records, Row, Run

Fault = Literal["none", "shuffled", "nan", "twice"]


@dataclass(frozen=True)
class Own(BaseMethod):
    """A method of one's own, Integrated Gradients with few steps, that may have a fault.

    Args:
        n_steps: Gradients for each sample.
        fault: "shuffled" maps, maps with a "nan", or all work done "twice" for the same map.
        broken: Samples that have the first two faults.
    """

    n_steps: int
    fault: Fault = "none"
    broken: tuple[str, ...] = ()

    label = "own"
    reference = "defined here"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        for _ in range(2 if self.fault == "twice" else 1):
            found = integrated_gradients(
                batch.score, batch.x, batch.baseline, batch.target, n_steps=self.n_steps
            )
        for i, sample in enumerate(batch.sample_ids):
            if sample in self.broken:
                found[i] = _spoilt(found[i], self.fault, sample)
        return found


def _spoilt(values: Tensor, fault: Fault, sample: str) -> Tensor:
    """One map, (*F), with a fault."""
    flat = values.flatten()
    if fault == "shuffled":
        g = rng.generator(0, "shuffled", sample)
        return flat[torch.randperm(len(flat), generator=g)].reshape(values.shape)
    return torch.cat([flat.new_tensor([math.nan]), flat[1:]]).reshape(values.shape)


@dataclass(frozen=True)
class Setting:
    """A model, its data and what is measured.

    Attributes:
        name: Name of the experiment.
        model: The model.
        load: Number of samples to data.
        samples: Number of samples of the base run.
        metrics: Metrics by name.
        steps: Gradients of Integrated Gradients where they do not matter.
        own_steps: Gradients of the method of one's own.
        batch_size: Model rows in a call.
    """

    name: str
    model: Model
    load: Callable[[int], Data]
    samples: int
    metrics: Mapping[str, Metric]
    steps: int
    own_steps: int
    batch_size: int

    def run(
        self,
        ig: IntegratedGradients | None = None,
        own: Own | None = None,
        *,
        model: Model | None = None,
        samples: int | None = None,
        metrics: Mapping[str, Metric] | None = None,
        baseline: Baseline | str | None = None,
        output: Literal["logit", "probability"] = "logit",
        seed: int = 0,
    ) -> Records:
        """Records of a run; what is None is as in the base run."""
        found = igbench.evaluate(
            model or self.model,
            self.load(samples or self.samples),
            methods={
                "ig": ig or IntegratedGradients(n_steps=self.steps),
                "own": own or Own(self.own_steps),
            },
            metrics={**self.metrics, **(metrics or {})},
            baseline=baseline,
            output=output,
            seed=seed,
            batch_size=self.batch_size,
            name=self.name,
            progress=False,
        )
        return found.records

    def other_weights(self) -> Model:
        """The same model with one weight changed by a thousandth."""
        changed = copy.deepcopy(self.model.module)
        with torch.no_grad():
            first = next(iter(changed.parameters()))
            first.view(-1)[0] *= 1.001
        return replace(
            self.model, module=changed, weights_hash=weights.state_hash(changed), source="changed"
        )


def digits_setting(samples: int = 64) -> Setting:
    """The small ResNet on digits, with small draws."""
    model = digits_resnet()
    return Setting(
        "digits_resnet",
        model,
        lambda n: digits(model, limit=n),
        samples,
        {
            "completeness": Completeness(),
            "deletion": Deletion(step=4),
            "infidelity": Infidelity(draws=16, sides=(0.125, 0.5)),
            "sensitivity_n": SensitivityN(n=0.2, subsets=16, features="pixel"),
        },
        steps=16,
        own_steps=8,
        batch_size=512,
    )


def photographs_setting(samples: int = 2) -> Setting:
    """EfficientNet-Lite0 on photographs, with the metrics that cost least."""
    model = efficientnet_lite()
    return Setting(
        "imagenet_lite",
        model,
        lambda n: photographs(model, limit=n),
        samples,
        {"completeness": Completeness(), "deletion": Deletion(step=1 / 4)},
        steps=4,
        own_steps=2,
        batch_size=8,
    )


def edited(records: Records, **fields: Any) -> Records:
    """A copy of records with other fields of the run."""
    return replace(records, run=replace(records.run, **fields))


def other_versions(run: Run) -> dict[str, Any]:
    """The identity of a run with another version of Captum."""
    return {**run.identity, "versions": {**run.identity["versions"], "captum": "99.0"}}


def written(records: Records, folder: Path) -> Path:
    """Write records as a run folder."""
    rows = [Row(*line) for line in records.scores.itertuples(index=False, name=None)]
    points = [Point(*line) for line in records.curves.itertuples(index=False, name=None)]
    return store.write(folder, records.run, rows, points)
