"""Guided backprop and deconvolution: known answers, Captum, and blindness to the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional

import igbench
from igbench.core.rng import generator
from igbench.core.score import Score
from igbench.data.digits import load_split
from igbench.errors import NotDefinedError
from igbench.integration.integrate import input_gradient
from igbench.methods import Captum, Deconvolution, GuidedBackprop, explain
from igbench.models.digits_resnet import digits_resnet
from tests.propagation.nets import F64, NETS, Net3, drawn, images

BOTH = {"GuidedBackprop": GuidedBackprop(), "Deconvolution": Deconvolution()}


class Plain(nn.Module):
    """Convolutions, modules of ReLU that are used once each, and a max-pool."""

    def __init__(self, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), act(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), act(),
            nn.Flatten(), nn.Linear(16, 4), act(), nn.Linear(4, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) to (N, 3)."""
        out: Tensor = self.net(x)
        return out


@pytest.mark.parametrize("method", BOTH.values(), ids=BOTH)
def test_net3(method):
    """All units with a positive weight are on, so both cut the last one's alone."""
    found = explain(method, Net3(), torch.tensor([[1.0, 1, 2]], dtype=F64))
    assert found.tolist() == [[-1.0, 4.0, 1.0]]


def test_the_gate_of_the_forward_pass_is_what_tells_them_apart():
    """relu(-x1) is off at 1 and passes nothing; deconvolution passes its weight."""
    f, x = lambda z: torch.relu(-z[:, 0]) + torch.relu(z[:, 1]), torch.ones(1, 2)
    assert explain(GuidedBackprop(), f, x).tolist() == [[0.0, 1.0]]
    assert explain(Deconvolution(), f, x).tolist() == [[-1.0, 1.0]]


def test_a_bounded_relu_is_off_above_its_bound():
    f, x = lambda z: functional.relu6(z).sum(dim=1), torch.tensor([[-1.0, 3.0, 7.0]])
    assert explain(GuidedBackprop(), f, x).tolist() == [[0.0, 1.0, 0.0]]
    assert explain(Deconvolution(), f, x).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("name", BOTH)
def test_captum_agrees_on_modules_of_relu(name):
    net, x = drawn(Plain()), images(2)
    with pytest.warns(UserWarning, match="Setting"):
        theirs = getattr(attr, name)(net).attribute(x.clone().requires_grad_(), target=1)
    found = explain(BOTH[name], net, x, target=1)
    assert torch.equal(found, theirs.detach())
    plain = input_gradient(Score(net), x, torch.tensor([1, 1]))
    assert not torch.allclose(found, plain)


@pytest.mark.parametrize("method", BOTH.values(), ids=BOTH)
@pytest.mark.parametrize(
    ("act", "name"),
    [(nn.GELU, "gelu"), (nn.SiLU, "silu"), (nn.LeakyReLU, "leaky_relu"), (nn.Hardtanh, "hardtanh")],
)
def test_networks_of_other_activations_are_refused(method, act, name):
    with pytest.raises(
        NotDefinedError, match=f"has no rule for {name}; it is defined for networks"
    ):
        explain(method, drawn(Plain(act)), images(1), target=1)


UNSEEN = {"ReLU6": lambda: drawn(Plain(nn.ReLU6)), "functions": lambda: drawn(NETS["dense"]())}
OWN = {
    "GuidedBackprop": ("local", "guided_backprop"),
    "Deconvolution": ("local", "deconvolution"),
    "DeepLift": ("global", "deep_lift"),
}


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("unseen", UNSEEN)
def test_captum_is_refused_where_it_takes_the_plain_gradient(name, unseen):
    """As a method by its class, and as an object that is given to evaluate."""
    kind, own = OWN[name]
    net, x = UNSEEN[unseen](), 30 * images(2)
    with pytest.raises(NotDefinedError, match=f"use method {own}"):
        explain(Captum(name, name, "", kind, True), net, x, target=1)
    given = {"theirs": getattr(attr, name)(net)}
    frame = igbench.evaluate(net, x, target=1, methods=given, metrics=["sparseness"]).frame
    rows = frame[frame["metric"] == "sparseness"]
    assert set(rows["status"]) == {"undefined"}
    assert all(f"use method {own}" in reason for reason in rows["reason"])


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("name", OWN)
def test_captum_is_used_where_its_rules_hold(name):
    """No pool: next to one, Captum's DeepLift is not complete."""
    net = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    kind, _ = OWN[name]
    x = images(2)
    theirs = explain(Captum(name, name, "", kind, True), net, x, target=1)
    ours = {**BOTH, "DeepLift": igbench.methods.DeepLift()}[name]
    torch.testing.assert_close(theirs, explain(ours, net, x, target=1), rtol=0, atol=1e-10)


@torch.no_grad()
def drawn_anew(net: nn.Module) -> nn.Module:
    """The network with the weights of its last block and its head drawn anew, at their scale."""
    own = copy.deepcopy(net)
    for name, p in own.named_parameters():
        if name.startswith(("layer3", "fc")):
            p.copy_(p.std() * torch.randn(p.shape, generator=generator(0, "weights", name)))
    return own


def similarity(maps: list[Tensor]) -> float:
    """Mean cosine of two maps (N, *F), each without its mean."""
    a, b = (m.flatten(1) - m.flatten(1).mean(dim=1, keepdim=True) for m in maps)
    return float(functional.cosine_similarity(a, b).mean())


def test_guided_backprop_hardly_sees_the_weights_and_the_gradient_does():
    """Adebayo et al. 2018, on held-out digits: 0.94 against 0.13 on 64 of them."""
    net = digits_resnet().module.double()
    other, data = drawn_anew(net), load_split()
    x = data.images[list(data.held_out)[:32]].double()
    target = net(x).argmax(dim=1)
    guided = [explain(GuidedBackprop(), n, x, target=target) for n in (net, other)]
    plain = [input_gradient(Score(n), x, target) for n in (net, other)]
    assert similarity(guided) > 0.9
    assert similarity(plain) < 0.3


def test_what_a_map_is_cannot_be_chosen():
    for method in (GuidedBackprop, Deconvolution):
        with pytest.raises(TypeError, match="kind"):
            method(kind="global")
