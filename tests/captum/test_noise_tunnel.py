"""Averages over noise: Captum's draws and values, closed forms, and honest variances."""

from __future__ import annotations

import inspect

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igbench.captum import IntegratedGradients, LayerIntegratedGradients, NoiseTunnel
from igbench.errors import InputError
from tests.helpers import closed_form as cf

# Captum's weights of Integrated Gradients are float32; squares of maps below 10 multiply that.
CAPTUM = {"rtol": 1e-6, "atol": 1e-5}
KINDS = ["smoothgrad", "smoothgrad_sq", "vargrad"]


def seeded(tunnel, inputs, **arguments):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  # Captum draws baselines from it
    return tunnel.attribute(inputs, **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [None, 1, 2, 5, 99])
def test_equals_captum(kind, together):
    model, x = cf.small_net(), cf.images(2)
    arguments = {
        "nt_type": kind,
        "nt_samples": 5,
        "nt_samples_batch_size": together,
        "stdevs": 0.2,
        "target": [1, 2],
        "n_steps": 6,
        "baselines": cf.images(2, 9),
        "return_convergence_delta": True,
    }
    found = seeded(NoiseTunnel(IntegratedGradients(model)), x, **arguments)
    theirs = captum.attr.NoiseTunnel(captum.attr.IntegratedGradients(model))
    expected = seeded(theirs, x, **arguments)
    torch.testing.assert_close(found[0], expected[0], **CAPTUM)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=2e-5)
    assert found[1].shape == (10,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [None, 2])
def test_tuples_and_random_baselines(kind, together):
    def f(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return ((x * y[:, :1]).sin().sum(dim=1) + y.cos().sum(dim=1)) * scale

    g = torch.Generator().manual_seed(1)
    inputs = tuple(torch.randn(3, k, generator=g, dtype=torch.float64) for k in (4, 2))
    pool = tuple(torch.randn(7, k, generator=g, dtype=torch.float64) for k in (4, 2))
    arguments = {
        "nt_type": kind,
        "nt_samples": 5,
        "nt_samples_batch_size": together,
        "stdevs": (0.1, 0.3),
        "draw_baseline_from_distrib": True,
        "baselines": pool,
        "additional_forward_args": torch.tensor([1.0, 2.0, 3.0]).double(),
    }
    found = seeded(NoiseTunnel(IntegratedGradients(f)), inputs, **arguments)
    theirs = captum.attr.NoiseTunnel(captum.attr.IntegratedGradients(f))
    assert isinstance(found, tuple)
    torch.testing.assert_close(found, seeded(theirs, inputs, **arguments), **CAPTUM)


@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "Occlusion"])
def test_around_other_methods_of_captum(name):
    model, x = cf.small_net(), cf.images(2)
    own = {"sliding_window_shapes": (3, 4, 4)} if name == "Occlusion" else {}
    method = getattr(captum.attr, name)(model)
    arguments = {"stdevs": 0.1, "target": 1, **own}
    found = seeded(NoiseTunnel(method), x, **arguments)
    expected = seeded(captum.attr.NoiseTunnel(method), x, **arguments)
    # Occlusion's maps are float32: Captum's sum of five rounds by up to 5 * 6e-8.
    rtol = 3e-7 if name == "Occlusion" else 1e-12
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12)


def test_around_a_layer():
    model, x = cf.small_net(), cf.images(2)
    layer = model.features[0]
    arguments = {"stdevs": 0.1, "target": 1, "n_steps": 5}
    found = seeded(NoiseTunnel(LayerIntegratedGradients(model, layer)), x, **arguments)
    theirs = captum.attr.NoiseTunnel(captum.attr.LayerIntegratedGradients(model, layer))
    torch.testing.assert_close(found, seeded(theirs, x, **arguments), **CAPTUM)


def test_no_noise_changes_nothing():
    x = cf.row(3.0, 2.0)
    ig = IntegratedGradients(cf.square_times)
    for kind, expected in (("smoothgrad", (12.0, 6.0)), ("smoothgrad_sq", (144.0, 36.0))):
        found = NoiseTunnel(ig).attribute(x, nt_type=kind, stdevs=0, n_steps=2)
        torch.testing.assert_close(found, cf.row(*expected), rtol=1e-12, atol=0)
    found = NoiseTunnel(ig).attribute(x, nt_type="vargrad", stdevs=0, n_steps=2)
    torch.testing.assert_close(found, cf.row(0.0, 0.0), rtol=0, atol=1e-12)


def test_variances_that_are_small_beside_the_mean_survive():
    # The gradient of 1000 x + x^2 / 2 is 1000 + x: its variance over x + N(0, 0.01^2) is that of
    # the noise, 1e-4, where float32 has a resolution of 0.06 at 1e6.
    saliency = captum.attr.Saliency(lambda x: (1000 * x + x**2 / 2).sum(dim=1))
    arguments = {"nt_type": "vargrad", "nt_samples": 200, "stdevs": 0.01}
    found = seeded(NoiseTunnel(saliency), torch.zeros(1, 4), **arguments)
    theirs = seeded(captum.attr.NoiseTunnel(saliency), torch.zeros(1, 4), **arguments)
    # Gradients are rounded to 6e-5; a variance of 200 draws has a standard deviation of 10 %.
    torch.testing.assert_close(found, torch.full((1, 4), 1e-4), rtol=0.5, atol=0)
    assert (theirs - 1e-4).abs().max() > 0.01


def test_rows_of_a_call_do_not_grow_with_copies_or_steps():
    rows = []

    def f(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x.sum(dim=1)

    NoiseTunnel(IntegratedGradients(f)).attribute(torch.ones(3, 2), nt_samples=400, n_steps=9)
    assert max(rows) <= 512


def test_the_model_and_the_arguments_are_left_as_they_were():
    model, x = cf.small_net(), cf.images(2)
    flags = [p.requires_grad for p in model.parameters()]
    arguments = {"baselines": cf.images(2, 9), "target": [0, 1]}
    kept = {"baselines": arguments["baselines"].clone(), "target": [0, 1]}
    tunnel = NoiseTunnel(LayerIntegratedGradients(model, model.features[0]))
    tunnel.attribute(x, nt_samples=3, nt_samples_batch_size=2, **arguments)
    with pytest.raises(InputError, match="target 99 is not one of"):
        tunnel.attribute(x, target=99)
    assert torch.equal(arguments["baselines"], kept["baselines"])
    assert arguments["target"] == kept["target"]
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nt_type": "smoothgard"}, "Did you mean 'smoothgrad'"),
        ({"nt_samples": 0}, "nt_samples is 0"),
        ({"nt_samples_batch_size": 0}, "nt_samples_batch_size is 0"),
        ({"stdevs": (0.1, 0.2)}, "2 stdevs for 1 inputs"),
        ({"stdevs": -0.1}, "stdevs holds -0.1"),
        ({"stdevs": "0.1"}, "stdevs holds '0.1'"),
        ({"inputs": torch.ones(2, 2, dtype=torch.int64)}, r"input 0 is torch\.int64, to which no"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    tunnel = NoiseTunnel(IntegratedGradients(cf.product))
    with pytest.raises(InputError, match=message) as error:
        tunnel.attribute(**({"inputs": torch.ones(2, 2)} | arguments))
    assert "\n" not in str(error.value)


def test_only_attribution_objects_are_tunnelled():
    with pytest.raises(InputError, match="needs an attribution object of Captum"):
        NoiseTunnel(nn.Linear(1, 1))


def test_interface_is_captums():
    ours, theirs = NoiseTunnel, captum.attr.NoiseTunnel
    assert issubclass(ours, theirs)
    for name in ("__init__", "attribute"):
        mine = inspect.signature(getattr(ours, name)).parameters.values()
        other = inspect.signature(getattr(theirs, name)).parameters.values()
        assert [(p.name, p.default, p.kind) for p in mine] == [
            (p.name, p.default, p.kind) for p in other
        ]
    assert NoiseTunnel(IntegratedGradients(cf.cube)).has_convergence_delta()
    assert NoiseTunnel(IntegratedGradients(cf.cube)).multiplies_by_inputs
