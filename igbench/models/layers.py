"""Find the last layer of a network that keeps the axes of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def last_spatial_child(module: nn.Module, shape: tuple[int, ...]) -> str:
    """Name of the last child with an output (N, channels, h, w); "" if tokens or vectors follow.

    One forward pass of zeros decides.  Outputs with channels last, as Swin's, are none: Grad-CAM
    would take an axis of the image for the channels.

    Args:
        module: In eval mode.
        shape: Of one input, (channels, side, side).

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> last_spatial_child(net, (3, 8, 8))
    '0'
    """
    last = [""]

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output[0, ...].dim() > 1 and _has_places(output):
                square = output.dim() == 4 and output.shape[2] == output.shape[3]
                last[0] = name if square else ""

        return children[name].register_forward_hook(note)

    children = dict(module.named_children())
    handles = [watch(name) for name in children]
    try:
        with torch.inference_mode():
            module(torch.zeros(1, *shape))
    finally:
        for handle in handles:
            handle.remove()
    return last[0]


def _has_places(output: Tensor) -> bool:
    """Whether there is more than one place in the image, whatever the layout."""
    return output.dim() > 2 and output[0].numel() > output.shape[1] * (output.dim() == 4)
