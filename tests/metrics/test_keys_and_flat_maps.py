"""What metrics draw is keyed by seed and sample; what flat, zero and broken maps come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.schema import MethodSpec
from tests.helpers.contract import METRICS, batch, class_of, metric
from tests.helpers.maps import CLOSE, GLOBAL, MASK, Times, scored

# -------------------------------------------------------------------------------------- keys

DRAWN = {
    "avg_sensitivity", "max_sensitivity", "max_sensitivity_n", "local_lipschitz",
    "baseline_sensitivity", "dummy", "random_logit", "smooth_mprt", "infidelity", "sensitivity_n",
    "faithfulness_correlation", "monotonicity_correlation", "road", "aic", "sic",
    "quantus_faithfulness_correlation", "soft_comprehensiveness", "soft_sufficiency",
    "pgi", "pgu", "ris", "ros", "rrs",
}  # fmt: skip
"""Metrics that draw for every sample; the certificates of `random_logit` have two classes."""
DRAWN_ONCE = {"linearity", "mprt", "efficient_mprt"}
"""Metrics that draw for all samples together: weights, or a function."""
SMALL = {
    "features": "patch:2",
    "n": (0.1, 0.4),
    "draws": 3,
    "start": 0.1,
    "fractions": (0.2, 0.6),
}


def with_small_units(cfg, name: str) -> Metric:
    """The metric of conf/ with features that an image of 8 x 8 pixels has many of."""
    own = metric(cfg, name)
    keep = {"road": ("fractions",), "aic": ("start",), "sic": ("start",)}
    keep |= {"comprehensiveness": ("features",), "sufficiency": ("features",)}
    keep |= {"faithfulness_correlation": ("features",), "sensitivity_n": ("features", "n")}
    keep |= dict.fromkeys(("dummy", "faithfulness_estimate"), ("features",))
    keep |= dict.fromkeys(("log_odds", "tau_loo"), ("features",))
    keep |= {"monotonicity_correlation": ("features", "draws")}
    if name == "naopc":  # of all subsets
        return replace(own, features="patch:4")
    return replace(own, **{k: SMALL[k] for k in keep.get(name, ())})


@dataclass(frozen=True)
class Curved:
    """Input times gradient, cubed and with a part of the input: not linear in f."""

    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        gradient = input_gradient(b.score, b.x, b.target)
        return ((b.x - b.baseline) * gradient) ** 3 + 0.01 * gradient + 1e-4 * b.x


def values_of(m: Metric, b: Batch, method: Method | None = None) -> Measurement:
    own = Curved() if method is None else method
    g = torch.Generator().manual_seed(3)
    other = torch.randn(b.x.shape[1:], generator=g, dtype=b.x.dtype).expand_as(b.x)
    maps = {"ig": Attribution(own(b), GLOBAL, own), "other": Attribution(other, GLOBAL, own)}
    found = m.measure(b, maps, m.observe(b))
    return found.get("ig", found["other"])


@pytest.mark.parametrize("name", METRICS)
def test_keys_are_seed_and_sample(config, name):
    m, b = with_small_units(config, name), batch()
    found = values_of(m, b).value
    assert torch.equal(values_of(m, b).value, found)
    reseeded = values_of(m, replace(b, seed=6)).value
    renamed = (
        values_of(m, replace(b, sample_ids=("v", "w", "x", "y", "z")))
        if (name not in MASKED)
        else values_of(m, b)
    )
    if name == "aic":
        return  # of five samples' hits and misses; it shares what it draws with sic
    drawn = name in DRAWN
    # Five samples: of four classes, three others to draw from, all five agree with chance 3^-5.
    assert torch.equal(reseeded, found) == (not drawn and name not in DRAWN_ONCE)
    assert torch.equal(renamed.value, found) == (not drawn)


MASKED = {n for n in METRICS if class_of(n).family == "localisation"}


@pytest.mark.parametrize("name", METRICS)
def test_two_equal_samples_differ_by_their_draws_alone(config, name):
    m, b = with_small_units(config, name), batch()
    two = replace(
        b,
        x=b.x[[0, 0]],
        baseline=b.baseline[[0, 0]],
        target=torch.tensor([0, 0]),
        sample_ids=("a", "b"),
    )
    if name in MASKED:
        m = replace(m, data=None, masks=lambda s: MASK)
    first, second = values_of(m, two, Times(1.0)).value.tolist()
    if name not in DRAWN:
        assert first == pytest.approx(second, rel=1e-12, abs=1e-14)


CURVES = {
    "abpc": {"abpc"},
    "aic": {"aic"},
    "aopc": {"aopc_morf"},
    "baseline_sensitivity": {"baseline_blind"},
    "comprehensiveness": {"comprehensiveness"},
    "deletion": {"deletion"},
    "insertion": {"insertion"},
    "max_sensitivity_n": {"max_sensitivity_n"},
    "mprt": {"mprt_top_down"},
    "pgi": {"pgi"},
    "pgu": {"pgu"},
    "pixel_flipping": {"pixel_flipping"},
    "road": {"road_morf", "road_lerf"},
    "sensitivity_n": {"sensitivity_n"},
    "sic": {"sic"},
    "smooth_mprt": {"smooth_mprt_bottom_up"},
    "srg": {"srg_mif", "srg_lif"},
    "sufficiency": {"sufficiency"},
}
PLAIN_MEANS = set(CURVES) - {"aic", "sic", "deletion", "insertion", "srg", "road"} - {
    "baseline_sensitivity"
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_curves_are_over_fractions(config, name):
    m, b = with_small_units(config, name), batch()
    found = values_of(m, b)
    assert set(found.curves) == CURVES.get(name, set())
    for xs, ys in found.curves.values():
        assert all(math.isfinite(v) for v in xs)
        assert list(xs) == sorted(xs if name in ("comprehensiveness", "sufficiency") else set(xs))
        if name != "baseline_sensitivity":
            assert xs[0] >= 0
            assert xs[-1] <= 1
        assert torch.isfinite(ys).all()
        if name in PLAIN_MEANS:
            torch.testing.assert_close(ys.mean(dim=1), found.value, **CLOSE)


# ------------------------------------------------------------------------- maps of no content


@dataclass(frozen=True)
class Always:
    """The same number everywhere, whatever is asked."""

    number: float
    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return torch.full_like(b.x, self.number)


COEFFICIENTS = {n for n in METRICS if hasattr(class_of(n), "coefficients")}
"""Metrics that compare with coefficients, which the tests give for 8 x 8 pixels."""
FLAT_UNDEFINED = {
    *("abpc", "aopc", "comprehensiveness", "deletion", "insertion", "pixel_flipping", "road"),
    *("srg", "sufficiency", "aic", "sic", "naopc", "log_odds", "tau_loo"),
    *("soft_comprehensiveness", "soft_sufficiency"),
    *("pgi", "pgu"),
    *COEFFICIENTS,
    *("faithfulness_correlation", "faithfulness_estimate", "monotonicity_correlation"),
    *("sensitivity_n", "quantus_faithfulness_correlation", "quantus_sparseness"),
    *("mprt", "smooth_mprt", "efficient_mprt", "random_logit", "baseline_sensitivity"),
}
"""Nothing can be ranked, correlated or compared."""
ZERO_UNDEFINED = FLAT_UNDEFINED | {
    *("sparseness", "complexity", "effective_complexity"),
    *("max_sensitivity", "avg_sensitivity", "max_sensitivity_n", "local_lipschitz"),
    *("ris", "ros", "rrs"),
    *("dummy", "linearity", "implementation_invariance", "input_invariance", "seed_variance"),
    *MASKED,
}
"""There is no size to divide by, no relevance to place, or nothing to add up."""
FLAT_VALUES = {
    "sparseness": 0.0,
    "complexity": math.log(64),
    "effective_complexity": 64.0,
    **dict.fromkeys(("max_sensitivity", "avg_sensitivity", "max_sensitivity_n"), 0.0),
    **dict.fromkeys(("local_lipschitz", "ris", "ros", "rrs"), 0.0),
    "dummy": 0.5,
    "linearity": 0.5,
    "implementation_invariance": 0.0,
    "input_invariance": 0.0,
    "seed_variance": 0.0,
}
ZERO_VALUES = {"completeness": 1.0, "convergence_error": 1.0, "difference_from_ig": 1.0} | {
    "difference_from_exact": 1.0
}
NEGATIVE_UNDEFINED = {*MASKED, "quantus_faithfulness_correlation", "quantus_sparseness"}


def without_content(cfg, name: str, method: Method, b: Batch | None = None) -> Measurement:
    m, b = with_small_units(cfg, name), b or batch()
    own = {"other": Attribution(method(b), GLOBAL, method)}
    if name == "difference_from_ig":
        own["ig"] = Attribution(Curved()(b), GLOBAL)
    return m.measure(b, own, m.observe(b))["other"]


def check(found: Measurement, undefined: bool, value: float | None) -> None:
    assert found.value.isnan().tolist() == [undefined] * 5
    if undefined:
        assert found.reason
    if value is not None:
        assert found.value.tolist() == pytest.approx([value] * 5, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_flat_maps(config, name):
    # 1/3 is no binary number: sums over features must still agree.
    for number in (1.0, 1 / 3, -1 / 3):
        found = without_content(config, name, Always(number))
        undefined = FLAT_UNDEFINED | (MASKED if number < 0 else set())
        check(found, name in undefined, FLAT_VALUES.get(name))
    if name in FLAT_UNDEFINED:
        assert metric(config, name).spec.undefined != "never"


@pytest.mark.parametrize("name", METRICS)
def test_maps_of_zeros(config, name):
    found = without_content(config, name, Always(0.0))
    check(found, name in ZERO_UNDEFINED, ZERO_VALUES.get(name))
    assert (metric(config, name).spec.undefined == "never") <= (name not in ZERO_UNDEFINED)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", METRICS)
def test_one_map_that_is_not_finite_takes_nobody_down(config, name, bad):
    m, b, method = with_small_units(config, name), batch(), Curved()
    clean = method(b)
    broken = clean.clone()
    broken[1, 0, 3, 5] = bad
    reference = {"ig": Attribution(2 * clean, GLOBAL)} if name == "difference_from_ig" else {}

    def of(values: Tensor) -> Tensor:
        maps = {**reference, "m": Attribution(values, GLOBAL, method)}
        return m.measure(b, maps, m.observe(b))["m"].value

    found, others = of(broken), [0, 2, 3, 4]
    assert not bool(torch.isfinite(found[1]))
    torch.testing.assert_close(found[others], of(clean)[others], **CLOSE)


@dataclass(frozen=True)
class Negative:
    """A method whose maps are below zero everywhere, and differ from place to place."""

    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return -(Curved()(b).abs()) - 1e-3


@pytest.mark.parametrize("name", METRICS)
def test_maps_below_zero(config, name):
    found = without_content(config, name, Negative())
    check(found, name in NEGATIVE_UNDEFINED, None)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("number", [2.0, 0.0, -2.0])
def test_a_single_feature(config, name, number):
    # One pixel: a value, no value with a reason, or one line that says what is needed.
    b = batch()
    one = replace(b, x=b.x[:, :, :1, :1], baseline=b.baseline[:, :, :1, :1])
    if name in MASKED:
        m = replace(metric(config, name), data=None, masks=lambda s: MASK[:1, :1])
        found = scored(m, one, Always(number)(one))
        # A mask that covers the image leaves no unmarked pixel to rank the marked ones above.
        defined = number > 0 and name != "localisation_auc"
        torch.testing.assert_close(
            found, torch.full_like(found, 1.0 if defined else math.nan), equal_nan=True, **CLOSE
        )
        return
    if name in {"aic", "sic", "dummy", "road"} | COEFFICIENTS:
        with pytest.raises(InputError) as caught:
            without_content(config, name, Always(number or 1.0), one)
        assert "\n" not in str(caught.value)
        return
    found = without_content(config, name, Always(number), one)
    assert found.value.shape == (5,)
    if bool(found.value.isnan().any()):
        assert found.reason
        assert name in ZERO_UNDEFINED
