"""LRP: known answers of every rule, what is kept, and presets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError, NotDefinedError
from igbench.integration.integrate import input_gradient
from igbench.methods import LRP, explain
from igbench.methods.lrp import PRESETS
from igbench.propagation.relevance import (
    AlphaBeta,
    Box,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Layer,
    relevance,
)
from tests.helpers.toy import toy_model
from tests.propagation.nets import F64, NETS, Net3, Of, drawn, images

NET3 = {
    "LRP-0": (Epsilon(0.0), (-1, 4, 0)),
    "epsilon 0.25": (Epsilon(0.25, absolute=True), (-1.037037, 2.903704, 0.580741)),
    "epsilon 1": (Epsilon(1.0, absolute=True), (-7 / 9, 14 / 9, 7 / 9)),
    "gamma 0.25": (Gamma(0.25), (-0.902948, 2.665848, 1.421785)),
    "z+": (AlphaBeta(1.0, 0.0), (0.129630, 1.296296, 2.074074)),
    "alpha 2 beta 1": (AlphaBeta(2.0, 1.0), (-5.703704, 5.185185, 0.674074)),
}
"""Rules of all layers, and relevance at (1, 1, 2), where f = 3.5."""


def everywhere(rule) -> Composite:
    return Composite(None, rule, rule, rule)


@pytest.mark.parametrize("name", NET3)
def test_net3(name):
    rule, wanted = NET3[name]
    x = torch.tensor([[1.0, 1, 2]], dtype=F64)
    found = relevance(Score(Net3()), x, composite=everywhere(rule))
    rounding = 1e-6 if any(round(v, 6) == v != int(v) for v in wanted) else 1e-10
    torch.testing.assert_close(found, x.new_tensor([wanted]), rtol=0, atol=rounding)


def test_z_plus_keeps_the_output_where_biases_are_not_positive():
    x = torch.tensor([[1.0, 1, 2]], dtype=F64)
    found = relevance(Score(Net3()), x, composite=everywhere(AlphaBeta()))
    assert float(found.sum()) == pytest.approx(3.5, abs=1e-12)


def direct(rule: str, x, w, b, relevance_out):
    """The rules written as sums over i and j, for a dense layer, (I,)."""
    c = x[:, None] * w.T  # (I, J)
    z = c.sum(dim=0) + b
    up, down = c.clamp(min=0), c.clamp(max=0)
    if rule == "gamma":
        more = torch.where(z > 0, up, down)
        extra = torch.where(z > 0, b.clamp(min=0), b.clamp(max=0))
        return ((c + 0.3 * more) / (z + 0.3 * (more.sum(dim=0) + extra)) * relevance_out).sum(1)
    share_up = up / (up.sum(dim=0) + b.clamp(min=0))
    share_down = down / (down.sum(dim=0) + b.clamp(max=0))
    return ((2 * share_up - share_down) * relevance_out).sum(dim=1)


@pytest.mark.parametrize(("name", "rule"), [("gamma", Gamma(0.3)), ("ab", AlphaBeta(2.0, 1.0))])
def test_rules_hold_for_inputs_and_outputs_of_both_signs(name, rule):
    layer = drawn(nn.Linear(5, 7), 3)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = relevance(Score(Of(lambda v: layer(v).sum(dim=1))), x, composite=everywhere(rule))
    w, b = layer.weight.detach(), layer.bias.detach()
    for i, row in enumerate(x):
        wanted = direct(name, row, w, b, w @ row + b)
        torch.testing.assert_close(found[i], wanted, rtol=1e-10, atol=1e-10)


def test_epsilon_is_a_share_of_the_deviation_of_each_sample():
    """R_i = sum_j c_ij / (z_j + e std(z) sign z_j) z_j."""
    layer = drawn(nn.Linear(3, 4), 2)
    x = torch.tensor([[1.0, -2, 0.5], [10, 3, 1]], dtype=F64)
    found = relevance(
        Score(Of(lambda v: layer(v).sum(dim=1))), x, composite=everywhere(Epsilon(0.5))
    )
    z = layer(x).detach()
    eps = 0.5 * z.std(dim=1, correction=0, keepdim=True)
    wanted = x * ((z * z / (z + eps * z.sign())) / z @ layer.weight.detach())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("padded", ["by the layer", "outside"])
def test_flat_shares_relevance_among_the_pixels_that_an_output_sees(padded):
    """Ones on 2 x 2 with a kernel of 3: every output sees all four pixels, padding gets nothing."""
    conv = drawn(nn.Conv2d(1, 1, 3, padding=1 if padded == "by the layer" else 0))
    outside = (1, 1, 1, 1) if padded == "outside" else (0, 0, 0, 0)
    x = torch.tensor([[[[1.0, 0.0], [-2.0, 5.0]]]], dtype=F64)
    f = Of(lambda v: conv(functional.pad(v, outside)).sum(dim=(1, 2, 3)))
    found = relevance(Score(f), x, composite=Composite(Flat(), *[Epsilon(0.0)] * 3))
    torch.testing.assert_close(found, (f(x).detach() / 4).view(1, 1, 1, 1).expand_as(x))


def test_the_box_gives_pixels_their_share_of_the_way_from_its_ends():
    """One output: R_i ~ x w - l w+ - h w-, so a pixel at the end of the box gets nothing."""
    conv = nn.Conv2d(2, 1, 1, bias=False).double().eval()
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
    x = torch.tensor([0.5, 0.0], dtype=F64).view(1, 2, 1, 1)
    box = Composite(Box((-1.0,), (1.0, 0.0)), *[Epsilon(0.0)] * 3)
    f = Of(lambda v: conv(v).sum(dim=(1, 2, 3)))
    assert relevance(Score(f), x, composite=box).flatten().tolist() == [1.0, 0.0]
    with pytest.raises(NotDefinedError, match="between black and white, and they reach"):
        relevance(Score(f), 3 * x, composite=box)


@pytest.mark.parametrize("name", ["dense", "residual", "separable", "vgg"])
def test_lrp_0_is_input_times_gradient_whether_batch_norms_are_folded_or_not(name):
    """Also for ReLU6, where no unit is beyond its bound."""
    net, x = drawn(NETS[name]()), images(2)
    target = torch.tensor([1, 2])
    if name == "separable":
        net.bn.bias.data.clamp_(max=0.05)
        x = 0.1 * x
        net.bn.weight.data.mul_(0.1)
        net.bn2.weight.data.mul_(0.1)
    found = relevance(Score(net), x, target, composite=everywhere(Epsilon(0.0)))
    wanted = x * input_gradient(Score(net), x, target)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_batch_norms_are_folded_into_the_layer_before_them():
    """z+ of a convolution and its batch norm, as one convolution with the product's weights."""
    conv, bn = drawn(nn.Conv2d(3, 4, 3), 1), drawn(nn.BatchNorm2d(4), 2)
    up = drawn(nn.ConvTranspose2d(4, 6, 3), 3)
    bn2, x = drawn(nn.BatchNorm2d(6), 4), images(2)
    net = nn.Sequential(conv, bn, nn.ReLU(), up, bn2, nn.ReLU()).eval()
    fused = nn.utils.fusion
    one = fused.fuse_conv_bn_eval(conv, bn), fused.fuse_conv_bn_eval(up, bn2, transpose=True)
    other = nn.Sequential(one[0], nn.ReLU(), one[1], nn.ReLU()).eval()
    maps = [
        relevance(Score(Of(lambda v, m=m: m(v).sum(dim=(1, 2, 3)))), x,
                  composite=everywhere(AlphaBeta(2.0, 1.0)))
        for m in (net, other)
    ]  # fmt: skip
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-9, atol=1e-9)


def test_the_outputs_of_transposed_convolutions_in_groups_are_scaled_one_by_one():
    up, x = (
        drawn(nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)),
        images(1)[:, :1].expand(1, 4, 8, 8),
    )
    scale = torch.arange(1.0, 7.0, dtype=F64)
    layer = Layer(0, lambda *_: x, convolution=True, first=True, groups=2)
    weight = layer.scaled(up.weight.detach(), scale)
    found = functional.conv_transpose2d(x, weight, groups=2)
    torch.testing.assert_close(found, up(x).detach() * scale.view(1, -1, 1, 1))


def test_a_value_at_zero_is_a_bias_and_gates_share_relevance():
    """softplus(x) - log 2 passes; a product gives half to each factor."""
    x = torch.tensor([[2.0, -1.0]], dtype=F64)
    rules = everywhere(Epsilon(0.0))
    found = relevance(Score(Of(lambda v: functional.softplus(v).sum(dim=1))), x, composite=rules)
    torch.testing.assert_close(found, functional.softplus(x) - torch.log(x.new_tensor(2.0)))
    found = relevance(Score(Of(lambda v: v[:, 0] * v[:, 1])), x, composite=rules)
    assert found.tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NETS)
def test_every_preset_explains_every_net_sample_by_sample(name, preset):
    net, x = drawn(NETS[name]()), images(2)
    method = LRP(preset=preset, low=-1.0, high=1.0)
    found = explain(method, net, x, target=[1, 2])
    assert bool(found.isfinite().all())
    assert bool(found.flatten(1).any(dim=1).all())
    alone = explain(method, net, x[1:], target=2)
    torch.testing.assert_close(alone, found[1:], rtol=1e-10, atol=1e-12)


def test_presets_choose_rules_by_the_kind_and_the_depth_of_layers():
    plain = LRP("montavon", low=0.0, high=1.0).composite
    used: list[tuple[int, str]] = []

    def watch(rule, name):
        def noted(layer, *rest):
            used.append((layer.index, name))
            return rule(layer, *rest)

        return noted

    names = ("first", "lower", "upper", "dense")
    rules = {n: watch(getattr(plain, n), n) for n in names}
    x = 0.5 * (images(1) + 1)
    relevance(Score(drawn(deep())), x, torch.tensor([0]), composite=replace(plain, **rules))
    order = ["first", "lower", "upper", "upper", "dense"]
    assert sorted(used) == list(enumerate(order))
    used.clear()
    dense = drawn(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)))
    relevance(Score(dense), torch.ones(1, 3, dtype=F64), composite=replace(plain, **rules))
    assert sorted(used) == [(0, "lower"), (1, "upper"), (2, "dense")]


def deep() -> nn.Module:
    """Four convolutions and a dense layer."""
    convolutions = [m for _ in range(3) for m in (nn.Conv2d(3, 3, 1), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(3, 3, 8), nn.ReLU(), *convolutions, nn.Flatten(), nn.Linear(3, 2)
    )


def test_the_range_of_pixels_comes_from_the_data():
    data = digits(toy_model(tuple("0123456789"), None), limit=2)
    assert LRP("epsilon_gamma_box", data=data).composite.first == Box((0.0,), (1.0,))
    net = drawn(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()))
    with pytest.raises(NotDefinedError, match="do not define black and white"):
        explain(LRP("montavon"), net, images(1), target=0)
    with pytest.raises(NotDefinedError, match="2 and 1 numbers, and the first layer 3 channels"):
        explain(LRP("montavon", low=(0.0, 1.0), high=1.0), net, images(1), target=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "gama"}, "unknown preset 'gama'"),
        ({"epsilon": -1.0}, "epsilon=-1.0 must be a number of at least 0"),
        ({"gamma": 0.1}, "preset=epsilon_plus_flat has no gamma"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        LRP(**arguments)
