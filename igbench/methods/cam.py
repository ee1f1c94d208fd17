"""Class activation maps: weighted sums of the feature maps of one layer, enlarged to the input."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.core.layers import AUTO, as_maps, check_layer, image_layer, kept_output
from igbench.errors import InputError, NotDefinedError, check_choice
from igbench.methods.base import BaseMethod
from igbench.methods.guided_backprop import GuidedBackprop


@dataclass(frozen=True)
class _Cam(BaseMethod):
    """A map (N, h, w) of a layer, enlarged to the input so that it keeps its sum.

    `title` names the method in messages.
    """

    layer: str = AUTO
    mode: Literal["bilinear", "nearest"] = "bilinear"

    title: ClassVar[str]
    looks_inside = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("mode", self.mode, ("bilinear", "nearest"))

    def check_fit(self, model: object, shape: tuple[int, ...]) -> None:
        """Raise if the model has no layer of that name."""
        if self.layer not in ("", AUTO) and isinstance(model, nn.Module):
            check_layer(model, self.layer)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            NotDefinedError: No images, or a model without such a layer.
            InputError: No layer of that name, or one whose output is no map.
        """
        name, layer = image_layer(batch.score.model, self.layer, batch.x, self.title)

        def of(part: slice) -> Tensor:
            small = self._small(batch.select(part), name, layer)
            return enlarged(small, batch.x[part], self.mode)

        return torch.cat(list(batch.score.in_chunks(len(batch), of)))

    @abstractmethod
    def _small(self, batch: Batch, name: str, layer: nn.Module) -> Tensor:
        """The map of a layer, (N, h, w)."""


@dataclass(frozen=True)
class _GradientCam(_Cam):
    """A map that is a function of the feature maps and of the gradients by them."""

    def _small(self, batch: Batch, name: str, layer: nn.Module) -> Tensor:
        return self.combine(*maps_and_gradients(batch, name, layer))

    @staticmethod
    @abstractmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The map (N, h, w) of feature maps and gradients, both (N, channels, h, w)."""


@dataclass(frozen=True)
class GradCam(_GradientCam):
    """Grad-CAM as published: what speaks for the class, without what speaks against it.

    The map is ReLU(sum_k alpha_k A_k), A_k the feature maps of a layer and alpha_k the mean of the
    gradient of f over the places of A_k.  It is interpolated to the input and divided by the number
    of input elements that one of its cells covers, channels included.  Magnitudes: contributions
    below zero are cut off, so entries sum to nothing in particular; `GradCamSigned` keeps them.
    Cost: one gradient for each sample.

    Args:
        layer: Dotted name of the layer in the model; its output is (N, channels, h, w), or
            (N, h, w, channels), or the tokens of a vision transformer.  "auto" for that of
            `igbench.core.layers.auto_layer`: the last with spatial axes, or the norm before the
            last attention.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Selvaraju et al. 2017, "Grad-CAM" (ICCV), eq. 1 and 2.
    """

    title = "Grad-CAM"
    label = "Grad-CAM ({layer})"
    reference = "Selvaraju et al. 2017, eq. 1 and 2"
    kind = "local"
    signed = False

    @staticmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The ReLU of the sum over k of alpha_k A_k, (N, h, w).

        Args:
            maps: (N, channels, h, w).
            gradients: (N, channels, h, w).

        >>> maps = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [0, 1]]]])
        >>> head = torch.tensor([0.25, -0.5]).view(1, 2, 1, 1).expand_as(maps)
        >>> GradCam.combine(maps, head).tolist()
        [[[0.25, 0.0], [0.75, 0.5]]]
        """
        return GradCamSigned.combine(maps, gradients).relu()


@dataclass(frozen=True)
class GradCamSigned(_GradientCam):
    """Grad-CAM without its ReLU: what speaks for the class, and what speaks against it.

    The map sum_k alpha_k A_k, A_k the feature maps of a layer and alpha_k the mean of the gradient
    of f over the places of A_k, enlarged as in `GradCam` so that it keeps its sum: for a network
    that ends in global average pooling and a linear layer, f(x) without the bias.  The batch's
    baseline takes no part.  Signed, as metrics that add contributions need it.  Cost: one gradient
    for each sample.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Selvaraju et al. 2017, "Grad-CAM" (ICCV), eq. 1 and 2 before the ReLU.
    """

    title = "Grad-CAM"
    label = "Grad-CAM ({layer}, no ReLU)"
    reference = "Selvaraju et al. 2017, eq. 1 and 2"

    @staticmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The sum over k of alpha_k A_k, (N, h, w), see `GradCam.combine`."""
        return (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)


@dataclass(frozen=True)
class GradCamPlusPlus(_GradientCam):
    """Grad-CAM++: Grad-CAM whose weights count the places that raise the class, large and small.

    The map is ReLU(sum_k w_k A_k) with w_k = sum over places of alpha ReLU(g), g the gradient of f
    by A_k and alpha = g^2 / (2 g^2 + g^3 sum A_k), zero where g is.  The factor exp(f) of the paper
    scales a map as a whole and is left out.  Enlarged as in `GradCam`; magnitudes.  Meant for
    layers after a ReLU: where a sum of A_k is below zero, the denominator can vanish.  Cost: one
    gradient for each sample.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Chattopadhay et al. 2018, "Grad-CAM++" (WACV), eq. 19.
    """

    title = "Grad-CAM++"
    label = "Grad-CAM++ ({layer})"
    reference = "Chattopadhay et al. 2018, eq. 19"
    kind = "local"
    signed = False

    @staticmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The ReLU of the sum over k of w_k A_k, (N, h, w).

        Args:
            maps: (N, channels, h, w).
            gradients: (N, channels, h, w).

        >>> maps = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [0, 1]]]])
        >>> head = torch.tensor([0.25, -0.5]).view(1, 2, 1, 1).expand_as(maps)
        >>> (9 * GradCamPlusPlus.combine(maps, head)).numpy().round(4).tolist()
        [[[2.0, 4.0], [6.0, 8.0]]]
        """
        raised = gradients.relu()
        share = raised / (2 + gradients * maps.sum(dim=(2, 3), keepdim=True))  # alpha times ReLU(g)
        weights = torch.where(raised > 0, share, 0).sum(dim=(2, 3), keepdim=True)
        return (weights * maps).sum(dim=1).relu()


@dataclass(frozen=True)
class HiResCam(_GradientCam):
    """HiResCAM: each place of the feature maps times the gradient there.

    The map is sum_k g_k A_k, elementwise, g_k the gradient of f by A_k, enlarged as in `GradCam`
    so that it keeps its sum: for a network that is linear after the layer, f(x) without the bias.
    The batch's baseline takes no part.  Signed.  Equal to `GradCamSigned` where global average
    pooling follows.  Cost: one gradient for each sample.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks".
    """

    title = "HiResCAM"
    label = "HiResCAM ({layer})"
    reference = "Draelos, Carin 2020"

    @staticmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The sum over k of g_k A_k, (N, h, w)."""
        return (gradients * maps).sum(dim=1)


@dataclass(frozen=True)
class LayerCam(_GradientCam):
    """LayerCAM: each place of the feature maps times the gradient there, where it is above zero.

    The map is ReLU(sum_k ReLU(g_k) A_k), elementwise, g_k the gradient of f by A_k; made for early
    layers too.  Enlarged as in `GradCam`; magnitudes.  Cost: one gradient for each sample.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Jiang et al. 2021, "LayerCAM: exploring hierarchical class activation maps for
    localization" (IEEE TIP), eq. 5 to 7.
    """

    title = "LayerCAM"
    label = "LayerCAM ({layer})"
    reference = "Jiang et al. 2021"
    kind = "local"
    signed = False

    @staticmethod
    def combine(maps: Tensor, gradients: Tensor) -> Tensor:
        """The ReLU of the sum over k of ReLU(g_k) A_k, (N, h, w)."""
        return (gradients.relu() * maps).sum(dim=1).relu()


@dataclass(frozen=True)
class ScoreCam(_Cam):
    """Score-CAM: feature maps weighted by what f says of the input behind them as masks.

    Each A_k is enlarged to the input and scaled to [0, 1] as a mask M_k; s_k is f of the input
    where M_k is 1 and the baseline where it is 0, mixed in between.  The map is
    ReLU(sum_k w_k A_k) with w the softmax of s over channels, enlarged as in `GradCam`.  Constant
    A_k give no mask and have no weight.  Magnitudes.  No gradients; cost: one forward for each
    sample and one for each of its channels.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Wang et al. 2020, "Score-CAM: score-weighted visual explanations for convolutional
    neural networks" (CVPR workshops), Alg. 1, whose baseline is zero.
    """

    title = "Score-CAM"
    label = "Score-CAM ({layer})"
    reference = "Wang et al. 2020, Alg. 1"
    kind = "local"
    signed = False
    needs_gradient = False

    @torch.no_grad()
    def _small(self, batch: Batch, name: str, layer: nn.Module) -> Tensor:
        with kept_output(layer, leaf=False) as kept:
            batch.score(batch.x, batch.target)
        maps, _ = as_maps(last_of(kept, name, batch), _module(batch), batch.x.shape[2:], name)
        return torch.stack([self._of_one(batch, i, maps[i]) for i in range(len(batch))])

    def _of_one(self, batch: Batch, i: int, maps: Tensor) -> Tensor:
        low, high = maps.flatten(1).aminmax(dim=1)
        varied = (high > low).nonzero()[:, 0]
        if not len(varied):
            return torch.zeros_like(maps[0])
        own, start, end = maps[varied], batch.baseline[i], batch.x[i]

        def masked(draw: Tensor) -> Tensor:
            return torch.lerp(start, end, as_masks(own[draw], end, self.mode))

        scores = batch.score.evaluate_draws(
            len(own), batch.target_of(i), masked, device=maps.device, full=True
        )
        weights = scores.double().softmax(dim=0).to(maps)
        return torch.einsum("k,khw->hw", weights, own).relu()


@dataclass(frozen=True)
class GuidedGradCam(_Cam):
    """Guided Grad-CAM: guided backprop where Grad-CAM is.

    The product of `GuidedBackprop` and `GradCam`, elementwise.  Its signs are those of guided
    backprop, its places those of Grad-CAM; entries sum to nothing in particular.  For networks
    whose activations are ReLUs.  Cost: two gradients for each sample.

    Args:
        layer: Dotted name of the layer, or "auto", see `GradCam`.
        mode: Interpolation, "bilinear" or "nearest".

    Source: Selvaraju et al. 2017, "Grad-CAM" (ICCV), section 3.2.
    """

    title = "Guided Grad-CAM"
    label = "Guided Grad-CAM ({layer})"
    reference = "Selvaraju et al. 2017, section 3.2"
    kind = "local"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F).

        Raises:
            NotDefinedError: No images, a model without such a layer, or one with other activations
                than ReLUs.
            InputError: No layer of that name, or one whose output is no map.
        """
        coarse = super().__call__(batch)
        return coarse * GuidedBackprop()(batch)

    def _small(self, batch: Batch, name: str, layer: nn.Module) -> Tensor:
        return GradCam.combine(*maps_and_gradients(batch, name, layer))


def as_masks(maps: Tensor, x: Tensor, mode: str) -> Tensor:
    """Feature maps (K, h, w) enlarged to a sample (C, H, W) and scaled to [0, 1], (K, 1, H, W).

    >>> as_masks(torch.tensor([[[2.0, 4.0]]]), torch.zeros(1, 1, 4), "nearest").tolist()
    [[[[0.0, 0.0, 1.0, 1.0]]]]
    """
    large = interpolated(maps[:, None], x, mode)
    low, high = large.amin(dim=(1, 2, 3), keepdim=True), large.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, (large - low) / (high - low), 0)


def maps_and_gradients(batch: Batch, name: str, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Feature maps of a layer and the gradients of f by them, both (N, channels, h, w).

    Where a forward pass calls the layer several times, the last call counts.

    Args:
        batch: Samples.
        name: Of the layer, for messages.
        layer: Of the model.

    Raises:
        InputError: The output of the layer is no map, or f does not depend on it.
        NotDefinedError: The layer is that of a transformer, and no patch reaches f from there.
    """
    image = tuple(batch.x.shape[2:])
    with torch.enable_grad(), kept_output(layer, leaf=True) as kept:
        out = batch.score(batch.x.detach(), batch.target)
        output = last_of(kept, name, batch)
        maps, _ = as_maps(output, _module(batch), image, name)
        found = None
        if out.requires_grad:
            (found,) = torch.autograd.grad(out.sum(), output, allow_unused=True)
    if found is None:
        raise InputError(
            f"the model's output has no gradient by what the layer {name!r} returns; set "
            "layer=NAME of one that it depends on."
        )
    gradients, others = as_maps(found, _module(batch), image, name)
    if others is not None and not gradients.any() and others.any():
        raise NotDefinedError(
            f"only the class token of what the layer {name!r} returns reaches the output, so the "
            "gradient is zero at every patch; set layer=NAME of one before the last attention, "
            "as layer=auto does."
        )
    return maps.detach(), gradients


def last_of(kept: list[Tensor], name: str, batch: Batch) -> Tensor:
    """The output of the last call of a layer, with a row for each sample.

    Raises:
        InputError: The layer was not called, or with other rows.
    """
    output = kept[-1] if kept else None
    if output is None or (isinstance(output, Tensor) and len(output) != len(batch)):
        was = "was not called" if output is None else f"returned {len(output)} rows"
        raise InputError(
            f"the layer {name!r} {was} in a forward pass of {len(batch)} samples; set layer=NAME "
            "of another one."
        )
    return output


def enlarged(small: Tensor, x: Tensor, mode: str) -> Tensor:
    """A map (N, h, w) at the resolution of the input (N, C, H, W), shared out over its elements.

    Divided by the number of input elements that a cell covers, channels included; the sum is kept
    exactly where H and W are multiples of h and w.

    >>> enlarged(torch.ones(1, 1, 2), torch.zeros(1, 1, 2, 4), "bilinear").tolist()
    [[[[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]]]
    """
    large = interpolated(small[:, None], x[0], mode)
    return (large / (x[0].numel() / small[0].numel())).expand_as(x)


def interpolated(maps: Tensor, x: Tensor, mode: str) -> Tensor:
    """Maps (N, K, h, w) at the resolution of a sample (C, H, W)."""
    corners = None if mode == "nearest" else False
    return nn.functional.interpolate(maps, size=x.shape[1:], mode=mode, align_corners=corners)


def _module(batch: Batch) -> nn.Module:
    model = batch.score.model
    assert isinstance(model, nn.Module)  # `image_layer` has made sure
    return model
