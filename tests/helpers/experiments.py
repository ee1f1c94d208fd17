"""A toy experiment: six random images, a small network, two methods and four metrics."""

from __future__ import annotations

import torch

from igbench import baselines
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.errors import SampleError
from igbench.evaluation.experiment import Experiment
from igbench.methods.controls import Random
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.areas import Deletion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.schema import COSTS
from tests.helpers import closed_form as cf

N = 6


def data(x=None, broken=(), labels=None):
    x = cf.images(N, dtype=torch.float32) if x is None else x

    def load(i):
        if i in broken:
            raise SampleError("cannot read photo.jpg: truncated")
        return x[i]

    return Data(
        "toy",
        "image",
        (3, 8, 8),
        tuple(f"s{i}" for i in range(len(x))),
        labels or (0,) * len(x),
        load,
        "pixel",
        lambda z: (z.permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy(),
        (0.0, 0.0, 0.0),
        None,
        "made here",
    )


def model(module=None):
    module = cf.small_net(torch.float32) if module is None else module
    return Model("toy", module, ("a", "b", "c", "d"), "features", "0", "made here")


def experiment(**options):
    defaults = {
        "name": "toy",
        "model": model(),
        "data": data(),
        "methods": {"ig": IntegratedGradients(n_steps=8), "random": Random()},
        "metrics": {
            "completeness": Completeness(),
            "sensitivity_n": SensitivityN((4, 20), subsets=10),
            "deletion": Deletion(8, occluder="baseline", scalar="score"),
            "srg": SymmetricRelevanceGain(8, occluder="baseline", scalar="score"),
        },
        "baseline": baselines.Zero(),
        "shard_size": 4,
    }
    return Experiment(**(defaults | options))


def rows(results):
    """Status and value of every score, by method, metric and sample; costs left out."""
    return {
        (r.method, r.metric, r.sample_id): (r.status, r.value)
        for r in results.rows
        if r.metric not in COSTS
    }
