"""A folded copy computes the same function, and the model stays as it was."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from igbench.core.fold import folded

ROUNDING = 2.0**-23 * 64
"""Relative error of float32 in sums of some hundred products, a few layers deep."""


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode with weights and statistics from a seed."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=g)
                value.copy_(drawn + 0.5 if "var" in name else drawn - 0.3)
    return model.eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.after = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.norm(self.first(x)).relu()
        return (self.after(self.second(kept)) + kept).flatten(1)


class ByValue(nn.Module):
    """Control flow by values, which cannot be traced, around what can."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Residual()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > -1e9 else x.flatten(1)


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return self.norm(found) + found


class CalledTwice(ReadTwice):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(x)))


class Written(Residual):
    """Adds up what it has seen in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)
        return super().forward(x)


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    net[0].register_forward_hook(lambda module, given, found: 2 * found)
    return net


def weight_norm() -> nn.Module:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1))
    return nn.Sequential(conv, nn.BatchNorm2d(2))


class Activated(nn.Module):
    """A norm whose output an activation alone reads, or another layer too."""

    def __init__(self, *, twice: bool = False, again: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU6()
        self.twice, self.again = twice, again

    def forward(self, x: Tensor) -> Tensor:
        found = self.norm(self.conv(x))
        active = self.act(found)
        if self.twice:
            return active + found
        return active + self.act(x) if self.again else active


X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def test_the_weights_are_those_of_the_formula():
    """conv 3 x + 1, then (. - 2) / sqrt(8 + 1) * 6 + 5 = 6 x + 3."""
    net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1, eps=1.0)).eval()
    with torch.no_grad():
        net[0].weight.fill_(3)
        net[0].bias.fill_(1)
        net[1].weight.fill_(6)
        net[1].bias.fill_(5)
        net[1].running_mean.fill_(2)
        net[1].running_var.fill_(8)
    own, count = folded(net)
    assert count == 1
    assert (own[0].weight.item(), own[0].bias.item()) == (6.0, 3.0)
    assert isinstance(own[1], nn.Identity)


@pytest.mark.parametrize(("model", "count"), [(Residual, 2), (ByValue, 2), (Written, 2)])
def test_values_and_gradients_are_the_same(model, count):
    net = shaken(model())
    own, found = folded(net)
    assert found == count
    assert not any(isinstance(m, nn.BatchNorm2d) for m in own.modules())
    x, y = (X.clone().requires_grad_() for _ in range(2))
    a, b = net(x), own(y)
    size = float(a.detach().abs().max())
    torch.testing.assert_close(b, a, rtol=0, atol=ROUNDING * size)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=ROUNDING * float(x.grad.abs().max()))


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)),
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)),
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
        ReadTwice,
        CalledTwice,
        hooked,
        weight_norm,
    ],
)
def test_what_cannot_be_folded_stays(model):
    net = shaken(model())
    own, count = folded(net)
    assert count == 0
    assert torch.equal(own(X), net(X))


def test_a_norm_that_still_learns_stays():
    net = shaken(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)))
    net[1].train()
    assert folded(net)[1] == 0


def test_the_model_stays_as_it_was():
    net = shaken(Written())
    before, kinds = copy.deepcopy(net.state_dict()), [type(m) for m in net.modules()]
    own, _ = folded(net)
    own(X)
    assert [type(m) for m in net.modules()] == kinds
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.requires_grad for p in net.parameters())


def test_other_weights_are_shared_and_those_of_convolutions_are_not():
    net = shaken(
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    )
    own, _ = folded(net)
    assert own[3].weight is net[3].weight
    assert own[0].weight is not net[0].weight
    assert not own[0].weight.requires_grad


def test_a_layout_in_memory_is_kept():
    net = shaken(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)))
    net.to(memory_format=torch.channels_last)
    own, _ = folded(net)
    assert own[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0"])
def test_the_layers_of_timm(name):
    """Norms leave their activation, and convolutions of the second pad by the size of the input."""
    net = timm.create_model(name, num_classes=5).eval()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert any(type(m).__name__ == "BatchNormAct2d" for m in norms)
    own, count = folded(net)
    assert count == len(norms)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        a, b = net(x), own(x)
    torch.testing.assert_close(b, a, rtol=0, atol=1e-5 * float(a.abs().max()))


def test_an_activation_writes_over_what_it_alone_reads():
    net = shaken(Activated())
    own, _ = folded(net)
    assert own.act.inplace
    assert not net.act.inplace
    x, y = (X.clone().requires_grad_() for _ in range(2))
    a, b = own(x), folded_elsewhere(own)(y)
    assert torch.equal(a, b)
    for found in (a, b):
        found.square().sum().backward()
    assert torch.equal(x.grad, y.grad)


def folded_elsewhere(own: Activated) -> Activated:
    """The same folded copy, whose activation makes a tensor of its own."""
    other = copy.deepcopy(own)
    other.act.inplace = False
    return other


def hook_on_activation() -> nn.Module:
    net = Activated()
    net.act.register_forward_hook(lambda module, given, found: found + given[0])
    return net


@pytest.mark.parametrize(
    "model", [lambda: Activated(twice=True), lambda: Activated(again=True), hook_on_activation]
)
def test_an_activation_keeps_what_others_read(model):
    net = shaken(model())
    given = X.clone()
    own, count = folded(net)
    assert count == 1
    assert not own.act.inplace
    torch.testing.assert_close(own(given), net(X), rtol=0, atol=ROUNDING * 10)
    assert torch.equal(given, X)


def test_the_activations_of_timm_write_over_what_is_folded():
    net = timm.create_model("efficientnet_lite0", num_classes=5).eval()
    own, _ = folded(net)
    active = [m for m in own.modules() if isinstance(m, nn.ReLU6)]
    assert len(active) == 33
    assert all(m.inplace for m in active)
