"""Every method and metric in conf/, and one small batch to try them on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import timm
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from igbench.certify.certificates import configured
from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.model import ArrayFunction
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.integration.integrate import input_gradient
from igbench.metrics.base import BaseMetric
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers import words
from tests.helpers.toy import toy_model

TREES = {"tree_shap", "tree_shap_path"}
"""Methods for ensembles of trees."""
FOREIGN = {"shap": {"partition_shap", "shap_deep", "shap_gradient", "shap_kernel", *TREES}}
"""Methods of libraries that may not be installed, by the library; `tests/peers` has their tests."""
MISSING = {name for library, own in FOREIGN.items() if find_spec(library) is None for name in own}
METHODS = [name for name in compose.choices("method") if name not in MISSING]
OF_WORDS = {"lexicon_agreement"}
"""Metrics of words; `tests/metrics/test_lexicon.py` has their tests."""
METRICS = [name for name in compose.choices("metric") if name not in OF_WORDS]
GLOBAL = MethodSpec("global", "", "global", signed=True)
PIECEWISE_LINEAR = {"deconvolution", "guided_backprop", "guided_grad_cam", "ig_exact"}
"""Methods for networks without smooth activations."""
TRANSFORMERS = {"attention_rollout", "chefer", "cp_lrp"}
"""Methods for vision transformers."""
TEXTS = {"dig", "length", "rare"}
"""Methods for texts."""
DATA = replace(
    digits(toy_model(tuple("0123456789"), None), limit=5),
    sample_ids=("a", "b", "c", "d", "e"),
    mask=lambda i: torch.arange(64).view(8, 8) % (i + 2) == 0,
)
COEFFICIENTS = torch.arange(64.0).view(1, 8, 8).sin()
"""Given to the metrics that compare with those of a linear model, which the small nets are not."""


SENTENCES = replace(
    words.data(
        "good movie bad", "bad movie movie", "not bad movie", "good good not", "movie good good",
        references=["good movie", "not bad bad"],
    ),
    sample_ids=("a", "b", "c", "d", "e"),
)  # fmt: skip


def composed() -> dict[str, Any]:
    """A configuration with every method and metric in conf/, on the digits."""
    return compose.compose(
        [
            "experiment=digits_resnet",
            f"method=[{','.join(METHODS)}]",
            f"metric=[{','.join(METRICS)}]",
            *(f"method.{m}.layer=features" for m in METHODS if m.endswith("_cam") or "cam_" in m),
            *(f"method.{m}.draws=6" for m in ("smoothgrad", "smoothgrad_squared", "vargrad")),
            "method.lime.samples=100",
            "method.rise.samples=100",
            "method.gradient_shap.draws=20",
            "method.exact_shapley.features=patch:4",
            *("method.leave_one_out.occluder=zero", "method.sig.features=patch:4"),
            "method.kernel_shap.features=patch:2",
            "method.shapley_sampling.features=patch:2",
            "method.kernel_shap.evaluations=10n",
            "method.shapley_sampling.evaluations=5n",
            "method.best_found.features=patch:2",
            "method.xrai.n_steps=5",
            "method.guided_ig.steps=20",
            # No class of a random network is sure, and some are surer of the start than of x.
            *(f"metric.{m}.{k}" for m in ("sic", "aic") for k in ("least=0", "normalise=false")),
            "metric.quantus_faithfulness_correlation.arguments.nr_runs=10",
            *(f"metric.soft_{m}.normalise=false" for m in ("comprehensiveness", "sufficiency")),
        ]
    )


def class_of(name: str) -> type[BaseMetric]:
    """The class of a metric in conf/metric."""
    return build.locate(configured(name)["_target_"], f"metric.{name}")


def method(config: dict[str, Any], name: str, channels: int = 1) -> Method:
    given: dict[str, Any] = {"data": SENTENCES, "pool": SENTENCES.reference}
    if name not in TEXTS:
        pool = DATA.reference
        assert pool is not None
        given = {"data": DATA, "pool": lambda: pool().repeat(1, channels, 1, 1)}
    return build.construct(config["method"][name], f"method.{name}", **given)


def metric(config: dict[str, Any], name: str, channels: int = 1) -> Metric:
    given = {"data": DATA, "coefficients": COEFFICIENTS.expand(channels, -1, -1)}
    return build.construct(config["metric"][name], f"metric.{name}", **given)


def batch(smooth: bool = True, channels: int = 1) -> Batch:
    g = torch.Generator().manual_seed(11)
    x = torch.rand(5, channels, 8, 8, generator=g, dtype=torch.float64)
    return Batch(
        Score(cf.SmallNet(channels=channels, smooth=smooth).double(), batch_size=7),
        x,
        torch.zeros_like(x),
        torch.tensor([0, 1, 2, 3, 1]),
        ("a", "b", "c", "d", "e"),
        "pixel",
        5,
    )


@dataclass(frozen=True, eq=False)
class FlatForest:
    """A forest of four classes, of the pixels of images."""

    estimator: Any

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.estimator.predict_proba(rows.reshape(len(rows), -1))
        return found


def sentences() -> Batch:
    """Five texts of three words each."""
    data = SENTENCES
    x = torch.stack([data.load(i) for i in range(5)]).double()
    start = torch.stack([data.replacements["mask"](one) for one in x])
    start[:, 0] = x[:, 0]
    return Batch(
        Score(words.Bag().eval(), batch_size=7),
        x,
        start,
        None,
        data.sample_ids,
        data.features_of(0),
        5,
    )


def batch_for(name: str, channels: int = 1) -> Batch:
    """The small batch on a model that a method is defined for."""
    if name in TEXTS:
        return sentences()
    found = batch(name not in PIECEWISE_LINEAR, channels)
    if name in TREES:
        rows = np.random.default_rng(2).random((40, 64 * channels))
        forest = RandomForestClassifier(3, random_state=0).fit(rows, np.arange(40) % 4)
        return replace(found, score=Score(ArrayFunction(FlatForest(forest)), batch_size=7))
    if name not in TRANSFORMERS:
        return found
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = timm.create_model(
            "vit_tiny_patch16_224", img_size=8, patch_size=2, in_chans=channels, embed_dim=12,
            num_heads=2, depth=2, num_classes=4,
        )  # fmt: skip
    return replace(found, score=Score(net.double().eval(), batch_size=7))


def take(whole: Batch, index: list[int]) -> Batch:
    return replace(
        whole,
        x=whole.x[index],
        baseline=whole.baseline[index],
        target=None if whole.target is None else whole.target[index],
        sample_ids=tuple(whole.sample_ids[i] for i in index),
    )


@dataclass(frozen=True)
class Simple:
    """Input times gradient, raised to a power: a method that metrics can call again."""

    power: int
    spec: MethodSpec = GLOBAL

    def __call__(self, batch: Batch) -> Tensor:
        gradient = input_gradient(batch.score, batch.x, batch.target)
        return (batch.x * gradient) ** self.power + 0.01 * gradient


def maps_for(whole: Batch) -> dict[str, Attribution]:
    methods = {"ig": Simple(1), "other": Simple(3)}
    return {k: Attribution(m(whole), GLOBAL, explain=m) for k, m in methods.items()}


def measured(m: Metric, part: Batch, maps: dict[str, Attribution]) -> dict[str, Measurement]:
    return m.measure(part, maps, m.observe(part))
