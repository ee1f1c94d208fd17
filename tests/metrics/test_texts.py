"""Every metric of conf/metric on texts: a number that is right, or a reason for none."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from igbench import evaluate, methods, metrics
from igbench.api import Evaluation
from igbench.config import compose
from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.tokens import DELETED, HIDDEN, PRESENT
from igbench.errors import InputError
from igbench.methods import CallableMethod
from tests.helpers import numbers, words
from tests.helpers.contract import class_of

NAMES = compose.choices("metric")
if find_spec("vaderSentiment") is None:
    NAMES.remove("lexicon_agreement")
QUANTUS = [n for n in NAMES if n.startswith("quantus_")]
MARKED = [n for n in NAMES if class_of(n).family == "localisation"]
TEXT = "good movie bad"

# Contributions from [MASK] are (4.5, 1.5, -4.5), and f(x) is 0.5.
KNOWN = {
    "abpc": 4.5,  # 0, 9, 9, 0
    "aopc": 3.0,  # 0, 4.5, 6, 1.5
    "completeness": 0.0,
    "complexity": 6 / 7 * math.log(7 / 3) + math.log(7) / 7,
    "comprehensiveness": 4.2,  # deleted: 4 drops of 4, one of 5
    "convergence_error": 0.0,
    "deletion": -3.25,
    "difference_from_exact": 0.0,
    "dummy": 0.0,
    "effective_complexity": 3.0,
    "faithfulness_correlation": 1.0,
    "faithfulness_estimate": 1.0,
    "feature_agreement": 0.5,  # the bag is linear, and its first two words tie
    "rank_agreement": 0.5,
    "rank_correlation": 1.0,
    "pairwise_rank_agreement": 1.0,
    "sign_agreement": 0.5,
    "signed_rank_agreement": 0.5,
    "infidelity": 0.0,
    "input_invariance": 9 / 10.5,  # each token moves by (1, 1), worth 3
    "insertion": 2.75,
    "lexicon_agreement": 1.0,  # good 1.9, bad -2.5
    "linearity": 0.0,
    "log_odds": math.log1p(math.exp(-0.5)) - math.log1p(math.exp(3.5)),
    "naopc": 1.0,
    "pixel_flipping": -2.5,
    "seed_variance": 0.0,
    "sensitivity_n": 1.0,
    "sparseness": 4 / 21,
    "srg": 6.0,
    "sufficiency": -4.2,
    "tau_loo": 1.0,
}
UNDEFINED = {
    **dict.fromkeys(("aic", "sic"), "single output"),
    **dict.fromkeys(("mprt", "smooth_mprt", "efficient_mprt"), "no layer with weights"),
    **dict.fromkeys(("soft_comprehensiveness", "soft_sufficiency"), "does not lower the output"),
    "implementation_invariance": "no layer that rewrite=both applies to",
    "random_logit": "output for each class",
    "road": "needs images",
    "rrs": "no activation among the modules",
}
FINITE = {
    *("avg_sensitivity", "baseline_sensitivity", "local_lipschitz", "max_sensitivity"),
    *("max_sensitivity_n", "monotonicity_correlation", "pgi", "pgu", "ris", "ros"),
}  # fmt: skip
"""Metrics that draw at random."""


class Strict(words.Bag):
    """The bag of words, which accepts no column of marks with anything but marks."""

    def forward(self, x: Tensor) -> Tensor:
        assert set(x[..., self.width].unique().tolist()) <= {PRESENT, HIDDEN, DELETED}
        return super().forward(x)


def strict() -> tuple[Model, Data]:
    model = replace(words.bag(), module=Strict().eval())
    return model, words.data(TEXT, "good", model=model)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    model, data = strict()
    chosen = {"ig": methods.IntegratedGradients(n_steps=2), "random": methods.Random()}
    some = [n for n in NAMES if n not in (*QUANTUS, *MARKED)]
    return evaluate(model, data, methods=chosen, metrics=some, baseline="mask")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*QUANTUS, *MARKED)])
def test_metric_has_the_right_number_or_a_reason(found, name):
    own = found.frame[found.frame.metric == name]
    assert (own.status != "failed").all(), own.reason.tolist()
    assert (own.reason[own.status == "undefined"] != "").all()
    if name == "difference_from_ig":
        assert own.method.unique().tolist() == ["random"]
        return
    (row,) = own[(own.method == "ig") & (own.sample_id == "text-0")].itertuples()
    if name in UNDEFINED:
        assert row.status == "undefined"
        assert UNDEFINED[name] in row.reason
        return
    assert row.status == "ok", row.reason
    if name in KNOWN:
        assert row.value == pytest.approx(KNOWN[name], abs=1e-5)
    else:
        assert name in FINITE, "say what the metric comes to on this text"


def test_reasons_are_those_of_each_text(found):
    own = found.frame[(found.frame.metric == "sensitivity_n") & (found.frame.method == "ig")]
    assert own.status.tolist() == ["ok", "undefined"]
    assert own.reason.iloc[1] == "no variance over the subsets at n = 1 of 1"


@pytest.mark.slow
def test_metrics_of_quantus():
    model, data = strict()
    ig = {"ig": methods.IntegratedGradients(n_steps=2)}
    frame = evaluate(model, data, methods=ig, metrics=QUANTUS, baseline="mask").frame
    assert (frame.status != "failed").all()


@pytest.mark.parametrize("name", MARKED)
def test_metrics_of_marks_ask_for_them(name):
    model, data = strict()
    with pytest.raises(InputError, match="has no masks"):
        evaluate(model, data, methods=["ig"], metrics=[name])


NOISY = {
    "max_sensitivity": metrics.MaxSensitivity(),
    "l2": metrics.MaxSensitivity(ball="l2", noise="extremes"),
    "synonym": metrics.MaxSensitivity(noise="synonym"),
    "avg_sensitivity": metrics.AvgSensitivity(scale="input"),
    "local_lipschitz": metrics.LocalLipschitz(),
    "budget": metrics.MaxSensitivityN(n=(0.1, 0.5)),
    "gaussian": metrics.Infidelity(perturbation="gaussian", draws=4),
    "uniform": metrics.MonotonicityCorrelation(draws=2),
    "dummy": metrics.Dummy(mode="detect"),
    "linearity": metrics.Linearity(),
    "input_invariance": metrics.InputInvariance(shift_baseline=True),
    "pgi": metrics.PredictionGapImportant(draws=2),
    "ris": metrics.RelativeInputStability(draws=2),
    "baselines": metrics.BaselineSensitivity(among=("zero", "gaussian_noise")),
}


def spy(batch: Batch) -> Tensor:
    """Input times a slope, of texts whose marks are marks."""
    marks = {PRESENT, HIDDEN, DELETED}
    assert set(batch.x[..., 2].unique().tolist()) <= marks
    assert set(batch.baseline[..., 2].unique().tolist()) <= marks
    return batch.x * batch.x.new_tensor([1.0, 2.0, 0.0])


@pytest.mark.parametrize("name", NOISY)
def test_noise_leaves_marks_alone(name):
    model, data = strict()
    kind = "local" if name == "gaussian" else "global"
    method = {"spy": CallableMethod(spy, kind, per_batch=True)}
    frame = evaluate(
        model, data, methods=method, metrics={name: NOISY[name]}, baseline="mask"
    ).frame
    assert "failed" not in set(frame.status), frame.reason.tolist()
    if name == "gaussian":  # the slope is (1, 2) x: the marks have no part in the error either
        assert (frame.value[frame.metric == name] >= 0).all()


def test_baselines_leave_marks_alone():
    model, data = strict()
    method = {"spy": CallableMethod(spy, "global", per_batch=True)}
    frame = evaluate(
        model, data, methods=method, metrics=["completeness"],
        baseline=lambda x, ids, data, seed: torch.full_like(x, 700.0),
    ).frame  # fmt: skip
    assert "failed" not in set(frame.status), frame.reason.tolist()


def changed(metric, text: str = TEXT) -> float:
    frame = evaluate(
        words.bag(), words.data(text, "good movie bad not"), metrics={"m": metric},
        methods={"spy": CallableMethod(spy, "global", per_batch=True)}, baseline="mask",
    ).frame  # fmt: skip
    return float(frame.value[(frame.metric == "m") & (frame.sample_id == "text-0")].iloc[0])


NORM = (0.5**0.5 + 1) / 2
"""Median norm of the eight embeddings: 0, 0, 0, sqrt(1/2), 1, 1, sqrt 5, sqrt 5."""


def test_radius_is_in_norms_of_embeddings():
    # Words are worth x (1, 2) = 4, 1, -5.  Corners of +-r change each by r or 3 r, all three by 3 r
    # in one draw of eight: 100 draws miss it with (7/8)^100 = 2e-6.
    relative = math.sqrt(27 / 42)
    corners = metrics.MaxSensitivity(radius=0.1, noise="extremes", draws=100)
    assert changed(corners) == pytest.approx(0.1 * NORM * relative, rel=1e-5)
    plain = replace(corners, scale="input")
    assert changed(plain) == pytest.approx(0.1 * relative, rel=1e-5)
    lipschitz = metrics.LocalLipschitz(noise="extremes", draws=100)
    # |delta| has the six numbers of the embeddings: no mark is among them.
    assert changed(lipschitz) == pytest.approx(math.sqrt(27 / 6), rel=1e-5)
    title = metrics.MaxSensitivity().for_kind("text").title
    assert "r = 0.02 of the median norm of embeddings" in title


def test_synonyms_are_the_nearest_tokens():
    # good -> movie is worth 4 -> 1, bad -> not -5 -> -2, and movie -> [MASK] 1 -> -.5.  60 draws
    # miss both of the first two with chance 3^-60.
    nearest = metrics.MaxSensitivity(noise="synonym", neighbours=1, draws=60)
    assert changed(nearest) == pytest.approx(3 / math.sqrt(42), rel=1e-5)
    assert changed(nearest, "movie") == pytest.approx(1.5, rel=1e-5)
    mean = metrics.AvgSensitivity(noise="synonym", neighbours=1, draws=4)
    assert changed(mean, "movie movie") == pytest.approx(1.5 / math.sqrt(2), rel=1e-5)
    assert "one token to one of its 1 nearest" in nearest.spec.title


@pytest.mark.parametrize("metric", [metrics.MaxSensitivity(scale="row"), NOISY["synonym"]])
def test_other_models_have_no_embeddings(metric):
    x = torch.ones(1, 3)
    with pytest.raises(InputError, match="need a model of texts"):
        metric(lambda z: z.sum(dim=1), x, x, explain=lambda z, target: z)


@pytest.mark.parametrize(
    "method",
    [
        methods.SmoothGrad(draws=3),
        methods.SmoothIG(draws=2),
        methods.GradientShap(draws=3, noise=0.2),
        methods.Random(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_noise_of_methods_does_not_know_the_padding(method):
    model = numbers.adder(lambda total: total**2)

    def maps(*texts: str) -> list[float]:
        found = evaluate(model, numbers.data(*texts, model=model), methods={"m": method},
                         metrics=["sparseness"], baseline="zero")  # fmt: skip
        return found.results.maps["m"]["text-0"].tolist()

    alone = maps("3 1")
    assert alone == maps("3 1", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")
    if isinstance(method, methods.SmoothGrad):
        # 2 (4 + noise) of a standard deviation of .15 * 2 for each of two words.
        spread = 2 * 0.3 * math.sqrt(2 / 3)
        assert alone[0] == pytest.approx(8, abs=5 * spread)
        assert alone[0] != 8
