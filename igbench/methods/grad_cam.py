"""Grad-CAM, brought to the resolution of the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.errors import InputError
from igbench.methods.captum import attribution_class
from igbench.schema import MethodSpec


@dataclass(frozen=True)
class GradCam:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) without its ReLU, by Captum's `LayerGradCam`.

    The low-resolution map sum_k alpha_k A_k is interpolated to the input and divided by the number
    of input elements that one of its cells covers, channels included, so that the map keeps its
    sum: for a network that ends in global average pooling and a linear layer without bias the sum
    is f(x).  Without the ReLU the map is signed, as metrics that add contributions need it.

    Args:
        layer: Dotted name of the layer in the model; its output is (N, channels, h, w).
        mode: Interpolation, "bilinear" or "nearest".
    """

    layer: str
    mode: str = "bilinear"

    @property
    def spec(self) -> MethodSpec:
        """Global and signed."""
        return MethodSpec(
            f"Grad-CAM ({self.layer}, no ReLU)",
            "Selvaraju et al. 2017, eq. 1 and 2",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        model = batch.score.model
        if batch.x.dim() != 4:
            raise InputError(f"Grad-CAM needs images, not inputs of shape {tuple(batch.x.shape)}.")
        if not isinstance(model, nn.Module) or not self.layer:
            raise InputError("Grad-CAM needs a torch module with spatial layers.")
        layers = dict(model.named_modules())
        if self.layer not in layers:
            spatial = [name for name in layers if name and "." not in name]
            raise InputError(
                f"the model has no layer {self.layer!r} for Grad-CAM; its top layers are "
                f"{', '.join(spatial)}. Set method.grad_cam.layer=NAME."
            )
        explainer = attribution_class("LayerGradCam")(batch.score, layers[self.layer])
        maps = []
        for i in range(len(batch)):
            args = None if batch.target is None else (batch.target[i : i + 1],)
            small = explainer.attribute(batch.x[i : i + 1], additional_forward_args=args)
            maps.append(self._enlarge(small.detach(), batch.x[i : i + 1]))
        return torch.cat(maps)

    def _enlarge(self, small: Tensor, x: Tensor) -> Tensor:
        corners = None if self.mode == "nearest" else False
        large = nn.functional.interpolate(
            small, size=x.shape[2:], mode=self.mode, align_corners=corners
        )
        covered = x[0].numel() / small[0].numel()
        return (large / covered).expand_as(x)
