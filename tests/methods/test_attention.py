"""Attention of vision transformers: the products by hand, what is seen of models, refusals."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
import yaml
from torch import Tensor, nn

import igbench
from igbench.config import build, compose
from igbench.core.attention import AttentionMode, Conservative, attentions
from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import AttentionRollout, Chefer, CpLrp, explain
from igbench.methods.attention import relevance, rollout
from tests.helpers import closed_form as cf

BOTH = (AttentionRollout, Chefer)
ALL = (*BOTH, CpLrp)
FIRST = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]], dtype=torch.float64)
LAST = torch.tensor([[[0.4, 0.6, 0], [0.3, 0.3, 0.4], [0, 0.5, 0.5]]], dtype=torch.float64)


def vit(**arguments) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        own = {**sizes, "num_classes": 4, **arguments}
        net = timm.create_model("vit_tiny_patch16_224", **own).double().eval()
        for block in net.blocks:  # far from uniform attention
            nn.init.normal_(block.attn.qkv.weight, std=0.5)
    return net


def photos(n: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 32, 32, generator=g, dtype=torch.float64)


def plain_attention(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Softmax of q k / sqrt(d) from the inputs of every `attn`, (N, heads, T, T)."""
    inputs: list[Tensor] = []
    handles = [
        b.attn.register_forward_pre_hook(lambda _m, a: inputs.append(a[0])) for b in net.blocks
    ]
    net(x)
    for handle in handles:
        handle.remove()
    found = []
    for block, tokens in zip(net.blocks, inputs, strict=True):
        n, t, d = tokens.shape
        q, k, _ = block.attn.qkv(tokens).view(n, t, 3, 3, d // 3).permute(2, 0, 3, 1, 4)
        found.append((q @ k.transpose(2, 3) / (d // 3) ** 0.5).softmax(dim=-1).detach())
    return found


@pytest.mark.parametrize("name", ["attention_rollout", "chefer", "cp_lrp"])
def test_configurations_name_every_argument_with_its_default(name):
    node = yaml.safe_load((compose.FOLDER / "method" / f"{name}.yaml").read_text())[name]
    made = build.construct(node, name)
    assert made == type(made)()
    assert set(node) - {"_target_"} == set(vars(made))
    whole = name == "cp_lrp"
    assert (made.spec.kind, made.spec.signed) == ("global" if whole else "local", whole)
    assert made.spec.needs_gradient == (name != "attention_rollout")


def test_rollout_of_two_layers():
    """M17; the first layer leftmost would give (.54375, .3375, .11875)."""
    found = rollout([FIRST, LAST])[0]
    expected = torch.tensor([0.555, 0.3275, 0.1175], dtype=torch.float64)
    torch.testing.assert_close(found[0], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(rollout([FIRST, LAST], 1e-9), LAST @ FIRST)


def test_relevance_of_two_layers():
    one = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(relevance([FIRST, LAST]), (one + LAST) @ (one + FIRST))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("arguments", "prefix", "by_class"),
    [
        ({}, 1, True),
        ({"reg_tokens": 2}, 3, True),
        ({"global_pool": "avg"}, 1, False),
        ({"class_token": False, "global_pool": "avg"}, 0, False),
    ],
)
def test_attention_is_seen_as_it_is(fused, arguments, prefix, by_class):
    net, x = vit(**arguments), photos()
    for block in net.blocks:
        block.attn.fused_attn = fused
    target = torch.tensor([0, 1])
    with torch.no_grad():
        plain = net(x).gather(1, target[:, None])[:, 0]
    expected = plain_attention(net, x)
    found = attentions(Score(net), x, target, "")
    torch.testing.assert_close(found.score.detach(), plain, rtol=1e-10, atol=1e-12)
    assert (found.grid, found.by_class) == ((4, 4, prefix), by_class)
    for own, value in zip(found.layers, expected, strict=True):
        torch.testing.assert_close(own.detach(), value, rtol=1e-10, atol=1e-14)
    product = rollout([a.mean(dim=1) for a in expected])
    row = product[:, 0, prefix:] if by_class else product[:, prefix:, prefix:].mean(dim=1)
    large = row.view(2, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2) / 64
    phi = AttentionRollout()(cf.batch_of(net, x, target))
    torch.testing.assert_close(phi.sum(dim=1), large, rtol=1e-10, atol=0)
    torch.testing.assert_close(phi.sum(dim=(1, 2, 3)), row.sum(dim=1))


def test_chefer_with_attention_as_an_argument():
    """Gradients by attention maps that hooks put in place of those of the model."""
    net, x, target = vit(), photos(), torch.tensor([2, 3])
    for block in net.blocks:
        block.attn.fused_attn = False
    kept: list[Tensor] = []

    def keep(_module, _inputs, output):
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handles = [b.attn.attn_drop.register_forward_hook(keep) for b in net.blocks]
    out = net(x).gather(1, target[:, None]).sum()
    for handle in handles:
        handle.remove()
    # A layer's attention as a leaf cuts the way to earlier ones through it, not through the values.
    assert len(kept) == 2
    last = torch.autograd.grad(out, kept[1])[0]
    found = attentions(Score(net), x, target, "")
    gradients = torch.autograd.grad(found.score.sum(), found.layers)
    torch.testing.assert_close(gradients[1], last, rtol=1e-9, atol=1e-13)
    layers = [(a * g).relu().mean(dim=1) for a, g in zip(found.layers, gradients, strict=True)]
    one = torch.eye(17, dtype=torch.float64)
    row = ((one + layers[1]) @ (one + layers[0]))[:, 0, 1:].detach()
    phi = Chefer()(cf.batch_of(net, x, target))
    torch.testing.assert_close(phi.sum(dim=(1, 2, 3)), row.sum(dim=1), rtol=1e-9, atol=0)
    torch.testing.assert_close(64 * phi.sum(dim=1)[:, ::8, ::8], row.view(2, 4, 4))


def test_gradients_by_attention_are_those_of_finite_differences():
    """One entry of the first layer, moved by a hook, moves f by its gradient."""
    net, x, target = vit(), photos(1), torch.tensor([2])
    for block in net.blocks:
        block.attn.fused_attn = False
    found = attentions(Score(net), x, target, "")
    gradient = torch.autograd.grad(found.score.sum(), found.layers[0])[0]
    values = []
    for step in (1e-5, -1e-5):

        def move(_module, _inputs, output, step=step):
            output = output.clone()
            output[0, 1, 3, 5] += step
            return output

        handle = net.blocks[0].attn.attn_drop.register_forward_hook(move)
        values.append(net(x)[0, 2].item())
        handle.remove()
    assert float(gradient[0, 1, 3, 5]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_chefer_tells_classes_apart_and_rollout_does_not():
    net, x = vit(), photos()
    for method, same in ((AttentionRollout(), True), (Chefer(), False)):
        a, b = (explain(method, net, x, target=k) for k in (0, 1))
        assert torch.equal(a, b) == same


@pytest.mark.parametrize("method", ALL)
def test_maps_do_not_depend_on_their_neighbours_and_leave_nothing(method):
    net, x, target = vit(), photos(3), torch.tensor([0, 1, 3])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    batch = cf.batch_of(net, x, target)
    whole = method()(batch)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (
        3,
        3 * (method is not AttentionRollout),
    )
    cut = method()(cf.batch_of(net, x, target, batch_size=2))
    torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-15)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(b.attn.fused_attn for b in net.blocks)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not x.requires_grad


def test_torchvisions_transformer():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8,
            num_classes=4,
        )  # fmt: skip
        nn.init.normal_(net.heads.head.weight)
    net, x, target = net.double().eval(), photos(), torch.tensor([0, 1])
    expected: list[Tensor] = []

    def note(module, args, _output):
        _, weights = module.forward(*args, need_weights=True, average_attn_weights=False)
        expected.append(weights.detach())

    handles = [
        m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.MultiheadAttention)
    ]
    plain = net(x).gather(1, target[:, None])[:, 0].detach()
    for handle in handles:
        handle.remove()
    found = attentions(Score(net), x, target, "")
    torch.testing.assert_close(found.score.detach(), plain, rtol=1e-10, atol=1e-12)
    for own, value in zip(found.layers, expected, strict=True):
        torch.testing.assert_close(own.detach(), value, rtol=1e-10, atol=1e-14)
    assert (found.grid, found.by_class) == ((4, 4, 1), True)
    for method in BOTH:
        phi = method()(cf.batch_of(net, x, target))
        assert bool((phi > 0).any())


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_transformers_of_hugging_face(kind):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
        image_size=32, patch_size=8, num_labels=4, attn_implementation=kind,
    )  # fmt: skip
    with torch.random.fork_rng():
        net = transformers.ViTForImageClassification(config).double().eval()
    found = attentions(Score(net), photos(), torch.tensor([0, 1]), "")
    assert (found.grid, found.by_class, len(found.layers)) == ((4, 4, 1), True, 2)
    assert found.layers[0].shape == (2, 2, 17, 17)


def swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=8, depths=(1, 1),
        num_heads=(1, 2), num_classes=4,
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("method", ALL)
def test_what_has_no_such_attention_says_so_in_one_line(method):
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    pooled = vit(class_token=False, global_pool="map")
    for net, x, message in (
        (conv, photos(1), "needs a vision transformer"),
        (conv, photos(1)[:, 0], "needs images"),
        (swin(), photos(1), "windows"),
        (pooled, photos(1), "pooled"),
    ):
        with pytest.raises(NotDefinedError, match=message) as error:
            method()(cf.batch_of(net, x, torch.tensor([0])))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("own", [{}, {"act_layer": nn.ReLU}, {"act_layer": nn.SiLU}])
def test_conservative_propagation_keeps_the_output(own):
    """M18: without biases, class token and positions, the map sums to f at rounding error."""
    net, x, target = vit(**own), photos(), torch.tensor([0, 3])
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias") or name in ("cls_token", "pos_embed"):
                value.zero_()
        plain = net(x).gather(1, target[:, None])[:, 0]
    batch = cf.batch_of(net, x, target)
    found = CpLrp()(batch)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), plain, rtol=1e-11, atol=1e-13)
    assert (batch.score.cost.forward, batch.score.cost.backward) == (2, 2)
    leaf = x.clone().requires_grad_()
    plain_gradient = torch.autograd.grad(net(leaf).gather(1, target[:, None]).sum(), leaf)[0]
    assert not torch.allclose(found, x * plain_gradient, rtol=1e-3)


def test_conservative_propagation_does_not_change_the_forward_pass():
    net, x, target = vit(), photos(), torch.tensor([0, 3])
    with torch.no_grad():
        plain = net(x).gather(1, target[:, None])[:, 0]
        found = attentions(Score(net), x, target, "", Conservative())
    torch.testing.assert_close(found.score, plain, rtol=1e-11, atol=1e-13)


def test_conservative_propagation_refuses_what_it_has_no_rule_for():
    x, target = photos(1), torch.tensor([0])
    with pytest.raises(NotDefinedError, match="no rule for tanh"):
        CpLrp()(cf.batch_of(vit(act_layer=nn.Tanh), x, target))
    batch = Batch(Score(vit(), "probability"), x, 0 * x, target, ("a",))
    with pytest.raises(NotDefinedError, match="explains logits, not probability"):
        CpLrp()(batch)


def test_by_name_from_python():
    names = ["attention_rollout", "chefer", "grad_cam_signed"]
    found = igbench.evaluate(vit().float(), photos().float(), methods=names, metrics="sparseness")
    assert (found.frame.status == "ok").all()
    assert found.run.methods["grad_cam_signed"].title == "Grad-CAM (blocks.1.norm1, no ReLU)"


def test_residual_is_checked():
    for wrong in (0, 1, -0.5):
        with pytest.raises(InputError, match="residual is"):
            AttentionRollout(residual=wrong)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")
def test_softmax_along_other_or_implied_axes_is_no_attention():
    logits = torch.zeros(2, 3, 3)
    with AttentionMode() as seen:
        nn.functional.softmax(logits)
        logits.softmax(1)
        logits.softmax(dim=-1)
        torch.softmax(logits, 2)
    assert len(seen.maps) == 2
