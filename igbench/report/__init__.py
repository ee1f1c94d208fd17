"""Write the report of a run: tables, plots and one HTML page, made from its records."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igbench.files import refuse_links, write_whole
from igbench.schema import Records

if TYPE_CHECKING:
    from igbench.report.table import TableOptions

__all__ = ["text_html", "write_report"]

_LOG = logging.getLogger(__name__)
_MADE = {"tables": ("md", "tex", "html", "csv", "tmp"), "plots": ("png", "svg", "pdf", "tmp")}


def write_report(
    records: Records, options: TableOptions | None = None, *, paper: bool = False
) -> Path:
    """Write the report of a run into its folder, in place of an earlier one.

    Writes tables/*.{md,tex,html,csv}, plots/*.{png,svg} (pictures of maps as PNG alone; texts with
    coloured words also as tables/text_*.tex) and, last, report.html.  The records themselves are
    only read.

    Args:
        records: A run, with its `folder`.
        options: What the tables of scores show, from `igbench.report.table`; None for the defaults.
        paper: Write each figure as PDF too, and the main ones also as wide as one column
            (plots/*_column.pdf); most of a report's time goes into it.

    Returns:
        The path of report.html.

    Raises:
        ValueError: The records have no folder.
        InputError: A link is in the folder; nothing is written or removed then.
    """
    # Imported here, so that importing `igbench.report` loads neither pandas nor matplotlib.
    from igbench.records.settings import own_settings

    if not records.folder:
        raise ValueError("the records have no folder; read them with store.read, or set folder=.")
    with own_settings():
        return _write(records, Path(records.folder), options, paper)


def _write(records: Records, folder: Path, options: TableOptions | None, paper: bool) -> Path:
    from igbench.records.stats import summarise
    from igbench.report import drawing, html, model_statistics, workers

    refuse_links(folder)
    report = folder / "report.html"
    for old in (report, *folder.glob("report.html.*.tmp")):  # exists only if all else does
        old.unlink(missing_ok=True)
    for name, suffixes in _MADE.items():
        _clear(folder / name, suffixes)
    summary = summarise(records.scores, records.run.metrics, methods=records.run.methods)
    statistics = model_statistics.by_model(records.run, summary, records.scores)

    pieces = drawing.pieces(records, summary, statistics, folder, options, paper=paper)
    made = dict(zip(pieces, workers.shared(list(pieces.values())), strict=True))
    page = html.page(
        records,
        summary,
        made["tables"],
        drawing.drawn(made),
        made["heatmaps"],
        made["texts"],
        made["browser"],
        statistics,
    )
    write_whole(report, page.encode(errors="backslashreplace"))
    _LOG.info("report: %s", report)
    return report


def text_html(
    words: Sequence[str],
    values: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    gaps: Sequence[str] = (),
    signed: bool | Mapping[str, bool] = True,
    limit: float | None = None,
) -> str:
    """Words coloured by attribution as HTML, for a notebook or a page, as in the report.

    Red raises the output, blue lowers it, white is 0, with symmetric limits; the underline is solid
    or dotted, for readers without colours.  Magnitudes are violet.  A value shows when the pointer
    is over its word.  All texts are escaped; scripts from right to left keep their order.

    Args:
        words: G words or tokens.
        values: G attributions; or several of them by the name of their method, which are set one
            under another.
        gaps: The G + 1 texts before, between and after the words; spaces by default.
        signed: Whether values have a sign; or this by the name of the method.
        limit: |value| of the full colour; by default the largest of each method.

    Returns:
        One `<div>` that needs no script and no style sheet.

    Raises:
        ValueError: Another number of values or gaps, or a limit that is not positive.

    >>> page = text_html(["not", "<b>"], [-1.0, 0.5])
    >>> "&lt;b&gt;" in page, "<b>" in page, 'title="−1"' in page
    (True, False, True)
    """
    from igbench.report import text_words

    return text_words.to_html(words, values, gaps=gaps, signed=signed, limit=limit)


def _clear(folder: Path, suffixes: tuple[str, ...]) -> None:
    """Create a folder, or remove the files of an earlier report from it."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        for old in folder.glob(f"*.{suffix}"):
            old.unlink()
