"""Grad-CAM, interpolated to the resolution of the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.errors import InputError, NotDefinedError, suggestion
from igbench.methods.base import BaseMethod
from igbench.methods.captum import attribution_class


@dataclass(frozen=True)
class GradCam(BaseMethod):
    """Grad-CAM without its ReLU, by Captum's `LayerGradCam`.

    The map sum_k alpha_k A_k of a layer with feature maps A_k, alpha_k the mean gradient of f by
    A_k, is interpolated to the input and divided by the number of input elements that one of its
    cells covers, channels included, so that it keeps its sum: for a network that ends in global
    average pooling and a linear layer without bias, f(x).  Without the ReLU the map is signed, as
    metrics that add contributions need it.  Cost: one gradient for each sample.

    Args:
        layer: Dotted name of the layer in the model; its output is (N, channels, h, w).
        mode: Interpolation, "bilinear" or "nearest".

    Source: Selvaraju et al. 2017, "Grad-CAM" (ICCV), eq. 1 and 2.
    """

    layer: str
    mode: str = "bilinear"

    label = "Grad-CAM ({layer}, no ReLU)"
    reference = "Selvaraju et al. 2017, eq. 1 and 2"

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` without images or without the layer."""
        explainer = attribution_class("LayerGradCam")(batch.score, self._module(batch))
        maps = []
        for i in range(len(batch)):
            args = None if batch.target is None else (batch.target_of(i),)
            small = explainer.attribute(batch.x[i : i + 1], additional_forward_args=args)
            self._check_spatial(small)
            maps.append(self._enlarge(small.detach(), batch.x[i : i + 1]))
        return torch.cat(maps)

    def _module(self, batch: Batch) -> nn.Module:
        model = batch.score.model
        if batch.x.dim() != 4:
            raise NotDefinedError(
                f"Grad-CAM needs images, not inputs of shape {tuple(batch.x.shape)}."
            )
        if not isinstance(model, nn.Module) or not self.layer:
            raise NotDefinedError(
                "Grad-CAM needs a torch module, and the name of one of its layers with spatial "
                "axes; set method.grad_cam.layer=NAME, or layer=NAME from Python. "
                "Transformers and exported programs have no such layer."
            )
        layers = dict(model.named_modules())
        if self.layer not in layers:
            top = ", ".join(name for name in layers if name and "." not in name)
            raise InputError(
                f"the model has no layer {self.layer!r} for Grad-CAM; its top layers are {top}. "
                f"Set method.grad_cam.layer=NAME.{suggestion(self.layer, layers)}"
            )
        return layers[self.layer]

    def _check_spatial(self, small: object) -> None:
        shape = tuple(small.shape) if isinstance(small, Tensor) else None
        if shape is None or len(shape) != 4:
            has = f"has tokens or vectors, {shape}" if shape else "returns several tensors"
            raise InputError(
                f"the layer {self.layer!r} {has} where Grad-CAM needs (N, channels, h, w); set "
                "method.grad_cam.layer=NAME of another one, or leave grad_cam out."
            )

    def _enlarge(self, small: Tensor, x: Tensor) -> Tensor:
        corners = None if self.mode == "nearest" else False
        large = nn.functional.interpolate(
            small, size=x.shape[2:], mode=self.mode, align_corners=corners
        )
        covered = x[0].numel() / small[0].numel()
        return (large / covered).expand_as(x)
