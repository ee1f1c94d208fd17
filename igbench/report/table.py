"""Tables independent of a file format: cells, footnotes, row names, digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from igbench.records import stats
from igbench.report import styles
from igbench.schema import RANDOM_WEIGHTS, Run


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: Plain text.
        note: Remark in small print, such as "n = 20, 2 failed".
        mark: Letter of the footnote that explains it.
        best: Whether it is bold.
        tied: Whether it is underlined.
        value: Value for sorting; NaN goes last.
        hint: Tooltip.
    """

    text: str
    note: str = ""
    mark: str = ""
    best: bool = False
    tied: bool = False
    value: float = math.nan
    hint: str = ""


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
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: Mapping[str, str] = field(default_factory=dict)
    numeric: bool = True


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
    name = method if kind == "method" else f"{method} ({kind})"
    return name if models == 1 else f"{model}: {name}"


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


def mean_text(mean: float, half: float, digits: int) -> str:
    """Format "mean ± half" with `digits` decimals, or as powers of ten for tiny and huge means.

    >>> mean_text(0.4312, 0.0217, 3), mean_text(3.1e-7, 2e-8, 3)
    ('0.431 ± 0.022', '3.1e-07 ± 2.0e-08')
    """
    size = abs(mean) if math.isnan(half) else max(abs(mean), half)
    tiny = 0 < size < 5 * 10.0**-digits
    finer = 1 - math.floor(math.log10(half if half > 0 else size)) if tiny else digits
    if finer <= 5:
        digits, tiny = finer, False
    huge = abs(mean) >= 1e5
    shape = ".1e" if tiny or huge else f".{digits}f"
    if mean == 0 and half == 0:
        return "0"
    text = f"{mean:{shape}}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text if math.isnan(half) else f"{text} ± {half:{shape}}"
