"""Sequential stopping of Monte Carlo metrics: as many draws as the standard error of a score needs.

A metric with the number of draws "auto" looks at one sample after 16, 32, 64, ... draws, and stops
at the first of these rungs where a standard error is within a bound, or at the last one.  It is the
error of the score of one method, or of what all methods share, as each metric says.

The score of a method depends on its own map alone: it takes the draws up to its own rung, and all
methods and metrics that share an observation take these from one sequence, which is evaluated as
far as any of them goes, each draw once and in the same calls of the model.  (A model whose outputs
change in the last bits with the number of rows in a call may move a standard error across the
bound, and with it the number of draws; so may another order of a sum.)

Methods that are scored with the same draws share most of their Monte Carlo error, which cancels in
their differences; those that stop at rungs of their own lose a part of that.

Stopping where the error looks small prefers draws that happen to agree.  So the error that is found
where a score stopped is too small on average, and a score whose size goes with its spread, such as
a mean of squares, is biased towards less.  The bias is of the order of the error squared over the
score, below the error itself, and does not average out over samples.  See Robbins 1959 (Sequential
estimation of the mean of a normal population) and Glynn and Whitt 1992 (The asymptotic validity of
sequential stopping rules for stochastic simulations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from igbench.core import rng
from igbench.errors import check_positive, check_whole

AUTO = "auto"
"""The number of draws of a metric that stops by itself."""

BLOCK = 16
"""Draws from one generator, and of the first rung."""

DRAWS_AXES = (
    "number of draws",
    "standard error of the score of a sample after so many draws; the last x is where it stopped",
)
"""What the curve of a metric that stops by itself says."""


def ladder(most: int) -> list[int]:
    """Numbers of draws after which a score is looked at: 16 and its doubles, and the most.

    Args:
        most: Largest number of draws.

    >>> ladder(100), ladder(16), ladder(5)
    ([16, 32, 64, 100], [16], [5])
    """
    rungs, draws = [], BLOCK
    while draws < most:
        rungs.append(draws)
        draws *= 2
    return [*rungs, most]


def check_bound(error: float, most: int, least: int) -> None:
    """Raise unless a bound is above zero and the largest number of draws is no less than `least`.

    Args:
        error: The bound.
        most: Largest number of draws.
        least: Fewest that the metric can work with.

    Raises:
        InputError: Names the parameter.
    """
    check_positive("error", error)
    check_whole("most", most, least=least)


def described(draws: int | str, error: float, most: int) -> str:
    """A number of draws, for titles; of "auto" the rule.

    >>> described(64, 0.05, 256), described("auto", 0.05, 256)
    ('64', 'auto, error 0.05, at most 256')
    """
    return f"{AUTO}, error {error:g}, at most {most}" if draws == AUTO else str(draws)


def in_blocks(
    make: Callable[[int, torch.Generator], Tensor],
    part: slice,
    seed: int,
    purpose: str,
    sample_id: str,
) -> Tensor:
    """Some draws of a sequence that does not depend on how many of it are drawn.

    Draw d is number d mod 16 of block d // 16, and each block has a generator of its own.  A single
    generator would not do: torch makes other numbers where it is asked for more at once, of normal
    ones as well as of several parts of a draw that are made for all draws in turn.

    Args:
        make: Makes so many draws with a generator, along the first axis.
        part: First draw, and the one after the last.
        seed: Seed of the sequence.
        purpose: Its purpose, see `igbench.core.rng`.
        sample_id: Its sample.

    >>> make = lambda count, g: torch.randn(count, 3, generator=g)
    >>> few, many = (in_blocks(make, slice(0, n), 0, "doc", "cat") for n in (20, 40))
    >>> torch.equal(few, many[:20])
    True
    """
    first, end = part.start // BLOCK, -(-part.stop // BLOCK)
    blocks = [make(BLOCK, rng.generator(seed, purpose, sample_id, b)) for b in range(first, end)]
    return torch.cat(blocks)[part.start - first * BLOCK : part.stop - first * BLOCK]


@dataclass(frozen=True)
class Growing:
    """Outputs of the draws of one batch, evaluated once and when they are first needed.

    Attributes:
        clean: (N,) float64 outputs of the samples.
        evaluate: Outputs (..., D) float64 of some draws of one sample.
        known: Outputs so far, by sample and part.
    """

    clean: Tensor
    evaluate: Callable[[int, slice], Tensor]
    known: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def outputs(self, i: int, part: slice) -> Tensor:
        """Outputs of some draws of one sample, (..., D) float64.

        Args:
            i: Position of the sample.
            part: Draws between two rungs, so that each call of the model has the same rows whoever
                needs them.
        """
        key = (i, part.start, part.stop)
        if key not in self.known:
            self.known[key] = self.evaluate(i, part)
        return self.known[key]


def grown(clean: Tensor, evaluate: Callable[[int, slice], Tensor], most: int) -> Growing:
    """Outputs of the draws that every method needs, those of the first rung, and a way to more.

    Args:
        clean: (N,) float64 outputs of the samples.
        evaluate: Outputs (..., D) float64 of some draws of one sample.
        most: Largest number of draws.
    """
    found = Growing(clean, evaluate)
    for i in range(len(clean)):
        found.outputs(i, slice(0, ladder(most)[0]))
    return found


@dataclass(frozen=True)
class Look:
    """Scores of m maps of one sample after some draws.

    Attributes:
        values: (m, K) what the score consists of.
        error: (m,) standard errors.
        done: (m,) boolean, whether no more draws are needed, see `stops`.
    """

    values: Tensor
    error: Tensor
    done: Tensor


@dataclass(frozen=True)
class Stopped:
    """Scores of M maps of one sample, each after the draws that it took.

    Attributes:
        values: (M, K).
        error: (M,) standard errors.
        trace: (M, R) standard errors at each rung, NaN after the one where a map stopped.
    """

    values: Tensor
    error: Tensor
    trace: Tensor


def stops(error: Tensor, bound: Tensor) -> Tensor:
    """Whether no more draws are needed: the standard error is within the bound, (m,) boolean.

    An error of zero is within any bound, one of zero too.  An undefined one is in none, as more
    draws may define the score.

    Args:
        error: (m,) standard errors.
        bound: (m,) or one for all.

    >>> stops(torch.tensor([0.04, 0.06, 0.0, float("nan")]), torch.tensor(0.05)).tolist()
    [True, False, True, False]
    """
    return error <= bound


def until(
    rungs: Sequence[int],
    drawn: Callable[[slice, Tensor], tuple[Tensor, Tensor]],
    look: Callable[[Tensor, Tensor], Look],
    settled: Tensor,
) -> Stopped:
    """Score M maps of one sample, each with the draws up to the first rung where it stops.

    Args:
        rungs: Numbers of draws, rising.
        drawn: Predictions (m, ..., D) of the maps with these numbers (m,), and outputs (..., D), of
            some draws.
        look: Scores m maps by their predictions (m, ..., D) and the outputs (..., D) so far.
        settled: (M,) boolean, true for maps that no draw can tell more of, such as flat ones; they
            stop at the first rung.
    """
    pending = torch.arange(len(settled), device=settled.device)
    parts: list[tuple[Tensor, Tensor]] = []
    kept: dict[str, Any] = {}
    for number, (start, stop) in enumerate(zip([0, *rungs[:-1]], rungs, strict=True)):
        parts.append(drawn(slice(start, stop), pending))
        predictions, outputs = (torch.cat(own, dim=-1) for own in zip(*parts, strict=True))
        seen = look(predictions, outputs)
        if not kept:
            kept["values"] = torch.empty_like(seen.values)
            kept["error"] = torch.empty_like(seen.error)
            kept["trace"] = seen.error.new_full((len(settled), len(rungs)), torch.nan)
        kept["values"][pending], kept["error"][pending] = seen.values, seen.error
        kept["trace"][pending, number] = seen.error
        further = ~(seen.done | settled[pending])
        pending, parts = pending[further], [(predictions[further], outputs)]
        if not len(pending):
            break
    return Stopped(**kept)
