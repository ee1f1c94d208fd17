"""Methods of feature maps, regions and attention, beside Captum, pytorch-grad-cam, saliency."""

from __future__ import annotations

import contextlib
import importlib
import io
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import timm
import torch
from captum import attr
from scipy.stats import spearmanr
from setting import EXACT, Comparison, Found, batch_of, colours, drawn, module_of, same
from torch import Tensor, nn

from igbench import methods
from igbench.core.batch import Batch
from igbench.surrogates.regions import grow, regions

ON = "digits ResNet"
LAYER = "layer3"
CAMS = {
    "grad_cam": ("GradCAM", methods.GradCam),
    "grad_cam_plus_plus": ("GradCAMPlusPlus", methods.GradCamPlusPlus),
    "layer_cam": ("LayerCAM", methods.LayerCam),
    "hires_cam": ("HiResCAM", methods.HiResCam),
    "score_cam": ("ScoreCAM", methods.ScoreCam),
}
"""Methods, and the classes of pytorch-grad-cam."""
SCALED = 1e-4
"""Largest difference of maps that were scaled to [0, 1] in float32, with 1e-7 in denominators."""


def comparisons(batch: Batch) -> list[Comparison]:
    """Rows of class activation maps, XRAI and attention."""
    flat = batch_of(same_size(), colours())
    row = Comparison
    return [
        row("grad_cam", "Captum's LayerGradCam / cell", ON, partial(layer_grad_cam, batch, True)),
        row(
            "grad_cam_signed",
            "Captum's LayerGradCam / cell",
            ON,
            partial(layer_grad_cam, batch, False),
        ),
        row("guided_grad_cam", "Captum / cell", ON, partial(guided_grad_cam, batch)),
        *(
            row(name, f"pytorch-grad-cam's {theirs}", on, partial(cam, own, *at, name))
            for name, (theirs, _) in CAMS.items()
            for on, own, at in ((ON, batch, (LAYER, 2)), ("CNN, maps of 8 x 8", flat, ("1", 1)))
        ),
        row(
            "grad_cam_plus_plus",
            "pytorch-grad-cam's GradCAMPlusPlus",
            "CNN, maps of 8 x 8, logits times 1000",
            partial(cam, batch_of(same_size(1000), colours()), "1", 1, "grad_cam_plus_plus"),
        ),
        row(
            "score_cam",
            "pytorch-grad-cam's ScoreCAM, masks enlarged as ours",
            ON,
            partial(score_cam, batch),
        ),
        row("xrai", "saliency.XRAI, given segments and IG", "drawn images", xrai),
        row("attention_rollout", "formula, attention recomputed", "ViT", rollout),
        row("chefer", "formula, attention from hooks", "ViT", chefer),
        row("cp_lrp", "formula: sums to f", "ViT without biases and class token", cp_lrp),
    ]


def same_size(factor: float = 1.0) -> nn.Module:
    """A network whose feature maps have the size of the image, with logits times a factor."""
    net = drawn(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(384, 3),
        ),
        seed=2,
    )  # fmt: skip
    with torch.no_grad():
        net[-1].weight.mul_(factor)
    return net


def cell(batch: Batch) -> int:
    """Number of input elements of a cell of the layer, by which our maps are divided."""
    return 4 * batch.x.shape[1]


def layer_grad_cam(batch: Batch, cut: bool) -> Found:
    """Captum's map of the layer, interpolated by Captum."""
    module = module_of(batch)
    small = attr.LayerGradCam(module, module.get_submodule(LAYER)).attribute(
        batch.x, target=batch.target, relu_attributions=cut
    )
    large = attr.LayerAttribution.interpolate(small, (8, 8), "bilinear")
    method: Any = methods.GradCam if cut else methods.GradCamSigned
    return same(large / cell(batch), method(LAYER)(batch))


def guided_grad_cam(batch: Batch) -> Found:
    """Captum's product, with its interpolation set to bilinear."""
    module = module_of(batch)
    theirs = attr.GuidedGradCam(module, module.get_submodule(LAYER)).attribute(
        batch.x.clone().requires_grad_(), target=batch.target, interpolate_mode="bilinear"
    )
    return same(theirs / cell(batch), methods.GuidedGradCam(LAYER)(batch))


def scaled(maps: Tensor) -> Tensor:
    """Maps (N, *F), cut off at zero and scaled to [0, 1] each."""
    flat = maps.relu().flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    return ((flat - low) / (high - low)).view_as(maps)


def cam(batch: Batch, layer: str, step: int, name: str) -> Found:
    """Maps cut off, scaled and enlarged as the library does, and their rank correlation."""
    theirs = importlib.import_module("pytorch_grad_cam")
    targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    class_name, method = CAMS[name]
    module = module_of(batch)
    assert batch.target is not None
    explainer = getattr(theirs, class_name)(
        model=module, target_layers=[module.get_submodule(layer)]
    )
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        found = explainer(
            batch.x.clone().requires_grad_(),
            [targets.ClassifierOutputTarget(k) for k in batch.target.tolist()],
        )
    explainer.activations_and_grads.release()
    a = torch.from_numpy(np.array(found)).double()
    large = method(layer)(batch).sum(dim=1)
    if name == "hires_cam":  # with a sign; the library cuts it off before it enlarges
        each = method(layer, "nearest")(batch).sum(dim=1)[:, None, ::step, ::step]
        large = nn.functional.interpolate(each.relu(), (8, 8), mode="bilinear")[:, 0]
    b = scaled(large)
    ranks = [
        spearmanr(*(side[i].flatten().numpy().round(4) for side in (a, b))).statistic
        for i in range(len(batch))
    ]
    why = f"scaled to [0, 1] in float32; rank correlation {min(ranks):.4f}"
    if float((a - b).abs().max()) > SCALED:
        why += EXPLAINED.get(name, "")
    return Found("difference, scaled", float((a - b).abs().max()), SCALED, why)


def score_cam(batch: Batch) -> Found:
    """Score-CAM of the library without align_corners, which moves the places of its masks."""
    enlarge = partial(nn.Upsample, mode="bilinear", align_corners=False)
    with mock.patch.object(nn, "UpsamplingBilinear2d", enlarge):
        return cam(batch, LAYER, 2, "score_cam")


EXPLAINED = {
    "score_cam": "; its masks are enlarged with align_corners=True, ours without",
    "grad_cam_plus_plus": "; 1e-6 in its denominator",
}
"""What sets maps of pytorch-grad-cam apart where they are."""


def xrai() -> Found:
    """Growth of regions with all settings of the library."""
    saliency = importlib.import_module("saliency.core")
    maps = []
    for seed in range(2):
        g = np.random.default_rng(seed)
        image = np.zeros((48, 48, 3))
        image[10:30, 5:40], image[20:44, 20:30] = g.random(3), g.random(3)
        masks = regions(image.transpose(2, 0, 1) + 0.02 * g.normal(size=(3, 48, 48)))
        base = g.normal(size=(48, 48)) + image.mean(axis=2)
        settings = saliency.XRAIParameters()
        settings.experimental_params["min_pixel_diff"] = 5
        theirs = saliency.XRAI().GetMask(
            image,
            call_model_function=None,
            base_attribution=np.repeat(base[..., None], 3, axis=2),  # it takes the largest channel
            segments=list(masks),
            extra_parameters=settings,
        )
        maps.append([torch.from_numpy(side).double() for side in (theirs, grow(base, masks, 5))])
    theirs, ours = (torch.stack(side) for side in zip(*maps, strict=True))
    return same(theirs, ours)


def vit(bare: bool = False) -> nn.Module:
    """A small vision transformer with drawn weights; bare, without biases and class token."""
    own: dict[str, Any] = {"class_token": False, "global_pool": "avg"} if bare else {}
    own |= {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = timm.create_model("vit_tiny_patch16_224", num_classes=4, **own).double().eval()
        for layer in attention_of(net):  # far from uniform attention
            nn.init.normal_(layer.qkv.weight, std=0.5)
            layer.fused_attn = False
    if bare:
        with torch.no_grad():
            for name, p in net.named_parameters():
                if "bias" in name or "pos_embed" in name:
                    p.zero_()
    return net


def attention_of(net: Any) -> list[Any]:
    """The attention layers of a transformer, the first one first."""
    return [block.attn for block in net.blocks]


def photos(net: nn.Module) -> Batch:
    """Drawn images for the transformer."""
    g = torch.Generator().manual_seed(0)
    return batch_of(net, torch.randn(2, 3, 32, 32, generator=g, dtype=torch.float64))


def rollout() -> Found:
    """(I + A) / 2 multiplied, with softmax(q k) recomputed from the tokens that enter a layer."""
    net = vit()
    batch, tokens = photos(net), []
    handles = [
        layer.register_forward_pre_hook(lambda _m, a: tokens.append(a[0]))
        for layer in attention_of(net)
    ]
    with torch.no_grad():
        net(batch.x)
        product = torch.eye(17, dtype=torch.float64)
        for layer, own in zip(attention_of(net), tokens, strict=True):
            q, k, _ = layer.qkv(own).view(2, 17, 3, 3, 8).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(2, 3) / 8**0.5).softmax(dim=-1).mean(dim=1)
            product = (torch.eye(17) + attention) / 2 @ product
    for handle in handles:
        handle.remove()
    return same(on_patches(product[:, 0, 1:]), methods.AttentionRollout()(batch).sum(dim=1))


def on_patches(row: Tensor) -> Tensor:
    """Values of 4 x 4 patches (N, 16) as a map (N, 32, 32) of the same sum."""
    return row.view(-1, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2) / 64


def chefer() -> Found:
    """R + E (A grad)^+ R, with attention and its gradient from hooks."""
    net = vit()
    batch, kept = photos(net), []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handles = [layer.attn_drop.register_forward_hook(keep) for layer in attention_of(net)]
    net(batch.x)[:, 1].sum().backward()
    for handle in handles:
        handle.remove()
    found = torch.eye(17, dtype=torch.float64)
    for attention in kept:
        assert attention.grad is not None
        found = found + (attention * attention.grad).relu().mean(dim=1) @ found
    return same(on_patches(found[:, 0, 1:].detach()), methods.Chefer()(batch).sum(dim=1))


def cp_lrp() -> Found:
    """All of f reaches the pixels where nothing else feeds the network."""
    batch = photos(vit(bare=True))
    found = methods.CpLrp()(batch).flatten(1).sum(dim=1, keepdim=True)
    return same(batch.score.evaluate(batch.x, batch.target)[:, None], found, EXACT)
