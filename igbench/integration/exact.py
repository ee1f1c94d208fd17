"""Compute Integrated Gradients of a piecewise-linear network exactly.

Along a straight line such a network is linear between kinks, so the integral is a finite sum: one
gradient for each piece, weighted by its length (Sotoudeh and Thakur 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from igbench.core.outputs import repeat_target
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.integration.integrate import Nodes, sweep, take
from igbench.integration.paths import Line

aten = torch.ops.aten

_SIGN = {aten.relu, aten.relu_, aten.leaky_relu, aten.leaky_relu_, aten.abs, aten._prelu_kernel}
_RANGE = {aten.hardtanh, aten.hardtanh_, aten.clamp, aten.clamp_}
_COMPARE = {aten.maximum, aten.minimum, aten.clamp_min, aten.clamp_min_} | {
    aten.clamp_max,
    aten.clamp_max_,
    aten.threshold,
    aten.threshold_,
}
_CHOICE = {aten.max_pool2d_with_indices, aten.max, aten.min, aten.amax, aten.amin}
_TEST = {aten.gt, aten.ge, aten.lt, aten.le}
_ALL = _SIGN | _RANGE | _COMPARE | _CHOICE | _TEST


class Patterns(TorchDispatchMode):
    """Records which side of its kinks every unit is on, for each row of a batch.

    Works on operations, not on modules, so functional activations count as well.  Two rows with the
    same pattern lie in one region where the network is linear, and as such regions are convex, so
    does the segment between them.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.found: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and note the pattern if it has kinks."""
        packet = func.overloadpacket
        before = args[0].clone() if str(packet).endswith("_") and packet in _ALL else None
        out = func(*args, **(kwargs or {}))
        if packet in _ALL:
            self._note(packet, args if before is None else (before, *args[1:]), out)
        return out

    def _note(self, packet: Any, args: tuple[Any, ...], out: Any) -> None:
        x = args[0]
        if packet in _SIGN:
            self._keep(x > 0)
        elif packet in _COMPARE:
            self._keep(x > args[1])
        elif packet in _RANGE:
            low, high = (*args[1:3], None, None)[:2] if len(args) > 1 else (-1.0, 1.0)
            if low is not None:
                self._keep(x > low)
            if high is not None:
                self._keep(x > high)
        elif packet in _TEST:
            self._keep(out)
        elif isinstance(out, tuple):
            self._keep(out[1])
        else:
            self._keep(x == out if x.shape == out.shape else _attained(x, out, args))

    def _keep(self, pattern: Tensor) -> None:
        if pattern.dim() and len(pattern) == self.rows:
            self.found.append(pattern.reshape(self.rows, -1))

    def table(self) -> np.ndarray:
        """One line of bytes for each row."""
        if not self.found:
            return np.zeros((self.rows, 1), dtype=np.uint8)
        bits = [
            np.packbits(p.cpu().numpy(), axis=1)
            if p.dtype == torch.bool
            else p.cpu().numpy().view(np.uint8).reshape(self.rows, -1)
            for p in self.found
        ]
        return np.concatenate(bits, axis=1)


def _attained(x: Tensor, out: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Where a maximum or minimum over axes is attained."""
    axes = args[1] if len(args) > 1 and args[1] is not None else list(range(1, x.dim()))
    keep = bool(args[2]) if len(args) > 2 else False
    for axis in sorted([axes] if isinstance(axes, int) else [a % x.dim() for a in axes]):
        out = out if keep else out.unsqueeze(axis)
    return x == out


@dataclass(frozen=True)
class Exact:
    """Exact Integrated Gradients.

    Attributes:
        attribution: (N, *F).
        pieces: (N,) number of linear pieces on each line, the gradients that were taken.
    """

    attribution: Tensor
    pieces: Tensor


def exact_integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    max_pieces: int = 20_000,
) -> Exact:
    """Integrated Gradients of a piecewise-linear network, exact to rounding.

    Kinks are found by bisection on the activation pattern, down to the resolution of the dtype;
    then one gradient is taken in the middle of each piece.  Forwards: about 50 for each kink in
    float64, 22 in float32; gradients: one for each piece.

    Args:
        score: f; the explained output must be a logit of a network of linear layers, ReLU and its
            kin, and pooling.
        x: (N, *F).
        baseline: (N, *F).
        target: (N,) or None.
        max_pieces: Refuse lines with more pieces than this.

    Raises:
        InputError: The network is not piecewise linear, or has too many pieces.
    """
    path = Line(x, baseline)
    samples, positions, widths, counts = [], [], [], []
    for i in range(len(x)):
        one = Line(x[i : i + 1], baseline[i : i + 1])
        middle, width = _pieces(score, one, take(target, slice(i, i + 1)), max_pieces)
        samples.append(torch.full((len(middle),), i))
        positions.append(torch.from_numpy(middle))
        widths.append(torch.from_numpy(width))
        counts.append(len(middle))
    device = x.device
    nodes = Nodes(
        torch.cat(samples).to(device),
        torch.cat(positions).to(device),
        torch.cat(widths).to(device)[None],
    )
    attribution = sweep(score, path, target, nodes).integrals[0]
    _check(score, path, target, attribution)
    return Exact(attribution.to(x.dtype), torch.tensor(counts))


def _pieces(
    score: Score, line: Line, target: Tensor | None, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Middles and widths of the linear pieces of one line."""
    floor = 4 * torch.finfo(line.x.dtype).eps
    a = np.array([0.0, 1.0])
    patterns = _patterns(score, line, target, a)
    while True:
        differ = (patterns[1:] != patterns[:-1]).any(axis=1)
        if int(differ.sum()) > most:
            raise InputError(
                f"the line has more than {most:,} linear pieces: exact integration is too "
                "costly here. Raise max_pieces, or use the method ig_adaptive."
            )
        open_ = differ & (np.diff(a) > floor)
        if not open_.any():
            break
        new = (a[:-1][open_] + a[1:][open_]) / 2
        a = np.concatenate([a, new])
        patterns = np.concatenate([patterns, _patterns(score, line, target, new)])
        order = np.argsort(a, kind="stable")
        a, patterns = a[order], patterns[order]
    cuts = np.concatenate([[0.0], (a[:-1][differ] + a[1:][differ]) / 2, [1.0]])
    width, middle = np.diff(cuts), (cuts[1:] + cuts[:-1]) / 2
    real = width > 2 * floor
    return middle[real], width[real] / width[real].sum()


@torch.no_grad()
def _patterns(score: Score, line: Line, target: Tensor | None, a: np.ndarray) -> np.ndarray:
    """Activation patterns at positions on one line, (len(a), bytes)."""
    tables = []
    for start in range(0, len(a), score.batch_size):
        part = torch.from_numpy(a[start : start + score.batch_size]).to(line.x.device)
        points = line.points(torch.zeros(len(part), dtype=torch.int64, device=part.device), part)
        with Patterns(len(part)) as mode:
            score(points, repeat_target(target, len(part)))
        tables.append(mode.table())
    return np.concatenate(tables)


def _check(score: Score, line: Line, target: Tensor | None, attribution: Tensor) -> None:
    """Raise unless the attributions are complete: otherwise the network bends between kinks."""
    start = score.evaluate(line.baseline, target).double()
    end = score.evaluate(line.x, target).double()
    gap = (attribution.flatten(1).sum(dim=1) - (end - start)).abs()
    size = attribution.flatten(1).abs().sum(dim=1) + start.abs() + end.abs()
    allowed = 1e4 * torch.finfo(line.x.dtype).eps * size
    if bool((gap > allowed).any()):
        raise NotDefinedError(
            "the network is not piecewise linear along the line (a sigmoid, tanh, softmax, GELU or "
            "attention inside?): exact integration does not apply; use a quadrature rule."
        )
