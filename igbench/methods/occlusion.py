"""Occlusion: the change of the output under a window that slides over the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.features import spread, total
from igbench.errors import InputError, NotDefinedError
from igbench.methods.base import BaseMethod
from igbench.methods.coalitions import game
from igbench.surrogates.windows import Windows, check_sizes, windows_of


@dataclass(frozen=True)
class Occlusion(BaseMethod):
    """Change of the output without each window, shared among the elements of the window.

    phi_i = mean over the windows W that cover i of (f(x) - f(x with x' on W)) / |W|.  Windows
    overhang the border, where they have fewer elements, so that each element lies in equally many
    of them wherever the stride divides the window; then the entries sum to f(x) - f(x') for linear
    functions, and to nothing in particular for others.  With strides that do not divide it, so they
    do only where contributions are equal.

    With overhang=False the windows are those of `captum.attr.Occlusion`, fewer, and the map is
    Captum's divided by |W|, the elements of a whole window also where the border cuts one.  That
    loses the sum: elements near the border lie in fewer windows, so that entries of linear
    functions sum to f(x) - f(x') only where windows do not overlap and the border cuts none.
    Elements that lie in whole windows alone have the same entry either way.

    Where samples have features of their own, such as the words of a text, a window is a span of
    that many neighbouring features, and each shares its part out evenly over its elements.  One
    feature by default.

    Cost: 1 + windows forwards for each sample, 226 for 224 x 224 pixels by default, 170 with
    overhang=False.  Windows without an element that differs from x' are not evaluated, and windows
    that hide the same of these elements once.

    Args:
        window: Elements along a window: one number for all axes but the channels, of which a window
            has all, or one for each axis.  None for one that fits the shape, see
            `igbench.surrogates.windows.default_window`.
        stride: Steps of the window in the same form; None for half a window.
        overhang: Whether windows overhang the border, so that elements lie in equally many; False
            for the windows of Captum.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (ECCV),
    section 4.2.

    >>> from igbench.methods import explain
    >>> f = lambda x: x @ torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> explain(Occlusion(window=2, stride=2), f, torch.ones(1, 4)).tolist()
    [[1.5, 1.5, 3.5, 3.5]]
    """

    foldable = True

    window: int | Sequence[int] | None = None
    stride: int | Sequence[int] | None = None
    overhang: bool = True

    label = "Occlusion (sliding window)"
    reference = "Zeiler, Fergus 2014, section 4.2"
    needs_gradient = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, given in (("window", self.window), ("stride", self.stride)):
            if given is not None:
                check_sizes(what, given)

    def check_fit(self, model: object, shape: tuple[int, ...]) -> None:
        """Raise if the windows do not fit the samples; of spans that depends on the sample."""
        self._windows(shape)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `InputError` where the window does not fit the samples."""
        if isinstance(batch.features, Tensor):
            return torch.stack([self._of_spans(batch, i) for i in range(len(batch))])
        windows = self._windows(batch.x.shape[1:])
        maps = [_of_one(batch, i, windows) for i in range(len(batch))]
        return torch.stack(maps).to(batch.x)

    def _windows(self, shape: Sequence[int]) -> Windows:
        return windows_of(shape, self.window, self.stride, overhang=self.overhang)

    def _of_spans(self, batch: Batch, i: int) -> Tensor:
        """The map of a sample whose features are numbered, (*F)."""
        own, numbers = game(None, batch, i), torch.as_tensor(batch.features)
        count = int(numbers[i].max() if numbers.dim() == batch.x.dim() else numbers.max()) + 1
        window, stride = _span("window", self.window), _span("stride", self.stride)
        if count > 1 and (window or 1) >= count:
            raise NotDefinedError(
                f"occlusion: a span of {window} features hides all {count} of the sample, so no "
                "part of it can be told from another; set method.occlusion.window to less."
            )
        spans = windows_of((count,), window, stride, overhang=self.overhang)
        live = own.live.to(batch.x.device)

        def removed(draw: Tensor) -> Tensor:  # the first is the sample itself
            return (spans.inside(draw - 1) & (draw > 0)[:, None])[:, live]

        values = own.values_without(1 + spans.grid[0], removed)
        each = torch.zeros(own.features.count, dtype=torch.float64)  # one may be for no feature
        each[:count] = spans.share(values[0] - values[1:])
        sizes = total(own.part[None], own.features)[0].clamp(min=1)
        return (spread((each / sizes)[None], own.features)[0] * own.part).to(batch.x)


def _span(what: str, given: int | Sequence[int] | None) -> int | None:
    """Features of a window or a stride."""
    if isinstance(given, Sequence):
        raise InputError(
            f"occlusion: {what}={list(given)} has a number for each axis, and the samples have "
            "features in a row, such as words; give one number."
        )
    return given


def _of_one(batch: Batch, i: int, windows: Windows) -> Tensor:
    """The map of one sample, (*F) in float64."""
    x, baseline = batch.x[i], batch.baseline[i]
    distinct, place = windows.distinct((x != baseline).cpu())
    numbers = distinct.to(x.device)

    def rows(draw: Tensor) -> Tensor:  # the first is the sample itself
        hidden = windows.inside(numbers[draw - 1]) & (draw > 0).view(-1, *[1] * x.dim())
        return torch.where(hidden, baseline, x)

    changes = torch.zeros(len(distinct) + 1, dtype=torch.float64)  # the last is of hiding nothing
    if len(distinct):
        values = batch.score.evaluate_draws(
            1 + len(distinct), batch.target_of(i), rows, device=x.device, full=True
        )
        values = values.to("cpu", torch.float64)
        changes[:-1] = values[0] - values[1:]
    return windows.share(changes[place])
