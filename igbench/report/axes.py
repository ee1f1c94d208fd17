"""Figures of an evaluation as axes of matplotlib, for notebooks and figures of one's own."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from igbench.errors import InputError, check_choice
from igbench.report import curves, heatmaps, pictures, plots, styles
from igbench.schema import Records, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 2
"""Samples whose maps a notebook shows beside the table."""
DPI = 90
"""Resolution of the maps beside the table."""


@styles.style()
def metric(run: Run, lines: pd.DataFrame, name: str = "", ax: Axes | None = None) -> Axes:
    """Bars of the means of one metric with their 95 % intervals.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        name: Name of the metric; the headline metric if "".
        ax: Where to draw; a new figure if None.

    Raises:
        InputError: The run has no such metric, or none at all.
    """
    known = styles.metric_names(run)
    if name:
        check_choice("metric", name, known)
    name = name or styles.headline(run, lines) or next(iter(known), "")
    if not name:
        raise InputError("there is no metric to draw; give metrics=[...].")
    methods = styles.method_names(run, lines["method"])
    axes = _axes(ax, 3.6, 0.7 + 0.2 * len(methods))
    values = lines[lines["metric"] == name].set_index("method").reindex(methods)
    plots._bars(axes, run, values, plots.logarithmic(run.metrics[name], values["mean"]))
    axes.set_yticks(range(len(methods)), [styles.label(m) for m in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlabel(f"{styles.metric_label(name, run.metrics[name])} (mean, 95 % interval)")
    return axes


def removal(run: Run, points: pd.DataFrame) -> list[Axes]:
    """The axes of removal curves: deletion, insertion and SRG, as far as the run has them.

    One for each metric; of more than five methods a single pair of axes in inches, which holds a
    panel for each method and metric.

    Raises:
        InputError: It has none.
    """
    made = curves.removal(run, points) if len(points) else None
    return _panels(made, "removal curves", "metrics such as 'deletion', 'insertion' or 'srg'")


def cost(run: Run, lines: pd.DataFrame) -> Axes:
    """The headline metric against the cost of one attribution.

    Raises:
        InputError: No method has both.
    """
    made = plots.cost_quality(run, lines)
    return _panels(made, "costs", "a metric with a direction")[0]


def maps(records: Records) -> list[Axes]:
    """The axes of the maps that a run has kept; all images are on the first.

    Raises:
        InputError: It has kept none.
    """
    grid = heatmaps.grid(records)
    made = [grid] if grid is not None else list(pictures.pictures(records).figures.values())
    if not made:
        raise InputError(
            "no maps are kept that can be drawn; evaluate a folder of images, texts, a table or "
            "series."
        )
    return [axes for figure in made for axes in _visible(figure)]


def to_html(records: Records) -> str:
    """The maps of the first samples as HTML, small and without a script; "" if there are none."""
    inputs = records.maps.get("inputs", {})
    few = {sample: inputs[sample] for sample in list(inputs)[:SHOWN]}
    chosen = replace(records, maps={**records.maps, "inputs": few}) if few else records
    grid = heatmaps.grid(chosen)
    if grid is None:
        return "".join(text.body for text in pictures.pictures(records).texts[:SHOWN])
    content = io.BytesIO()
    with styles.style():
        grid.savefig(content, format="webp", dpi=DPI, pil_kwargs={"quality": 80})
    code = base64.b64encode(content.getvalue()).decode()
    return f'<img src="data:image/webp;base64,{code}" alt="Attribution maps of {len(few)} samples">'


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return styles.canvas(width, height).subplots() if ax is None else ax


def _panels(figure: Figure | None, what: str, how: str) -> list[Axes]:
    if figure is None:
        raise InputError(f"there are no {what} to draw; evaluate {how}.")
    return _visible(figure)


def _visible(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]
