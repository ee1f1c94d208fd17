"""Class activation maps: closed forms of heads on given maps, Captum, layouts and refusals."""

from __future__ import annotations

import warnings

import captum.attr
import pytest
import timm
import torch
import torchvision
import yaml
from torch import Tensor, nn

import igbench
from igbench.config import build, compose
from igbench.core.batch import Batch
from igbench.core.layers import auto_layer
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import (
    GradCam,
    GradCamPlusPlus,
    GradCamSigned,
    GuidedGradCam,
    HiResCam,
    LayerCam,
    ScoreCam,
    explain,
)
from igbench.methods.cam import as_masks
from tests.helpers import closed_form as cf

BY_GRADIENT = (GradCam, GradCamPlusPlus, GradCamSigned, HiResCam, LayerCam)
ALL = (*BY_GRADIENT, ScoreCam)
SIGNED = (GradCamSigned, HiResCam)
NAMES = {
    "grad_cam": GradCam,
    "grad_cam_plus_plus": GradCamPlusPlus,
    "grad_cam_signed": GradCamSigned,
    "guided_grad_cam": GuidedGradCam,
    "hires_cam": HiResCam,
    "layer_cam": LayerCam,
    "score_cam": ScoreCam,
}
MAPS = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [0, 1]]]], dtype=torch.float64)


class Head(nn.Module):
    """A linear head on the input as it is, (2, 2, 2), by weights for each place."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.maps, self.weights = nn.Identity(), weights
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return (self.maps(x) * self.weights).sum(dim=(1, 2, 3))


def gap() -> Head:
    """M14: global average pooling, then w = (1, -2)."""
    return Head(torch.tensor([0.25, -0.5], dtype=torch.float64).view(2, 1, 1))


def flatten() -> Head:
    """M15: W_1 = 2 at (1, 1), W_2 = 3 at (2, 2)."""
    return Head(torch.tensor([[[2.0, 0], [0, 0]], [[0, 0], [0, 3]]], dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_configurations_name_every_argument_with_its_default(name):
    node = yaml.safe_load((compose.FOLDER / "method" / f"{name}.yaml").read_text())[name]
    made = build.construct(node, name)
    assert made == NAMES[name]()
    assert set(node) - {"_target_"} == set(vars(made))
    kind = "global" if NAMES[name] in SIGNED else "local"
    signed = kind == "global" or name == "guided_grad_cam"
    assert (made.spec.kind, made.spec.signed) == (kind, signed)


@pytest.mark.parametrize(
    ("head", "method", "expected", "total"),
    [
        (gap, GradCamSigned, [[0.25, 0], [0.75, 0.5]], 1.5),
        (gap, HiResCam, [[0.25, 0], [0.75, 0.5]], 1.5),
        (gap, GradCam, [[0.25, 0], [0.75, 0.5]], 1.5),
        (gap, GradCamPlusPlus, [[2 / 9, 4 / 9], [6 / 9, 8 / 9]], 20 / 9),
        (gap, LayerCam, [[0.25, 0.5], [0.75, 1]], 2.5),
        (flatten, HiResCam, [[2, 0], [0, 3]], 5),
        (flatten, GradCamSigned, [[0.5, 1.75], [1.5, 2.75]], 6.5),
        (flatten, LayerCam, [[2, 0], [0, 3]], 5),
    ],
)
def test_known_maps(head, method, expected, total):
    """M14 and M15; the map is shared out over the two channels of the input."""
    found = method("maps", "nearest")(cf.batch_of(head(), MAPS))
    value = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found.sum(dim=1)[0], value, rtol=1e-12, atol=1e-14)
    assert float(found.sum()) == pytest.approx(total, rel=1e-12)


def test_grad_cam_cuts_off_what_speaks_against_the_class():
    signed = GradCamSigned("maps")(cf.batch_of(gap(), -MAPS))
    assert bool((signed <= 0).all())
    assert not GradCam("maps")(cf.batch_of(gap(), -MAPS)).any()


def test_score_cam_by_hand():
    """Of three channels, one is constant; the others weigh by the softmax of f behind them."""
    x = torch.tensor([[[[1.0, 3]], [[4, 2]], [[5, 5]]]], dtype=torch.float64)
    head = Head(torch.tensor([[[1.0, 0]], [[0, 2]], [[1, 1]]], dtype=torch.float64))
    # Masks (0, 1) and (1, 0): f is 2 * 2 + 5 at the right alone, 1 + 5 at the left alone.
    w = torch.tensor([9.0, 6], dtype=torch.float64).softmax(dim=0)
    expected = w[0] * x[0, 0] + w[1] * x[0, 1]
    batch = cf.batch_of(head, x)
    found = ScoreCam("maps", "nearest")(batch)
    torch.testing.assert_close(found.sum(dim=1)[0], expected, rtol=1e-12, atol=0)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (3, 0)
    flat = ScoreCam("maps")(cf.batch_of(head, torch.ones(1, 3, 1, 2, dtype=torch.float64)))
    assert not flat.any()


def test_score_cam_masks_towards_the_baseline():
    x = torch.tensor([[[[1.0, 3]], [[4, 2]]]], dtype=torch.float64)
    head = Head(torch.tensor([[[1.0, 0]], [[0, 2]]], dtype=torch.float64))
    batch = Batch(Score(head), x, torch.full_like(x, 7.0), None, ("a",))
    # Left at the baseline: 7 + 2 * 2; right at the baseline: 1 + 2 * 7.
    w = torch.tensor([11.0, 15], dtype=torch.float64).softmax(dim=0)
    found = ScoreCam("maps", "nearest")(batch).sum(dim=1)[0]
    torch.testing.assert_close(found, w[0] * x[0, 0] + w[1] * x[0, 1], rtol=1e-12, atol=0)


def test_masks_reach_from_zero_to_one():
    maps = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0)) - 4
    masks = as_masks(maps, torch.zeros(3, 8, 8), "bilinear")
    assert masks.shape == (3, 1, 8, 8)
    assert masks.amin(dim=(1, 2, 3)).tolist() == [0, 0, 0]
    assert masks.amax(dim=(1, 2, 3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("layer", ["features", "features.0"])
def test_signed_grad_cam_is_captums(layer, mode):
    net, x, target = cf.small_net(), cf.images(3), torch.tensor([0, 1, 3])
    explainer = captum.attr.LayerGradCam(net, net.get_submodule(layer))
    small = explainer.attribute(x, target=target)
    for method, clip in ((GradCamSigned, False), (GradCam, True)):
        found = method(layer, mode)(cf.batch_of(net, x, target)).sum(dim=1, keepdim=True)
        value = small.relu() if clip else small
        value = captum.attr.LayerAttribution.interpolate(value, (8, 8), mode)
        torch.testing.assert_close(found, value * (small[0].numel() / 64), rtol=1e-12, atol=1e-14)


def test_the_sum_is_the_output_of_a_linear_head():
    """C22: convolution, global average pooling and a linear layer without bias; 4 to 8 pixels."""

    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4, bias=False),
    )
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    net, x, target = net.double().eval(), cf.images(3), torch.tensor([0, 1, 3])
    expected = net(x).gather(1, target[:, None])[:, 0].detach()
    for method in SIGNED:
        found = method()(cf.batch_of(net, x, target)).sum(dim=(1, 2, 3))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ALL)
def test_maps_do_not_depend_on_their_neighbours_or_the_batch_size(method):
    net, x, target = cf.small_net(), cf.images(5), torch.tensor([0, 1, 3, 2, 1])
    whole = method()(cf.batch_of(net, x, target))
    cut = method()(cf.batch_of(net, x, target, batch_size=2))
    torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-13)
    turned = method()(cf.batch_of(net, x.flip(0), target.flip(0))).flip(0)
    torch.testing.assert_close(turned, whole, rtol=1e-10, atol=1e-13)
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_cost_is_one_gradient_a_sample(method):
    batch = cf.batch_of(cf.small_net(), cf.images(5), torch.tensor([0, 1, 3, 2, 1]), batch_size=2)
    method("features")(batch)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (5, 5)


class ChannelsLast(nn.Module):
    """The small network of `cf` whose features come out as (N, h, w, channels)."""

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    def __init__(self) -> None:
        super().__init__()
        self.net, self.turned = cf.small_net(), self.Turned()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        z = self.turned(self.net.features(x[:, :, :, :6])).tanh()
        return self.net.head(z.mean(dim=(1, 2)))


@pytest.mark.parametrize("method", ALL)
def test_channels_last(method):
    """The image is 8 x 6, so only one order of the axes fits."""
    net, x, target = ChannelsLast(), cf.images(2)[..., :6], torch.tensor([0, 1])
    assert auto_layer(net, x[:1]) == "turned"
    plain = method("net.features")(cf.batch_of(net, x, target))
    torch.testing.assert_close(method()(cf.batch_of(net, x, target)), plain)


def test_a_layer_that_is_found_from_python():
    net, x = cf.small_net(), cf.images(2)
    found = igbench.evaluate(
        net, x, methods={"grad_cam": "grad_cam", "mine": HiResCam()}, metrics="sparseness"
    )
    assert (found.frame.status == "ok").all()
    titles = [found.run.methods[m].title for m in ("grad_cam", "mine")]
    assert titles == ["Grad-CAM (features)", "HiResCAM (features)"]
    named = igbench.evaluate(net, x, methods="grad_cam", metrics="sparseness", layer="features")
    sparse = [
        r.frame.query("method == 'grad_cam' and metric == 'sparseness'") for r in (found, named)
    ]
    assert sparse[0].value.tolist() == sparse[1].value.tolist()


@pytest.mark.parametrize("method", ALL)
def test_what_has_no_such_layer_says_so_in_one_line(method):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double().eval()
    x, target = cf.images(1), torch.tensor([0])
    for model, given in ((flat, x), (lambda z: z.sum(dim=(1, 2, 3)), x), (flat, x[:, 0])):
        with pytest.raises(NotDefinedError, match=r"needs (images|a torch module)") as error:
            method()(cf.batch_of(model, given, target))
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"no layer 'feature'.*'features'"):
        method("feature")(cf.batch_of(cf.small_net(), x, target))
    with pytest.raises(InputError, match=r"'head' has tokens or vectors"):
        method("head")(cf.batch_of(cf.small_net(), x, target))


def test_layers_that_do_not_matter():
    class Idle(nn.Module):
        def __init__(self, called: bool) -> None:
            super().__init__()
            self.net, self.idle, self.called = cf.small_net(), nn.Identity(), called
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            if self.called:
                self.idle(x)
            return self.net(x)

    x, target = cf.images(1), torch.tensor([0])
    with pytest.raises(InputError, match="'idle' was not called"):
        GradCam("idle")(cf.batch_of(Idle(False), x, target))
    with pytest.raises(InputError, match="no gradient by what the layer 'idle' returns"):
        GradCam("idle")(cf.batch_of(Idle(True), x, target))


def relu_net() -> nn.Module:
    """Convolutions with ReLU modules in float64, which Captum's guided backprop sees."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    )
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.4)
    return net.double().eval()


def test_guided_grad_cam_is_captums():
    """Captum's map is not shared out over the 3 x 64 / 16 elements of a cell."""
    net, x, target = relu_net(), cf.images(3), torch.tensor([0, 1, 3])
    theirs = captum.attr.GuidedGradCam(net, net[3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.attribute(x, target=target, interpolate_mode="bilinear")
    batch = cf.batch_of(net, x, target, batch_size=2)
    found = GuidedGradCam()(batch)
    torch.testing.assert_close(12 * found, expected, rtol=1e-9, atol=1e-14)
    assert batch.score.cost.backward == 6
    assert bool((found < 0).any())
    with pytest.raises(NotDefinedError, match="ReLU"):
        GuidedGradCam()(cf.batch_of(cf.small_net(), x, target))


def test_mode_is_checked():
    with pytest.raises(InputError, match="unknown mode 'linear'"):
        GradCam(mode="linear")


# -- vision transformers -------------------------------------------------------------------


def vit(**arguments) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        own = {**sizes, "num_classes": 4, **arguments}
        return timm.create_model("vit_tiny_patch16_224", **own).double().eval()


def photos(n: int = 2, side: int = 32) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, side, side, generator=g, dtype=torch.float64)


@pytest.mark.parametrize(
    "arguments", [{}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}]
)
def test_patches_of_a_transformer_are_a_map(arguments):
    """HiResCAM of tokens: token times gradient, at the place of its patch."""
    net, x, target = vit(**arguments), photos(), torch.tensor([1, 3])
    assert auto_layer(net, x[:1]) == "blocks.1.norm1"
    kept: list[Tensor] = []

    def keep(_module, _inputs, output):
        kept.append(output)
        output.retain_grad()

    handle = net.blocks[1].norm1.register_forward_hook(keep)
    net(x.clone().requires_grad_()).gather(1, target[:, None]).sum().backward()
    handle.remove()
    product = (kept[0] * kept[0].grad).sum(dim=2)[:, -16:].detach()
    expected = product.view(2, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2) / 64
    found = HiResCam(mode="nearest")(cf.batch_of(net, x, target)).sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)
    for method in ALL:
        assert bool(method()(cf.batch_of(net, x, target)).isfinite().all())


def test_after_the_last_attention_no_patch_reaches_the_class_token():
    for layer in ("blocks.1", "norm"):
        with pytest.raises(NotDefinedError, match="only the class token"):
            GradCamSigned(layer)(cf.batch_of(vit(), photos(1), torch.tensor([0])))


def test_torchvisions_transformer():
    net = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8,
        num_classes=4,
    ).double()  # fmt: skip
    nn.init.normal_(net.heads.head.weight)
    net.eval()
    assert auto_layer(net, photos(1)) == "encoder.layers.encoder_layer_1.ln_1"
    found = explain(HiResCam(), net, photos(), target=[0, 1])
    assert found.shape == (2, 3, 32, 32)
    assert found.abs().sum() > 0


def test_swin_has_its_channels_last():
    net = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=8, depths=(1, 1),
        num_heads=(1, 2), num_classes=4,
    ).double().eval()  # fmt: skip
    x, target = photos(), torch.tensor([0, 1])
    assert auto_layer(net, x[:1]) == "norm"
    found = GradCamSigned()(cf.batch_of(net, x, target)).sum(dim=(1, 2, 3))
    with torch.no_grad():
        logits = (net(x) - net.head.fc.bias).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(found, logits, rtol=1e-9, atol=1e-12)
