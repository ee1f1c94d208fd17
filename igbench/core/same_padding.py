"""A convolution with TensorFlow's "same" padding that copies no input to pad it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """Y = ceil(X / stride) outputs along an axis of X inputs, padded by zeros at both ends.

    With kernel K, dilation D and stride S, P = max((Y - 1) S + (K - 1) D + 1 - X, 0) zeros are
    added, P // 2 of them before, so that an odd P puts one more behind.  Convolutions pad both ends
    alike; a kernel with a zero before its first tap, padded by one more on that side, does the
    same without a padded copy of the input.  Where axes differ, or taps are apart (D > 1), an odd
    number of zeros is added to the input after all.

    Source: the definition of padding="SAME" in TensorFlow's `tf.nn.convolution`.

    >>> layer = SameConv2d.like(nn.Conv2d(1, 1, 3, stride=2, bias=False))
    >>> x, w = torch.rand(1, 1, 4, 4), layer.weight
    >>> padded = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), w, stride=2)
    >>> torch.allclose(layer(x), padded)
    True
    """

    wide: Tensor | None

    @classmethod
    def like(cls, layer: nn.Conv2d) -> SameConv2d:
        """A layer with the weights and settings of another, whose own padding is not used.

        Args:
            layer: Any convolution of two axes; its tensors are shared.
        """
        own = cls.__new__(cls)
        own.__dict__.update(layer.__dict__)
        own._parameters, own._buffers = dict(layer._parameters), dict(layer._buffers)
        wide = None
        if set(own.dilation) == {1}:
            with torch.no_grad():
                wide = functional.pad(layer.weight, (1, 0, 1, 0))  # in the layout of the weights
        own.register_buffer("wide", wide, persistent=False)
        return own

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, C', Y, Y') of inputs (N, C, X, X')."""
        total = [self._zeros(x, axis) for axis in (0, 1)]
        odd = [zeros % 2 for zeros in total]
        behind = [zeros // 2 + more for zeros, more in zip(total, odd, strict=True)]
        weight = self.weight
        if odd == [1, 1] and self.wide is not None:
            weight = self.wide
        elif odd != [0, 0]:
            (top, left), (bottom, right) = (n // 2 for n in total), behind
            x, behind = functional.pad(x, (left, right, top, bottom)), [0, 0]
        return functional.conv2d(
            x, weight, self.bias, self.stride, behind, self.dilation, self.groups
        )

    def _zeros(self, x: Tensor, axis: int) -> int:
        """Zeros to add along an axis."""
        size, stride = x.shape[2 + axis], self.stride[axis]
        reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        return max((-(-size // stride) - 1) * stride + reach - size, 0)
