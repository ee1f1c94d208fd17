"""Tables independent of a file format: options, cells, footnotes, row names, digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Literal

import pandas as pd

from igbench.errors import printable
from igbench.records import stats
from igbench.report import names, styles
from igbench.schema import RANDOM_WEIGHTS, Run

Form = Literal["wide", "compact"]
FORMS: tuple[Form, ...] = ("wide", "compact")
"""Forms of the table of scores."""

TIE = "†"
"""Mark of what does not differ significantly from the best."""


@dataclass(frozen=True)
class TableOptions:
    """What a table of scores shows.

    Attributes:
        form: "wide": methods by all metrics, as wide as a page; "compact": the headline metric and
            two more with fewer decimals, as wide as a column of a page with two.
        metrics: Names of the metrics that have a column, in this order; () for those of the form.
        methods: Names of the methods that have a row; () for all.
        ranks: Whether a column has the mean rank by the first metric that has a direction.
        shares: Whether a column has the share of the way from floor to ceiling in the first metric
            that has one.
    """

    form: Form = "wide"
    metrics: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    ranks: bool = False
    shares: bool = False


DEFAULTS = TableOptions()
"""The wide form with all methods and metrics."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: Plain text.
        note: Remark in small print, such as "n = 20, 2 failed".
        mark: Letter of the footnote that explains it.
        best: Whether it is bold.
        tied: Whether it has the mark `TIE`.
        value: Value for sorting; NaN goes last.
        hint: Tooltip.
        second: Whether it is underlined.
        numbers: Plain numbers by name, such as mean, low, high and n, for CSV.
    """

    text: str
    note: str = ""
    mark: str = ""
    best: bool = False
    tied: bool = False
    value: float = math.nan
    hint: str = ""
    second: bool = False
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table in plain text.

    Attributes:
        name: File name without suffix, and the LaTeX label.
        caption: Caption.
        columns: Heads; the first belongs to the row names.
        rows: Row names.
        cells: One tuple for each row, one cell for each further column.
        footnotes: Letter to text; "" for a remark that no cell refers to.
        numeric: Whether cells are numbers, flush right, or text, flush left.
        form: Width in LaTeX: "wide" for that of the page, "compact" for that of a column.
        keys: Identifiers of each row by name, such as model and method; () for none.
        column_keys: Identifiers of the columns of cells; () for none.
        stubs: Heading above each row, and its name under that; () for rows without headings.
        heads: Heading above each column of cells, and its name under that; () for none.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: Mapping[str, str] = field(default_factory=dict)
    numeric: bool = True
    form: Form = "wide"
    keys: tuple[Mapping[str, str], ...] = ()
    column_keys: tuple[str, ...] = ()
    stubs: tuple[tuple[str, str], ...] = ()
    heads: tuple[tuple[str, str], ...] = ()


def plain(text: str) -> str:
    r"""A text in one line that steers nothing: line breaks are spaces, other controls escapes.

    >>> print(plain("two\nlines, \x1b[31mred"))
    two lines, \x1b[31mred
    """
    return printable(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)


def letter(i: int) -> str:
    """The letter of a footnote by its number: a to z, then a1, b1 and so on.

    >>> letter(0), letter(27)
    ('a', 'b1')
    """
    return ascii_lowercase[i % 26] + str(i // 26 or "")


def marked(run: Run, caption: str) -> str:
    """A caption, with a warning where the weights of the model are random."""
    if not run.random_weights:
        return caption
    return f"{caption} The model has {RANDOM_WEIGHTS}: nothing here is of a trained one.".strip()


def methods_of(run: Run, frame: pd.DataFrame, model: str) -> list[str]:
    """Methods of one model that occur in a frame, in display order."""
    return styles.method_names(run, frame.loc[frame["model"] == model, "method"])


def line_name(run: Run, model: str, method: str, models: int) -> str:
    """Name of a row: the method, the role where it is another than "method", and the model."""
    kind = styles.role(run, method)
    shown = names.method(method, run.methods)
    name = shown if kind == "method" else f"{shown} ({kind})"
    return name if models == 1 else f"{names.model(model)}: {name}"


def stub(run: Run, model: str, method: str, models: int) -> tuple[str, str]:
    """Heading above a row, "" for the methods of a single model, and its name under that."""
    kind = styles.role(run, method)
    of_model = names.model(model) if models > 1 else ""
    of_role = "" if kind == "method" else f"{kind.capitalize()}s"
    return ": ".join(filter(None, (of_model, of_role))), names.method(method, run.methods)


def ends(
    run: Run, lines: pd.DataFrame, metric: str
) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """Floor and ceiling of a metric, the name and the mean of each; None where it has none.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model, which may hold others.
        metric: Name of the metric.
    """
    own = lines[lines["metric"] == metric]
    found = stats.ends(own.to_dict("records"), run.methods, run.metrics[metric])
    if found is None:
        return None
    means = dict(zip(own["method"], own["mean"].astype(float), strict=True))
    floor, ceiling = found
    return (floor, means[floor]), (ceiling, means[ceiling])


def percent(share: float, low: float, high: float) -> str:
    """Format a share in percent with its interval, without one where it has none.

    >>> percent(43.2, 35.4, 51.9), percent(100.0, 100.0, 100.0), percent(-0.2, -4, 3)
    ('43 % [35, 52]', '100 %', '0 % [-4, 3]')
    """
    middle, low, high = (round(v) + 0 if math.isfinite(v) else v for v in (share, low, high))
    known = math.isfinite(low) and math.isfinite(high)
    return f"{middle} % [{low}, {high}]" if known and low != high else f"{middle} %"


def decimals(lines: pd.DataFrame) -> int:
    """Decimals of a column: two significant digits of its typical half interval, at most 4."""
    half = ((lines["high"] - lines["low"]) / 2).dropna()
    usual = half[(half > 0) & (half < math.inf)]
    typical = float(usual.median()) if len(usual) else 0.001
    return min(4, max(0, 1 - math.floor(math.log10(typical))))


def mean_text(mean: float, half: float, digits: int, *, significant: int = 2) -> str:
    """Format "mean ± half" with `digits` decimals, or as powers of ten for tiny and huge means.

    Args:
        mean: The mean.
        half: Half the width of its interval; NaN for none.
        digits: Decimals.
        significant: Digits of the interval, where the decimals do not show the mean: with two,
            below 5 in the last decimal; with one, below a half.

    >>> mean_text(0.4312, 0.0217, 3), mean_text(3.1e-7, 2e-8, 3)
    ('0.431 ± 0.022', '3.1e-07 ± 2.0e-08')
    >>> mean_text(0.33, 0.31, 1, significant=1), mean_text(3.1e-7, 2e-7, 1, significant=1)
    ('0.3 ± 0.3', '3e-07 ± 2e-07')
    """
    size = abs(mean) if math.isnan(half) else max(abs(mean), half)
    tiny = 0 < size < (5 if significant > 1 else 0.5) * 10.0**-digits
    finer = significant - 1 - math.floor(math.log10(half if half > 0 else size)) if tiny else digits
    if finer <= 5:
        digits, tiny = finer, False
    huge = abs(mean) >= 1e5
    shape = f".{significant - 1}e" if tiny or huge else f".{digits}f"
    if mean == 0 and half == 0:
        return "0"
    text = f"{mean:{shape}}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text if math.isnan(half) else f"{text} ± {half:{shape}}"
