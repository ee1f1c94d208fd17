"""The numbers of a sentence depend on neither its neighbours, their order, nor the padding."""

from __future__ import annotations

import math

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.core.model import Model
from igbench.data.texts import texts_data
from igbench.models.text_sentiment import Recipe, SentimentNet, WordEncoder

WORDS = ("[PAD]", "[UNK]", "[MASK]", *"abcdefgh")
RECIPE = Recipe(width=5, channels=4)
SENTENCE = "a good b ! c"
LONG = "h g f e d c b a"
METHODS = {
    "ig": methods.IntegratedGradients(n_steps=3),
    "ig_adaptive": methods.AdaptiveIntegratedGradients(),
    "sig": methods.SequentialIG(n_steps=2),
    "dig": methods.DiscretizedIG(anchors=3, neighbours=4),
    "smoothgrad": methods.SmoothGrad(draws=3),
    "gradient_shap": methods.GradientShap(draws=3),
    "saliency": methods.Saliency("l2"),
    "input_x_gradient": methods.InputXGradient(),
    "kernel_shap": methods.KernelShap(evaluations=20),
    "lime": methods.Lime(samples=20),
    "leave_one_out": methods.FeatureAblation(occluder="delete"),
    "occlusion": methods.Occlusion(window=2),
    "exact_shapley": methods.ExactShapley(),
    "position": methods.Position(),
    "random": methods.Random(),
}
SOME = ("ig", "smoothgrad", "kernel_shap", "leave_one_out", "expected_gradients", "random")
NAMED = ("expected_gradients", "rare", "length")
METRICS = {
    "completeness": metrics.Completeness(),
    "infidelity": metrics.Infidelity(draws=8),
    "sensitivity_n": metrics.SensitivityN(n=2, subsets=8),
    "deletion": metrics.Deletion(step=1),
    "insertion": metrics.Insertion(step=1),
    "comprehensiveness": metrics.Comprehensiveness(),
    "max_sensitivity": metrics.MaxSensitivity(draws=2),
    "sparseness": metrics.Sparseness(),
}


def model(dtype: torch.dtype) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = SentimentNet(len(WORDS), RECIPE).eval().requires_grad_(False)
    encoder = WordEncoder(WORDS, net.table.clone())
    return Model(
        "net", net.to(dtype), ("negative", "positive"), "", "0" * 64, "random", text=encoder
    )


def scores(
    names: tuple[str, ...], *texts: str, dtype: torch.dtype, batch_size: int
) -> dict[tuple[str, str], float]:
    """The score of `SENTENCE` by every method and metric, among some texts."""
    own = model(dtype)
    data = texts_data(
        "texts", own, texts, sample_ids=texts, labels=[None] * len(texts), source="",
        references=["a c e g", "b", "d h"],
    )  # fmt: skip
    found = evaluate(
        own, data, methods={n: METHODS.get(n, n) for n in names}, metrics=METRICS, baseline="mask",
        batch_size=batch_size,
    )  # fmt: skip
    rows = [r for r in found.results.rows if r.sample_id == SENTENCE and r.metric in METRICS]
    assert not [r for r in rows if r.status == "failed"]
    return {(r.method, r.metric): r.value for r in rows}


@pytest.mark.parametrize(
    ("dtype", "close", "names", "texts", "batch_size"),
    [
        (torch.float64, 1e-9, (*METHODS, *NAMED), (LONG, SENTENCE, "d"), 64),
        (torch.float32, 1e-6, SOME, (SENTENCE, "e f", LONG), 7),
    ],
    ids=["double", "single"],
)
def test_the_same_sentence_has_the_same_numbers(dtype, close, names, texts, batch_size):
    alone = scores(names, SENTENCE, dtype=dtype, batch_size=64)
    assert len(alone) == len(names) * len(METRICS)
    noisy = {name for name in names if math.isnan(alone[name, "max_sensitivity"])}
    assert not noisy, "noise on embeddings and states leaves every method defined"
    for key, value in scores(names, *texts, dtype=dtype, batch_size=batch_size).items():
        other = alone[key]
        assert math.isnan(value) == math.isnan(other), key
        assert math.isnan(value) or value == pytest.approx(other, abs=close, rel=close), key
