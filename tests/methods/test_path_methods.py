"""Path methods as methods: their arguments, their pools, and what Captum makes of SmoothGrad."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import yaml

from igbench import api, baselines
from igbench.config import build, compose
from igbench.core.batch import Batch, Method
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError
from igbench.integration.integrate import integrated_gradients
from igbench.integration.monotone import Power
from igbench.methods.blur_ig import BlurIG
from igbench.methods.captum import Captum
from igbench.methods.expected_gradients import ExpectedGradients
from igbench.methods.guided_ig import GuidedIG
from igbench.methods.idgi import IDGI
from igbench.methods.ig_averaged import AveragedIG
from igbench.methods.path_ig import PathIG
from igbench.methods.smooth_ig import SmoothIG
from tests.helpers import closed_form as cf
from tests.helpers.toy import toy_model

DATA = digits(toy_model(tuple("0123456789"), None), limit=4)
OURS = (
    *("expected_gradients", "gradient_shap", "smooth_ig", "guided_ig", "blur_ig", "idgi"),
    "ig_averaged",
)


def pool() -> torch.Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3)).double()


def batch_of(f, x, target=None, ids=None) -> Batch:
    ids = tuple(f"s{i}" for i in range(len(x))) if ids is None else tuple(ids)
    return Batch(Score(f), x, torch.zeros_like(x), target, ids)


def digit_batch() -> Batch:
    x = torch.stack([DATA.load(i) for i in range(3)]).double()
    net = cf.SmallNet(channels=1).double()
    return batch_of(net, x, torch.tensor([0, 2, 1]), DATA.sample_ids[:3])


@pytest.mark.parametrize("name", OURS)
def test_configurations_name_every_argument_with_its_default(name):
    node = yaml.safe_load((compose.FOLDER / "method" / f"{name}.yaml").read_text())[name]
    made = build.construct(node, name)
    assert made == type(made)()
    assert set(node) - {"_target_"} == set(vars(made)) - {"pool", "data"}


@pytest.mark.parametrize(
    "method",
    [
        ExpectedGradients(pool=pool),
        SmoothIG(draws=3, n_steps=5),
        GuidedIG(steps=6),
        BlurIG(sigma=2.0, steps=6),
        IDGI(steps=6),
        AveragedIG(data=DATA, n_steps=3),
        PathIG(lambda b: Power(b.x, b.baseline, 3.0), steps=5),
    ],
    ids=lambda m: type(m).__name__,
)
def test_features_that_do_not_matter_get_nothing(method: Method):
    def f(z):
        return torch.tanh(z[:, 0, :4].sum(dim=(1, 2))) + z[:, 0, :4].square().sum(dim=(1, 2))

    batch = replace(digit_batch(), score=Score(f), target=None)
    found = method(batch)
    assert float(found[:, :, 4:].abs().max()) == 0
    assert float(found[:, :, :4].abs().max()) > 0
    assert method.spec.kind == "global"
    assert method.spec.signed


# -- pools ----------------------------------------------------------------------------------


def test_without_a_pool_there_is_one_clear_line():
    for method, message in (
        (ExpectedGradients(), "needs samples that are never evaluated"),
        (AveragedIG(), "needs the data"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            method(digit_batch())
        assert "\n" not in str(caught.value)


def test_the_data_bring_their_pool_from_the_configuration():
    names = "method=[expected_gradients,ig_averaged,ig]"
    config = compose.compose(["experiment=digits_resnet", names, "limit=3", "batch_size=4"])
    toy = {"names": list("0123456789"), "preprocess": None}
    config["model"] = {"_target_": "tests.helpers.toy.toy_model", **toy}
    made = build.experiment(config)
    assert made.methods["expected_gradients"].pool is made.data.reference is not None
    assert made.methods["ig_averaged"].data is made.data
    assert not hasattr(made.methods["ig"], "pool")


def test_the_data_bring_their_pool_in_python():
    found = api.evaluate(
        cf.SmallNet(channels=1).eval(),
        DATA,
        methods=["expected_gradients", "ig_averaged"],
        metrics=["completeness"],
        target="prediction",
    )
    assert set(found.frame["status"]) == {"ok"}


# -- averages over baselines ----------------------------------------------------------------


def test_averaged_ig_is_the_mean_over_its_baselines():
    batch = digit_batch()
    chosen = (baselines.Constant(0.3), "white", baselines.DataDistribution(2))
    found = AveragedIG(chosen, "middle", 4, DATA)(batch)
    starts = [
        torch.full_like(batch.x, 0.3),
        torch.ones_like(batch.x),
        baselines.DataDistribution(2)(batch.x, batch.sample_ids, DATA, batch.seed),
    ]
    maps = [
        integrated_gradients(batch.score, batch.x, b, batch.target, rule="middle", n_steps=4)
        for b in starts
    ]
    torch.testing.assert_close(found, sum(maps) / 3, rtol=1e-12, atol=1e-15)
    assert AveragedIG(("blur", chosen[0])).spec.title.startswith("IG averaged over blur, Constant")


def test_averaged_ig_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match=r"unknown baseline 'blak'.*'black'"):
        AveragedIG(("blak",))
    with pytest.raises(InputError, match="at least one baseline"):
        AveragedIG(())
    black = replace(digit_batch(), x=torch.zeros(3, 1, 8, 8).double())
    with pytest.raises(InputError, match="equals the sample"):
        AveragedIG(("black", "white"), data=DATA)(black)


# -- arguments that reach the engine --------------------------------------------------------


def test_path_ig_by_default_is_the_line():
    batch = batch_of(cf.square_times, cf.row(2, 3))
    # Middle sum of a smooth function: O(1/n^2) of f = 12, here 12 * 2 / 400^2.
    found = PathIG(steps=400)(batch)
    torch.testing.assert_close(found, cf.row(8, 4), rtol=0, atol=2e-4)


def test_every_argument_changes_the_map():
    batch = digit_batch()
    for method, other in (
        (SmoothIG(draws=2, n_steps=4), {"draws": 3, "noise": 0.3, "rule": "left", "n_steps": 2}),
        (GuidedIG(steps=5), {"fraction": 0.6, "max_dist": 0.2, "steps": 7, "rule": "left"}),
        (BlurIG(sigma=2.0, steps=5), {"sigma": 3.0, "steps": 6, "pace": 1.0}),
        (IDGI(5), {"steps": 6}),
        (ExpectedGradients(3, 2, pool), {"references": 4, "alphas": 3}),
        (AveragedIG(n_steps=3, data=DATA), {"rule": "left", "n_steps": 2, "baselines": ("white",)}),
    ):
        plain = method(batch)
        for key, value in other.items():
            assert not torch.allclose(replace(method, **{key: value})(batch), plain), key
    for method in (SmoothIG(draws=2, n_steps=4), ExpectedGradients(3, 2, pool)):
        assert not torch.equal(method(replace(batch, seed=7)), method(batch))


# -- SmoothGrad through Captum -------------------------------------------------------------


def tunnel(nt_type: str, s: float, n: int, signed: bool = True) -> Captum:
    options = {"nt_type": nt_type, "nt_samples": n, "stdevs": s}
    return Captum("Saliency", "", "", "local", signed, "method", {"abs": False}, {}, options)


@pytest.mark.parametrize("s", [0.1, 0.5])
def test_smoothgrad_of_a_quadratic_and_its_variance(s):
    # Gradient a_i (x_i + e): mean a_i, mean square a_i^2 (1 + s^2), variance a_i^2 s^2; bounds
    # are five standard errors of each from n draws (the mean square tells itself from the squared
    # mean only at the larger s).
    a, n = torch.tensor([1.0, 2, 3], dtype=torch.float64), 4000
    batch = batch_of(cf.quadratic(torch.diag(a)), cf.row(1, 1, 1))
    for nt_type, expected, error in (
        ("smoothgrad", a, a * s),
        ("smoothgrad_sq", a**2 * (1 + s**2), a**2 * math.sqrt(4 * s**2 + 2 * s**4)),
        ("vargrad", a**2 * s**2, (a * s) ** 2 * math.sqrt(2)),
    ):
        found = tunnel(nt_type, s, n)(batch)[0]
        assert bool(((found - expected).abs() <= 5 * error / math.sqrt(n)).all()), nt_type


def test_smoothgrad_of_relu_is_a_normal_probability():
    n = 4000
    found = tunnel("smoothgrad", 1.0, n)(batch_of(lambda z: torch.relu(z[:, 0]), cf.row(1)))
    p = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # .8413
    assert abs(float(found) - p) < 5 * math.sqrt(p * (1 - p) / n)
