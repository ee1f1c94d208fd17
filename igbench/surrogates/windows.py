"""Windows that slide over a sample, and what each element gets of their contributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import rng
from igbench.errors import InputError, NotDefinedError, check_whole

F64 = torch.float64


@dataclass(frozen=True)
class Axis:
    """Windows along one axis of a sample.

    Those that overhang at both ends cover each element equally often wherever `stride` divides
    `window`, and no two of them hide the same elements.  The others start at the first element and
    end with the first window that reaches the last one, where it is cut.

    Attributes:
        size: Elements along the axis.
        window: Elements along a window, 1 to `size`.
        stride: Step from one window to the next, 1 to `window`.
        overhang: Whether the first and the last ones overhang.

    >>> Axis(size=4, window=2, stride=1).starts.tolist()
    [-1, 0, 1, 2, 3]
    >>> Axis(size=4, window=2, stride=1, overhang=False).starts.tolist()
    [0, 1, 2]
    """

    size: int
    window: int
    stride: int
    overhang: bool = True

    @property
    def first(self) -> int:
        """First element of the first window, below zero where it overhangs."""
        return -self.stride * ((self.window - 1) // self.stride) if self.overhang else 0

    @property
    def starts(self) -> Tensor:
        """First element of every window, (T,)."""
        last = self.size - 1 if self.overhang else self.size - self.window + self.stride - 1
        return torch.arange(self.first, last + 1, self.stride)

    def inside(self, starts: Tensor) -> Tensor:
        """Which elements lie in windows with these starts, (rows,) to (rows, size)."""
        at = torch.arange(self.size, device=starts.device)
        return (at >= starts[:, None]) & (at < starts[:, None] + self.window)

    def sums(self, values: Tensor, axis: int) -> Tensor:
        """Sums of `values` over the elements of each window, along one of its axes."""
        first = self.starts.clamp(min=0)
        last = (self.starts + self.window).clamp(max=self.size)
        before = torch.zeros_like(values.select(axis, 0).unsqueeze(axis))
        running = torch.cat([before, values.cumsum(axis)], dim=axis)
        return running.index_select(axis, last) - running.index_select(axis, first)

    def means(self, values: Tensor, axis: int) -> Tensor:
        """Means of `values` over the windows that cover each element, along one of its axes."""
        at = torch.arange(self.size)
        newest = (at - self.first).div(self.stride, rounding_mode="floor")
        shape = [-1 if k == axis else 1 for k in range(values.dim())]
        total, count = torch.zeros((), dtype=values.dtype), torch.zeros(self.size)
        for back in range(-(-self.window // self.stride)):
            number = newest - back
            known = number.clamp(0, len(self.starts) - 1)
            covers = (number == known) & (self.starts[known] + self.window > at)
            total = total + torch.where(
                covers.view(shape), values.index_select(axis, known), torch.zeros_like(total)
            )
            count += covers
        return total / count.to(values.dtype).view(shape)


@dataclass(frozen=True)
class Windows:
    """Windows over samples of one shape, T of them, in the order of their positions.

    Attributes:
        axes: One for each axis of a sample.
    """

    axes: tuple[Axis, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of windows along each axis."""
        return tuple(len(axis.starts) for axis in self.axes)

    def inside(self, numbers: Tensor) -> Tensor:
        """Which elements lie in some of the windows, (rows,) to (rows, *F)."""
        found = torch.ones((), dtype=torch.bool, device=numbers.device)
        rest = numbers
        for k, axis in reversed(list(enumerate(self.axes))):
            own = axis.inside(axis.first + rest % self.grid[k] * axis.stride)
            rest = rest // self.grid[k]
            shape = [len(numbers), *(axis.size if j == k else 1 for j in range(len(self.axes)))]
            found = found & own.view(shape)
        return found

    def counts(self, marked: Tensor) -> Tensor:
        """Number of marked elements in each window, (*F) booleans to (T,)."""
        return self._sums(marked.long())

    def distinct(self, marked: Tensor) -> tuple[Tensor, Tensor]:
        """The first windows that hide each set of marked elements, and which window hides which.

        Sets are taken as one where sums of random whole numbers of 64 bits, one for each element,
        are equal, as `igbench.core.perturb.distinct_sets` takes them.

        Args:
            marked: (*F) booleans.

        Returns:
            Numbers of U windows, rising, of which no two hide the same marked elements and none
            hides none, (U,); and for every window the place among these, -1 for those that hide
            none, (T,).

        >>> windows_of((5,), 2, 1).distinct(torch.tensor([False, True, False, False, True]))
        (tensor([1, 4]), tensor([-1,  0,  0, -1,  1,  1]))
        """
        g = rng.generator(0, "distinct windows", "")
        codes = torch.randint(-(2**63), 2**63 - 1, marked.shape, generator=g)
        hides = self.counts(marked) > 0
        numbers = hides.nonzero()[:, 0]
        sums, same = self._sums(codes * marked)[hides].unique(return_inverse=True)
        first = numbers.new_full((len(sums),), len(hides))
        first = first.scatter_reduce(0, same, numbers, "amin")
        order = first.argsort()
        place = torch.full((len(hides),), -1)
        place[hides] = order.argsort()[same]
        return first[order], place

    def _sums(self, values: Tensor) -> Tensor:
        """Sums of values (*F) over the elements of each window, (T,)."""
        for k, axis in enumerate(self.axes):
            values = axis.sums(values, k)
        return values.flatten()

    @property
    def sizes(self) -> Tensor:
        """Elements by which the contribution of each window is divided, (T,).

        Those that it has; those of a whole one where windows do not overhang.
        """
        if all(axis.overhang for axis in self.axes):
            return self._sums(torch.ones([axis.size for axis in self.axes], dtype=torch.long))
        whole = math.prod(axis.window for axis in self.axes)
        return torch.full((math.prod(self.grid),), whole)

    def share(self, contributions: Tensor) -> Tensor:
        """What each element gets of the contributions of windows, (T,) to (*F) in float64.

        The mean, over the windows that cover it, of the contribution of a window divided by its
        number of elements.  Where windows overhang and every stride divides its window, elements
        lie in equally many windows, and of a linear function the shares sum to its change.  Where
        they do not overhang, contributions are divided by the elements of a whole window.

        Args:
            contributions: (T,).
        """
        found = (contributions.to("cpu", F64) / self.sizes).view(self.grid)
        for k, axis in enumerate(self.axes):
            found = axis.means(found, k)
        return found


def windows_of(
    shape: Sequence[int],
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    *,
    overhang: bool = True,
) -> Windows:
    """The windows over samples of one shape.

    Args:
        shape: *F.
        window: Elements of a window along each axis, or one number for all axes but the first,
            the channels, of which a window has all; a vector has no channels.  None for
            `default_window`.
        stride: Steps in the same form.  None for half a window, one element at least.
        overhang: Whether windows overhang the border, see `Axis`.

    Raises:
        InputError: Numbers that do not fit, steps that leave elements out, or a window as large as
            the sample.

    >>> windows_of((3, 224, 224)).grid, windows_of((3, 224, 224), 32, 32).grid
    ((1, 15, 15), (1, 7, 7))
    >>> windows_of((3, 224, 224), overhang=False).grid
    (1, 13, 13)
    """
    sides = default_window(shape) if window is None else _sizes("window", window, shape)
    steps = _half(sides, shape) if stride is None else _sizes("stride", stride, shape)
    for size, side, step in zip(shape, sides, steps, strict=True):
        if side > size or step > side:
            raise InputError(
                f"occlusion: windows {list(sides)}, strides {list(steps)} do not fit samples of "
                f"shape {tuple(shape)}; no window may be longer than its axis, no stride longer "
                "than its window."
            )
    if torch.Size(shape).numel() > 1 and tuple(sides) == tuple(shape):
        raise NotDefinedError(
            f"occlusion: a window of {list(sides)} hides all of a sample of shape {tuple(shape)}, "
            "so no part of it can be told from another; set method.occlusion.window to less."
        )
    return Windows(tuple(Axis(*a, overhang) for a in zip(shape, sides, steps, strict=True)))


def default_window(shape: Sequence[int]) -> tuple[int, ...]:
    """Windows for samples of one shape, where none are chosen.

    Single elements of vectors.  Otherwise all channels (the first axis) of a block with about a
    seventh of each other axis, at most 32 and even, so that steps of half of it divide it.

    Args:
        shape: *F.

    >>> default_window((3, 224, 224)), default_window((1, 36, 36)), default_window((2, 16))
    ((3, 32, 32), (1, 4, 4), (2, 2))
    >>> default_window((30,))
    (1,)
    """
    if len(shape) == 1:
        return (1,)
    sides = [min(32, max(1, round(n / 7))) for n in shape[1:]]
    return (shape[0], *(side if side == 1 else side // 2 * 2 for side in sides))


def _half(sides: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Steps of half a window, and of all of it along the channels."""
    halves = [max(1, side // 2) for side in sides]
    return (halves[0],) if len(shape) == 1 else (sides[0], *halves[1:])


def _sizes(what: str, given: int | Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """One number for each axis."""
    check_sizes(what, given)
    if not isinstance(given, Sequence):
        given = int(given)
        return (given,) if len(shape) == 1 else (shape[0], *[given] * (len(shape) - 1))
    if len(given) != len(shape):
        raise InputError(
            f"occlusion: {what}={list(given)} does not fit samples of shape {tuple(shape)}; give "
            f"one number for each of the {len(shape)} axes, or a single one."
        )
    return tuple(given)


def check_sizes(what: str, given: object) -> None:
    """Raise `InputError` unless this is a whole number above zero, or several.

    >>> check_sizes("window", [1, 2.5])
    Traceback (most recent call last):
    igbench.errors.InputError: window=2.5 must be a whole number of at least 1.
    """
    if isinstance(given, list | tuple) and not given:
        raise InputError(f"{what}={given} has no number; give one for each axis, or one for all.")
    for number in given if isinstance(given, list | tuple) else [given]:
        check_whole(what, number, least=1)
