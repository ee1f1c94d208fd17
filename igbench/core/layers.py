"""Layers of a network, by name or found by one forward pass, and their outputs as maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.model import Model
from igbench.errors import InputError, NotDefinedError, check_images, suggestion

AUTO = "auto"
"""Name that stands for the layer that `auto_layer` finds."""

BLOCKS = (
    ("norm1", "attn"),
    ("ln_1", "self_attention"),
    ("layernorm_before", "attention"),
    ("norm1", "attention"),
)
"""Names of the norm before the attention, and of the attention, in a block of a vision transformer:
those of timm, torchvision, and Hugging Face (ViT, DeiT, BEiT; DINOv2)."""

MOST_PREFIX = 8
"""Most tokens before those of the patches (class, distillation, registers) that are looked for."""


def check_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of a module by its dotted name.

    Args:
        model: The module.
        name: As in `model.named_modules()`.

    Raises:
        InputError: There is none; the message has the nearest names.

    >>> check_layer(nn.Sequential(nn.ReLU()), "0")
    ReLU()
    """
    layers = dict(model.named_modules())
    if not name or name not in layers:
        raise InputError(
            f"the model has no layer {name!r}; its top layers are {top_layers(model)}. Set "
            f"layer=NAME.{suggestion(name, [n for n in layers if n])}"
        )
    return layers[name]


def top_layers(model: nn.Module) -> str:
    """Names of the outermost layers of a module, for messages.

    >>> top_layers(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU())))
    '0, 1'
    """
    return ", ".join(name for name, _ in model.named_children()) or "none"


def image_layer(model: object, name: str, x: Tensor, what: str) -> tuple[str, nn.Module]:
    """The layer that a method looks into, with its name.

    Args:
        model: The model.
        name: Dotted name of the layer, or "auto", for which one sample is passed forward.
        x: (N, C, H, W).
        what: Name of the method, for messages.

    Raises:
        NotDefinedError: The samples are no images, or there is no such layer to be found.
        InputError: The model has no layer of that name.
    """
    check_images(what, x)
    module = isinstance(model, nn.Module)
    found = auto_layer(model, x[:1]) if isinstance(model, nn.Module) and name == AUTO else name
    if not isinstance(model, nn.Module) or not found:
        why = "none was found" if module else "this is a function"
        raise NotDefinedError(
            f"{what} needs a torch module, and the name of one of its layers with spatial axes "
            f"({why}); set the method's layer=NAME. Networks without convolutions or patches, and "
            "exported programs, have no such layer."
        )
    return found, check_layer(model, found)


def auto_layer(model: nn.Module, x: Tensor) -> str:
    """Name of the last layer whose output is a map over the image; "" where there is none.

    One forward pass decides.  Of a convolutional network it is the last module, at whatever depth,
    whose output has the axes of the image, (N, channels, h, w) or with channels last: a container
    stands for its last part, and the activation after the last convolution counts.  Of a vision
    transformer it is the norm before the attention of the last block: what comes after that
    attention does not reach the class token from any patch.

    Args:
        model: In eval mode.
        x: (1, C, H, W), one sample.

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> auto_layer(net, torch.zeros(1, 3, 8, 8))
    '0'
    """
    image, last = tuple(x.shape[2:]), ""
    outputs = _shapes(model, x)
    for name, shape in outputs:
        if len(shape) == 4 and _layout(shape, image):
            last = name
        elif len(shape) == 3:  # tokens, or a map without its axes: what came before is early
            last = ""
    return last or _before_last_attention(model, outputs, image)


def _shapes(model: nn.Module, x: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Names of the modules and shapes of their outputs, in the order in which they were called."""
    found: list[tuple[str, tuple[int, ...]]] = []
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                found.append((name, tuple(output.shape)))

        handles.append(module.register_forward_hook(note))

    try:
        for name, module in model.named_modules():
            if name:
                watch(name, module)
        with torch.no_grad(), rng.untouched():
            model(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    return found


def _layout(shape: Sequence[int], image: Sequence[int]) -> str:
    """Where a map of more than one place has its channels: "first", "last", or "" for no map."""
    for where, (h, w) in (("first", shape[2:]), ("last", shape[1:3])):
        if h * w > 1 and abs(h * image[1] - w * image[0]) < max(image):
            return where
    return ""


def _before_last_attention(
    model: nn.Module, outputs: Sequence[tuple[str, tuple[int, ...]]], image: tuple[int, ...]
) -> str:
    modules = dict(model.named_modules())
    for name, shape in reversed(outputs):
        parent, _, leaf = name.rpartition(".")
        blocks = [attention for norm, attention in BLOCKS if norm == leaf]
        inside = any(hasattr(modules.get(parent, model), attention) for attention in blocks)
        if inside and len(shape) == 3 and token_grid(prefix_counts(model), shape[1], image):
            return name
    return ""


def prefix_counts(model: nn.Module) -> Sequence[int]:
    """How many tokens may come before those of the patches; none for what is no transformer.

    >>> list(prefix_counts(nn.Linear(1, 1)))
    []
    """
    for module in model.modules():
        known = getattr(module, "num_prefix_tokens", None)
        if isinstance(known, int):
            return (known,)
    for module in model.modules():
        if any(hasattr(module, norm) and hasattr(module, attention) for norm, attention in BLOCKS):
            return range(MOST_PREFIX + 1)
    return ()


def token_grid(
    prefixes: Sequence[int], tokens: int, image: Sequence[int]
) -> tuple[int, int, int] | None:
    """Rows and columns of the patches of an image, and the number of tokens before them.

    Args:
        prefixes: Numbers of tokens that may come before the patches, see `prefix_counts`.
        tokens: Their number, T.
        image: H, W.

    Returns:
        (h, w, prefix) with prefix + h w = T and h / w = H / W; None where there is no such grid.

    >>> token_grid(range(9), 197, (224, 224)), token_grid([1], 9, (32, 64))
    ((14, 14, 1), (2, 4, 1))
    """
    for prefix in prefixes:
        patches = tokens - prefix
        for h in range(1, patches + 1):
            if h * h * image[1] == patches * image[0]:
                return h, patches // h, prefix
    return None


def as_maps(
    output: Any, model: nn.Module, image: Sequence[int], layer: str
) -> tuple[Tensor, Tensor | None]:
    """The output of a layer as maps, (N, channels, h, w), and the tokens that belong to no patch.

    Args:
        output: What the layer returned: (N, channels, h, w), (N, h, w, channels) where only this
            has the shape of the image, or tokens (N, T, channels) of a vision transformer.
        model: The model.
        image: H, W.
        layer: Name of the layer, for messages.

    Returns:
        The maps, and (N, prefix, channels) of a transformer with such tokens, else None.

    Raises:
        InputError: Anything else.
    """
    if isinstance(output, Tensor) and output.dim() == 4:
        last = _layout(output.shape, image) == "last"
        return (output.permute(0, 3, 1, 2) if last else output), None
    tokens = isinstance(output, Tensor) and output.dim() == 3
    grid = token_grid(prefix_counts(model), output.shape[1], image) if tokens else None
    if grid is None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        has = f"has tokens or vectors, {shape}" if shape else "returns several tensors"
        raise InputError(
            f"the layer {layer!r} {has}, and no grid of patches is known for it; set layer=NAME of "
            "one with an output (N, channels, h, w), or leave the method out."
        )
    h, w, prefix = grid
    maps = output[:, prefix:].transpose(1, 2).unflatten(2, (h, w))
    return maps, output[:, :prefix] if prefix else None


@contextmanager
def kept_output(layer: nn.Module, *, leaf: bool) -> Iterator[list[Any]]:
    """Keep what a layer returns, safe from what works on it in place afterwards.

    Args:
        layer: The layer.
        leaf: Whether the rest of the network starts from the output as a leaf that requires a
            gradient; what comes before the layer is then not differentiated.

    Yields:
        A list to which each call of the layer adds its output.
    """
    kept: list[Any] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> Any:
        if not isinstance(output, Tensor):
            kept.append(output)
            return output
        own = output.detach().clone()
        kept.append(own.requires_grad_() if leaf else own)
        return own.clone() if leaf else output

    handle = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def with_cam_layer(model: Model, x: Tensor) -> Model:
    """The model with the layer that `auto_layer` finds as its `cam_layer`, where it has none.

    A model that fails on the sample stays as it is, and so does one of other data than images.

    Args:
        model: The model.
        x: (1, *F), one sample, on the device of the model.
    """
    if model.cam_layer or x.dim() != 4:
        return model
    try:
        return replace(model, cam_layer=auto_layer(model.module, x))
    except Exception:  # what is wrong with the model is said where it is looked at
        return model
