"""Convolutions that pad by the size of their input, beside timm's."""

from __future__ import annotations

import itertools

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from igbench.core.same_padding import SameConv2d

GENERATOR = torch.Generator().manual_seed(3)

CASES = [
    (kernel, stride, dilation, size)
    for kernel, stride, dilation, size in itertools.product(
        [1, 2, 3, 5, (3, 4)], [1, 2, 3, (2, 1)], [1, 2], [(8, 8), (7, 7), (8, 7), (5, 6)]
    )
]


def layer_of_timm(kernel, stride, dilation, groups=2) -> nn.Conv2d:
    layer = Conv2dSame(4, 4, kernel, stride=stride, dilation=dilation, groups=groups)
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_(torch.randint(-4, 5, value.shape, generator=GENERATOR))
    return layer


@pytest.mark.parametrize(("kernel", "stride", "dilation", "size"), CASES)
def test_outputs_and_gradients_are_those_of_timm(kernel, stride, dilation, size):
    """Whole numbers, so that no order of a sum matters."""
    layer = layer_of_timm(kernel, stride, dilation)
    own = SameConv2d.like(layer)
    x, y = (
        torch.randint(-4, 5, (2, 4, *size), generator=torch.Generator().manual_seed(4))
        .float()
        .requires_grad_()
        for _ in range(2)
    )
    a, b = layer(x), own(y)
    assert torch.equal(a, b)
    weights = torch.arange(a.numel()).reshape(a.shape) % 7
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert torch.equal(x.grad, y.grad)


def test_even_and_odd_numbers_of_zeros_are_among_the_cases():
    """Both ways without a padded copy, and the one with."""
    seen = set()
    for kernel, stride, dilation, size in CASES:
        own = SameConv2d.like(layer_of_timm(kernel, stride, dilation))
        x = torch.zeros(1, 4, *size)
        seen.add((own._zeros(x, 0) % 2, own._zeros(x, 1) % 2, own.wide is None))
    assert seen == set(itertools.product([0, 1], [0, 1], [False, True]))


def test_no_input_is_copied_to_pad_it(monkeypatch):
    own = SameConv2d.like(layer_of_timm(3, 2, 1))
    monkeypatch.setattr("igbench.core.same_padding.functional.pad", None)
    assert own(torch.zeros(1, 4, 8, 8)).shape == (1, 4, 4, 4)
    with pytest.raises(TypeError):
        own(torch.zeros(1, 4, 8, 7))


def test_it_moves_and_keeps_its_layout():
    layer = layer_of_timm(3, 2, 1, groups=1).to(memory_format=torch.channels_last)
    own = SameConv2d.like(layer)
    assert own.weight is layer.weight
    assert own.wide.is_contiguous(memory_format=torch.channels_last)
    assert own.double().wide.dtype == torch.float64
    assert "wide" not in own.state_dict()
    assert "wide" not in dict(layer.named_buffers())
