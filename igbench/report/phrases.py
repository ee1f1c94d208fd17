"""Numbers and lists of names as parts of sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from igbench.report.comparisons import Comparison
from igbench.report.samples import method_label
from igbench.report.table import decimals


def label(name: object) -> str:
    """Display name of a method or metric, without the escapes of a figure."""
    return method_label(str(name))


def interval(line: pd.Series, digits: int) -> str:
    """The mean of a line with its interval, without one where it has none."""
    mean, low, high = (fixed(line[k], digits) for k in ("mean", "low", "high"))
    return mean if math.isnan(line["low"]) else f"{mean} [{low}, {high}]"


def difference(one: Comparison) -> str:
    """The gain of a comparison with its interval."""
    low, high = one.interval
    line = pd.Series({"mean": one.gain, "low": low, "high": high})
    return interval(line, decimals(line.to_frame().T))


def numbers(line: pd.Series) -> str:
    """Mean and interval with three significant digits, for values of any size."""
    mean, low, high = (number(float(line[k])) for k in ("mean", "low", "high"))
    return mean if math.isnan(line["low"]) else f"{mean} [{low}, {high}]"


def tau_text(line: pd.Series) -> str:
    """Kendall's tau of a line of `igbench.records.stats.agreement`, with its interval."""
    tau, low, high = (fixed(float(line[k]), 2) for k in ("tau", "low", "high"))
    return tau if math.isnan(line["low"]) else f"{tau} [{low}, {high}]"


def fixed(value: float, digits: int) -> str:
    """A number with fixed decimals; never minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding 0.0 turns -0.0 into 0.0


def number(value: float) -> str:
    """A number with three significant digits."""
    return "0" if value == 0 else f"{value:.3g}"


def p_text(value: float) -> str:
    """A p-value with two significant digits; never 0.

    >>> p_text(0.0432), p_text(1e-20), p_text(1.0)
    ('0.043', '1e-20', '1')
    """
    return f"{value:.2g}"


def count(n: int, what: str) -> str:
    """A number of things, in the plural where it is not one.

    >>> count(1, "sample"), count(2000, "sample")
    ('1 sample', '2,000 samples')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def every_other(n: int) -> str:
    """All others of n methods, in words."""
    return "the only other method" if n == 1 else f"each of the other {n} methods"


def verb(n: int) -> str:
    """The verb after a number."""
    return "is" if n == 1 else "are"


def join(names: Sequence[str]) -> str:
    """Names with commas and "and".

    >>> join(["a"]), join(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
