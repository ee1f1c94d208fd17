"""The pieces of a report that do not depend on each other; each writes its own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from igbench.files import write_whole
from igbench.report import browser, heatmaps, html, pictures, plots, render, studies, styles, tables
from igbench.report.model_statistics import ModelStatistics
from igbench.report.pictures import Pictures
from igbench.report.styles import Maker
from igbench.report.table import Table, TableOptions
from igbench.schema import Records

Piece = Callable[[], Any]
FIGURE, IMAGE, COLUMN = "figure:", "image:", "column:"
"""Begin the names of pieces: figures, figures with maps of images, and those for one column."""


def pieces(
    records: Records,
    summary: pd.DataFrame,
    statistics: Mapping[str, ModelStatistics],
    folder: Path,
    options: TableOptions | None,
    *,
    paper: bool,
) -> dict[str, Piece]:
    """The pieces of a report by name, those that take long first.

    "tables" returns the tables; "heatmaps" the picture of the page, or None; "texts" and "browser"
    what the page shows of samples; `drawn` reads what figures return.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        statistics: What is known of each model.
        folder: The run folder, with tables/ and plots/.
        options: What the tables of scores show; None for the defaults.
        paper: Write figures as PDF too, and the main ones one column wide.
    """
    of_maps, others = (("png", "pdf"), styles.FORMATS) if paper else (("png",), ("png", "svg"))
    plot, shown = folder / "plots", pictures.pictures(records)
    of_scores = dict(plots.makers(records, summary, statistics))
    of_samples = {name: partial(_same, figure) for name, figure in shown.figures.items()}
    columns = plots.column_makers(records, summary) if paper else {}
    images: dict[str, Maker] = {"disagreement": partial(studies.of_images, records, summary)}
    return {
        "heatmaps": partial(_image, partial(heatmaps.grid, records), plot / "heatmaps", of_maps),
        **{IMAGE + n: partial(_image, make, plot / n, of_maps) for n, make in images.items()},
        **{FIGURE + n: partial(_figure, make, plot / n, others)
           for n, make in (of_scores | of_samples).items()},
        **{COLUMN + n: partial(_figure, make, plot / n, ("pdf",)) for n, make in columns.items()},
        "browser": partial(browser.browser, records, summary),
        "tables": partial(_tables, records, summary, options, folder / "tables"),
        "texts": partial(_texts, shown, folder / "tables"),
    }  # fmt: skip


def drawn(made: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of the page by file name as SVG or WebP, those of images last.

    Args:
        made: What `pieces` returned, by name.
    """
    return {
        name.removeprefix(kind): content
        for kind in (FIGURE, IMAGE)
        for name, content in made.items()
        if name.startswith(kind) and content is not None
    }


def _same(figure: Figure) -> Figure:
    return figure


def _figure(make: Maker, stem: Path, kinds: Sequence[str]) -> bytes | None:
    """Draw and write a figure; returns what the page shows, None where there is no data."""
    with styles.without_collection():
        figure = make()
        written = [] if figure is None else styles.save(figure, stem, kinds)
    return next((html.embedded(path) for path in written if path.suffix == ".svg"), None)


def _image(make: Maker, stem: Path, kinds: Sequence[str]) -> bytes | None:
    """Draw and write a figure with maps of images; returns it as WebP, None without maps."""
    with styles.without_collection():
        figure = make()
        if figure is None:
            return None
        picture = styles.pixels(figure)
        write_whole(stem.with_suffix(".png"), styles.png(picture))
        styles.save(figure, stem, [kind for kind in kinds if kind != "png"])
        return heatmaps.webp(picture)


def _tables(
    records: Records, summary: pd.DataFrame, options: TableOptions | None, folder: Path
) -> Sequence[Table]:
    made = tables.tables(records, summary, *([options] if options else []))
    for table in made:
        render.write(table, folder)
    return made


def _texts(shown: Pictures, folder: Path) -> Sequence[html.Text]:
    for name, document in shown.latex.items():
        write_whole(folder / f"{name}.tex", document.encode(errors="backslashreplace"))
    return shown.texts
