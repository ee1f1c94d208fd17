"""Methods on models with known answers, and their adapters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import (
    CallableMethod,
    Captum,
    Edges,
    GradCamSigned,
    IntegratedGradients,
    PathIG,
    Random,
    explain,
)
from igbench.methods.gradient import InputXGradient, Saliency
from tests.helpers import closed_form as cf


def batch_of(f, x, target=None, baseline=0.0, ids=None):
    ids = tuple(map(str, range(len(x)))) if ids is None else tuple(ids)
    return Batch(Score(f), x, torch.full_like(x, baseline), target, ids)


def captum(name, kind="global", signed=True, **options):
    return Captum(name, name, "", kind, signed, **options)


def test_occlusion_averages_where_windows_overlap():
    method = captum("Occlusion", arguments={"sliding_window_shapes": [2], "strides": [1]})
    found = method(batch_of(cf.linear(1, 2, 3, 4), cf.row(1, 1, 1, 1)))
    assert found.tolist()[0] == pytest.approx([3, 4, 6, 7])


def test_gradients_of_a_hinge_at_the_input():
    batch = batch_of(cf.hinge(1, 1), cf.row(1, 1))
    for method in (Saliency(), InputXGradient()):
        assert method(batch).tolist()[0] == pytest.approx([1, 1])


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_gradients_are_those_of_captum_in_chunks_of_any_size(rows):
    net, x, target = cf.small_net(), cf.images(5), torch.tensor([0, 2, 1, 3, 0])
    batch = batch_of(net, x, target)
    batch.score.batch_size = rows
    for method in (Saliency(), InputXGradient()):
        expected = captum(type(method).__name__)(batch_of(net, x, target))
        torch.testing.assert_close(method(batch), expected, rtol=1e-12, atol=1e-15)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (10, 10)


def test_adapter_agrees_with_direct_use():
    from captum.attr import IntegratedGradients

    net, x, target = cf.small_net(), cf.images(3), torch.tensor([0, 2, 1])
    found = captum("IntegratedGradients", arguments={"n_steps": 7})(batch_of(net, x, target))
    expected = IntegratedGradients(net).attribute(x, target=target, n_steps=7)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def test_stochastic_methods_depend_on_the_sample_alone():
    net, x, target = cf.small_net(), cf.images(4), torch.tensor([0, 2, 1, 3])
    method = captum("GradientShap", arguments={"n_samples": 5, "stdevs": 0.1})
    state = torch.random.get_rng_state()
    whole = method(batch_of(net, x, target, ids="abcd"))
    turned = method(batch_of(net, x.flip(0), target.flip(0), ids="dcba")).flip(0)
    torch.testing.assert_close(turned, whole, rtol=0, atol=0)
    assert torch.equal(state, torch.random.get_rng_state())
    other = method(batch_of(net, x, target, ids="abcz"))
    assert not torch.equal(other[3], whole[3])


def test_noise_tunnel_is_one_argument():
    method = captum(
        "Saliency",
        "local",
        arguments={"abs": False},
        noise_tunnel={"nt_type": "smoothgrad", "nt_samples": 40, "stdevs": 0.5},
    )
    a = torch.diag(torch.tensor([1.0, 2, 3], dtype=torch.float64))
    found = method(batch_of(cf.quadratic(a), cf.row(1, 1, 1)))
    # The mean gradient of a quadratic under noise is its gradient: sd .5 a_i / sqrt(40).
    for value, weight in zip(found.tolist()[0], (1, 2, 3), strict=True):
        assert abs(value - weight) < 5 * 0.5 * weight / 40**0.5
        assert value != weight


def test_unknown_captum_class():
    with pytest.raises(InputError, match=r"captum\.attr has no class 'Occlusions'"):
        captum("Occlusions")(batch_of(cf.product, cf.row(1, 2)))


class GapNet(nn.Module):
    """Convolution, tanh, global average pooling, linear layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh())
        self.fc = nn.Linear(5, 4, bias=False)
        self.double().eval()

    def forward(self, x):
        return self.fc(self.conv(x).mean(dim=(2, 3)))


def test_grad_cam_of_a_network_without_biases_sums_to_the_output():
    net, x, target = GapNet(), cf.images(3), torch.tensor([0, 1, 3])
    found = GradCamSigned("conv", mode="nearest")(batch_of(net, x, target))
    assert found.shape == x.shape
    expected = net(x).gather(1, target[:, None])[:, 0].detach()
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), expected, rtol=1e-9, atol=1e-12)


def test_grad_cam_names_the_layers_there_are():
    with pytest.raises(InputError, match="features"):
        GradCamSigned("layer4")(batch_of(cf.small_net(), cf.images(1), torch.tensor([0])))
    with pytest.raises(InputError, match="needs images"):
        GradCamSigned("layer4")(batch_of(cf.product, cf.row(1, 2)))


def test_controls():
    x = cf.images(2)
    x[0, :, :, :4], x[0, :, :, 4:] = 0, 1
    batch = batch_of(cf.small_net(), x, torch.tensor([0, 1]))
    edges = Edges()(batch)
    assert float(edges[0, :, :, 3:5].abs().min()) > 0
    assert float(edges[0, :, :, :3].abs().max()) == 0
    torch.testing.assert_close(Random()(batch), Random()(batch), rtol=0, atol=0)
    assert abs(float(Random()(batch).mean())) < 5 / (2 * 192) ** 0.5


def test_explain_is_the_functional_form():
    net, x = cf.small_net(), cf.images(3)
    method = IntegratedGradients(n_steps=7)
    one = explain(method, net, x, target=2, baselines=0.5)
    batch = batch_of(net, x, torch.tensor([2, 2, 2]), baseline=0.5)
    torch.testing.assert_close(one, method(batch), rtol=0, atol=0)
    assert all(p.requires_grad for p in net.parameters())
    probability = explain(method, net, x, target=2, output="probability")
    ends = net(x).softmax(dim=1)[:, 2] - net(0 * x).softmax(dim=1)[:, 2]
    torch.testing.assert_close(probability.sum(dim=(1, 2, 3)), ends.detach(), rtol=0.05, atol=1e-4)
    with pytest.raises(InputError, match=r"target has shape \(2,\), expected \(3,\)"):
        explain(method, net, x, target=torch.tensor([0, 1]))


def test_draws_of_explain_are_keyed_by_seed_and_id():
    x = torch.zeros(2, 5)
    found = explain(Random(), cf.product, x, sample_ids=["a", "b"])
    turned = explain(Random(), cf.product, x, sample_ids=["b", "a"])
    assert torch.equal(found, turned.flip(0))
    assert not torch.equal(found, explain(Random(), cf.product, x, sample_ids=["a", "b"], seed=1))


def test_callable_of_one_sample_and_of_a_batch():
    shapes = []

    def own(x, target):
        shapes.append((tuple(x.shape), target.tolist(), x.requires_grad))
        return 2 * x

    net, x = cf.small_net(), cf.images(2)
    batch = batch_of(net, x, torch.tensor([1, 3]), baseline=0.25)
    one = CallableMethod(own, "local", signed=False, title="{mine}")
    torch.testing.assert_close(one(batch), 2 * x, rtol=0, atol=0)
    assert shapes == [((1, *x.shape[1:]), [1], True), ((1, *x.shape[1:]), [3], True)]
    assert (one.spec.title, one.spec.kind, one.spec.signed) == ("{mine}", "local", False)
    whole = CallableMethod(lambda b: b.x - b.baseline, "global", per_batch=True)
    torch.testing.assert_close(whole(batch), x - 0.25, rtol=0, atol=0)


def test_titles_say_the_parameters():
    assert IntegratedGradients("left", 7).spec.title == "Integrated Gradients (left, 7 steps)"
    assert PathIG(title="{a}").spec.title == "{a} (50 steps)"
    assert (Random().spec.role, GradCamSigned("x").spec.role) == ("control", "method")
