"""The layer of class activation maps: found by one forward pass, or named."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import igbench
from igbench.core.layers import (
    as_maps,
    auto_layer,
    check_layer,
    prefix_counts,
    token_grid,
    with_cam_layer,
)
from igbench.core.model import Model
from igbench.errors import InputError
from tests.helpers import closed_form as cf

IMAGE = torch.zeros(1, 3, 64, 64)


def nested() -> nn.Sequential:
    """Convolutions inside of a container that ends in a vector."""
    inner = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(inner, nn.Linear(2, 4)).eval()


class Tokens(nn.Module):
    """Patches as tokens without a block that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 4)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (nested, "0.1"),  # the activation after the last convolution
        (cf.SmallNet, "features"),  # a container stands for its last part
        (Tokens, ""),  # the embedding of patches is no map of what follows
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)).eval(), ""),
        (lambda: timm.create_model("resnet10t").eval(), "layer4"),
        (lambda: torchvision.models.mobilenet_v3_small().eval(), "features"),
        (lambda: torchvision.models.shufflenet_v2_x0_5().eval(), "conv5"),
    ],
)
def test_the_last_map_over_the_image(model, name):
    net = model()
    before = [len(m._forward_hooks) for m in net.modules()]
    assert auto_layer(net, IMAGE) == name
    assert [len(m._forward_hooks) for m in net.modules()] == before


def test_images_that_are_not_square():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(2)).eval()
    assert auto_layer(net, torch.zeros(1, 3, 30, 50)) == ""  # a map without its axes follows
    assert auto_layer(nested(), torch.zeros(1, 3, 30, 50)) == "0.1"


def test_hooks_go_away_when_the_model_fails():
    net = nested()
    with pytest.raises(RuntimeError):
        auto_layer(net, torch.zeros(1, 5, 8, 8))
    assert not any(m._forward_hooks for m in net.modules())


def test_a_layer_by_name():
    net = cf.small_net()
    assert check_layer(net, "features.0") is net.features[0]
    for name in ("feature", "", "features.9"):
        with pytest.raises(InputError, match=r"top layers are features, head\. Set layer=NAME"):
            check_layer(net, name)


@pytest.mark.parametrize(
    ("tokens", "image", "grid"),
    [
        (197, (224, 224), (14, 14, 1)),
        (201, (224, 224), (14, 14, 5)),
        (196, (224, 224), (14, 14, 0)),
        (33, (32, 64), (4, 8, 1)),
        (200, (224, 200), None),
    ],
)
def test_the_grid_of_tokens(tokens, image, grid):
    assert token_grid(range(9), tokens, image) == grid


def test_prefix_tokens_are_those_of_the_model():
    sizes = {"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 8, "num_heads": 1}
    net = timm.create_model("vit_tiny_patch16_224", reg_tokens=3, **sizes)
    assert list(prefix_counts(net)) == [4]
    assert list(prefix_counts(torchvision.models.resnet18())) == []


def test_outputs_as_maps():
    g = torch.Generator().manual_seed(0)
    first = torch.rand(2, 5, 4, 3, generator=g)
    net, image = nn.Identity(), (8, 6)
    assert as_maps(first, net, image, "a")[0] is first
    assert torch.equal(as_maps(first.permute(0, 2, 3, 1), net, image, "a")[0], first)
    net.num_prefix_tokens = 1
    tokens = torch.cat([torch.rand(2, 1, 5, generator=g), first.flatten(2).mT], dim=1)
    maps, others = as_maps(tokens, net, image, "a")
    assert torch.equal(maps, first)
    assert torch.equal(others, tokens[:, :1])
    for wrong, message in ((tokens[:, :8], r"\(2, 8, 5\)"), ((first, first), "several tensors")):
        with pytest.raises(InputError, match=f"layer 'a' .*{message}"):
            as_maps(wrong, net, image, "a")


def model_of(net: nn.Module, cam_layer: str = "") -> Model:
    return Model("net", net, (), cam_layer, "", "")


def test_the_layer_of_a_model_is_found_where_it_is_not_known():
    assert with_cam_layer(model_of(nested()), IMAGE).cam_layer == "0.1"
    assert with_cam_layer(model_of(nested(), "0.0"), IMAGE).cam_layer == "0.0"
    assert with_cam_layer(model_of(nested()), IMAGE[:, :1]).cam_layer == ""  # the model fails
    assert with_cam_layer(model_of(nested()), IMAGE[0]).cam_layer == ""  # no images


def test_nothing_is_looked_for_unless_a_method_asks():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = cf.small_net(), 0
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            calls[0] += 1
            return self.net(x)

    calls, counts = [0], []
    for method in ("saliency", "grad_cam"):
        calls[0] = 0
        igbench.evaluate(Counting(), cf.images(1), methods=method, metrics="sparseness")
        counts.append(calls[0])
    assert counts[1] == counts[0] + 1
