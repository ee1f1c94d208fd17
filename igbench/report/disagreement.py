"""Samples on which the methods disagree most: a table of all, and a figure of the first three.

The disagreement on a sample is the standard deviation of the headline metric over its methods, in
units of the standard deviation of that metric over all samples and methods of the run.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igbench.records import stats
from igbench.report import heatmaps, map_ranks, mosaic, styles
from igbench.report.table import Cell, Table
from igbench.schema import Records, Run

TOP = 3
"""Samples in the figure."""
LISTED = 20
"""Samples in the table, at most."""
SIDE = 3
"""Maps from either end of the order of the methods, at most."""
ROW, SIDE_OF_MAP = 1.56, 0.8
"""Inches of a row with maps, and of the side of a map at most."""
COLUMNS = ("sample_id", "value", "n", "best", "best_score", "worst", "worst_score")

DEFINITION = (
    "Disagreement: standard deviation of {metric} over the methods of a sample, divided by its "
    "standard deviation over all samples and methods; oracles, controls and ceilings do not count"
)


def disagreement(run: Run, scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """How much the scores of the methods differ on each sample, the largest difference first.

    value = sd over methods k of v[s, k] / sd over samples s and methods k of v[s, k], both with
    n - 1.  Methods alone count, no oracles, controls and ceilings; so do finite scores alone, whose
    number is in the column n.

    Args:
        run: Definitions, and the samples with their order.
        scores: Scores of one model.
        metric: Name of the metric.

    Returns:
        One line for each sample with the columns `COLUMNS`; value is NaN with fewer than two finite
        scores, or where all scores of the run are equal, and such samples stand last.
    """
    own = scores[scores["metric"] == metric]
    proper = [m for m in own["method"].unique() if styles.role(run, str(m)) == "method"]
    table = stats.wide(own[own["method"].isin(proper)])
    known = [str(s["sample_id"]) for s in run.samples]
    table = table.reindex([*known, *table.index.difference(known, sort=False)])
    values = table.to_numpy(dtype=float)
    there = np.isfinite(values)
    values = np.where(there, values, math.nan)
    down = metric in run.metrics and run.metrics[metric].direction == "lower"
    found = pd.DataFrame(
        {"sample_id": table.index.astype(str), "value": _spread(values), "n": there.sum(axis=1)}
        | _end("best", table.columns, -values if down else values, values)
        | _end("worst", table.columns, values if down else -values, values, last=True),
        columns=list(COLUMNS),
    )
    return found.sort_values("value", ascending=False, kind="stable", na_position="last")


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each row by that of all values, (S,); NaN where either has none."""
    rows = pd.DataFrame(values).std(axis=1, ddof=1).to_numpy(dtype=float)
    unit = stats.sample_sd(values[~np.isnan(values)])
    return rows / unit if unit > 0 else np.full(len(values), math.nan)


def _end(
    name: str, methods: pd.Index, gains: np.ndarray, values: np.ndarray, *, last: bool = False
) -> dict[str, Any]:
    """The method with the largest gain of each sample and its score; the first or last of equals.

    "" and NaN for a sample without scores.
    """
    if not values.size:
        return {name: [""] * len(values), f"{name}_score": math.nan}
    filled = np.where(np.isnan(gains), -math.inf, gains)
    place = filled.argmax(axis=1)
    if last:
        place = values.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)
    score = np.take_along_axis(values, place[:, None], axis=1)[:, 0]
    names = np.where(np.isnan(score), "", np.asarray(methods, dtype=object)[place])
    return {name: names, f"{name}_score": score}


def table(records: Records, summary: pd.DataFrame) -> Table | None:
    """Table of the samples with the largest disagreement; None where no sample has one.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    run = records.run
    models = list(dict.fromkeys(summary["model"]))
    names, cells, notes = [], [], []
    for model in models:
        metric, found = of_model(records, summary, str(model))
        defined = found[found["value"].notna()]
        head = f"{model}: " if len(models) > 1 else ""
        for line in defined.head(LISTED).to_dict("records"):
            names.append(f"{head}{line['sample_id']}")
            cells.append(_cells(records, line, maps=len(models) == 1))
        if len(defined):
            title = styles.metric_label(metric, run.metrics[metric])
            notes.append(
                f"{head}{min(LISTED, len(defined))} of {len(found)} samples, by {title}; "
                f"{len(found) - len(defined)} undefined, with fewer than two finite scores."
            )
    if not cells:
        return None
    return Table(
        name="disagreement",
        caption=(
            "Samples on which methods disagree most. "
            + DEFINITION.format(metric="the headline metric")
            + ". Rank correlation: mean over pairs of methods of Spearman's correlation of |a|, "
            "where maps are kept. An outlier of one method alone makes a large value."
        ),
        columns=(
            "sample", "disagreement", "best", "worst", "methods", "rank correlation of maps",
        ),
        rows=tuple(names),
        cells=tuple(cells),
        footnotes={"": " ".join(notes)},
    )  # fmt: skip


def _cells(records: Records, line: Mapping[Any, Any], *, maps: bool) -> tuple[Cell, ...]:
    alike = map_ranks.mean_correlation(_maps(records, str(line["sample_id"])) if maps else [])
    return (
        Cell(f"{line['value']:.2f}", value=float(line["value"])),
        Cell(f"{line['best']} {line['best_score']:.3g}", value=float(line["best_score"])),
        Cell(f"{line['worst']} {line['worst_score']:.3g}", value=float(line["worst_score"])),
        Cell(str(line["n"]), value=float(line["n"])),
        Cell("–", hint="fewer than two maps are kept")
        if math.isnan(alike)
        else Cell(f"{alike:.2f}", value=alike),
    )


def _maps(records: Records, sample: str) -> list[np.ndarray]:
    """The kept maps of methods, without oracles, controls and ceilings."""
    methods = [m for m in records.run.methods if records.run.methods[m].role == "method"]
    return [records.maps[m][sample] for m in methods if sample in records.maps.get(m, {})]


def of_model(records: Records, summary: pd.DataFrame, model: str) -> tuple[str, pd.DataFrame]:
    """The headline metric of a model, "" for none, and `disagreement` by it."""
    metric = styles.headline(records.run, summary[summary["model"] == model])
    own = records.scores[records.scores["model"] == model]
    if not metric:
        return "", pd.DataFrame(columns=list(COLUMNS))
    return metric, disagreement(records.run, own, metric)


def has_images(records: Records) -> bool:
    """Whether maps of images are kept, of one model alone."""
    one = records.scores["model"].nunique() == 1
    return one and bool(records.maps.get("inputs"))


def figure(records: Records, summary: pd.DataFrame, model: str) -> Figure | None:
    """Draw the samples with the largest disagreement, with all scores beside.

    Where maps of images are kept, the samples are the first among those with maps, and their maps
    stand from the best to the worst method.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        model: Name of the model.
    """
    metric, found = of_model(records, summary, model)
    found = found.assign(place=range(1, len(found) + 1))
    found, whole = found[found["value"].notna()], len(found)
    images = has_images(records)
    if images:
        found = found[found["sample_id"].isin(records.maps["inputs"])]
    if found.empty:
        return None
    own = records.scores[(records.scores["model"] == model) & (records.scores["metric"] == metric)]
    table = stats.wide(own)
    lines = found.head(TOP).to_dict("records")
    orders = [_order(records.run, table.loc[x["sample_id"]], metric) for x in lines]
    heads = []
    for line in lines:
        rank = f"disagreement {line['value']:.2f} (place {line['place']} of {whole})"
        head = heatmaps.in_a_line(records.run, str(line["sample_id"]))
        heads.append(f"{head}; {rank}" if images else f"{textwrap.shorten(head, 40)}\n{rank}")
    ids = [str(line["sample_id"]) for line in lines]
    with styles.style():
        if images:
            return _with_maps(records, metric, ids, heads, orders)
        return _of_scores(records.run, metric, heads, orders)


def _of_scores(run: Run, metric: str, heads: Sequence[str], orders: Sequence[pd.Series]) -> Figure:
    """The scores of each sample beside the names of their methods."""
    made = styles.canvas(styles.FULL_WIDTH, 0.95 + 0.13 * max(map(len, orders)))
    parts = made.subfigures(1, len(heads), squeeze=False).ravel()
    panels = []
    for part, head, order in zip(parts, heads, orders, strict=True):
        part.suptitle(head, fontsize=7, x=0.01, ha="left", fontweight="bold")
        panels.append(part.subplots())
        _dots(panels[-1], run, order, names=True)
    _finish(made, panels, run, metric, images=False)
    return made


def _with_maps(
    records: Records,
    metric: str,
    ids: Sequence[str],
    heads: Sequence[str],
    orders: Sequence[pd.Series],
) -> Figure:
    """The scores of each sample behind its maps, from the best to the worst method."""
    most = max(len(_ends(records.run, order)) for order in orders)
    unit = styles.FULL_WIDTH / (most + 2.7)
    size = min(unit - 0.06, SIDE_OF_MAP)
    foot = 0.62 if records.run.random_weights else 0.55
    above = 0.25 if records.run.random_weights else 0.0
    made, page = mosaic.page(styles.FULL_WIDTH, foot + above + ROW * len(ids))
    panels = []
    for i, (sample, head, order) in enumerate(zip(ids, heads, orders, strict=True)):
        top = made.get_figheight() - above - i * ROW
        page.text(0.05, top - 0.03, head, fontsize=7, va="top", fontweight="bold")
        bottom = top - 0.55 - size
        places = [mosaic.Place(0.03 + j * unit, bottom, size, size) for j in range(most + 1)]
        _maps_in_a_row(page, places, records, sample, order)
        right = (most + 1) * unit + 0.1
        dots = mosaic.Place(right, bottom, styles.FULL_WIDTH - right - 0.12, size)
        panels.append(mosaic.panel(made, dots))
        _dots(panels[-1], records.run, order, names=False)
    _finish(made, panels, records.run, metric, images=True)
    return made


def _maps_in_a_row(
    page: Axes, places: Sequence[mosaic.Place], records: Records, sample: str, order: pd.Series
) -> None:
    """Draw a sample and its maps, each under its method and score."""
    chosen, tops = _ends(records.run, order), heatmaps.limits(records, [sample])[sample]
    heatmaps.draw_maps(page, places, records, sample, chosen, tops)
    mosaic.name(page, places[0], "Input", 6)
    for place, method in zip(places[1:], chosen, strict=False):
        name = textwrap.fill(styles.short_label(method), 15)
        shown = f"{order[method]:.3g}".replace("-", "−")
        mosaic.name(page, place, f"{name}\n{shown}", 6)


def _finish(made: Figure, panels: Sequence[Axes], run: Run, metric: str, *, images: bool) -> None:
    """Titles and one axis of the scores, and what the figure shows below it."""
    for axes in panels:
        axes.set_title(styles.metric_label(metric, run.metrics[metric]), fontsize=6.5, pad=2)
    _one_axis(panels)
    place = {"y": 0.03 / made.get_figheight(), "va": "bottom"} if images else {}
    words = textwrap.fill(_words(metric, images), 125)
    made.supxlabel(words, fontsize=6.5, color="#4d4d4d", **place)


def _words(metric: str, images: bool) -> str:
    text = DEFINITION.format(metric=styles.label(metric)) + "."
    if images:
        text += (
            " Maps: from the best to the worst method, each scaled by itself (limit = "
            f"{heatmaps.PERCENTILE}th percentile of |a|; red raises the score, blue lowers it, "
            "violet has no sign). Points: all methods, crosses: controls and others."
        )
    return text


def _order(run: Run, row: pd.Series, metric: str) -> pd.Series:
    """Finite scores of a sample, best first."""
    known = row[np.isfinite(row.to_numpy(dtype=float))]
    down = run.metrics[metric].direction == "lower"
    return known.sort_values(ascending=down, kind="stable")


def _ends(run: Run, order: pd.Series) -> list[str]:
    """The best and the worst methods of a sample, from the best to the worst."""
    ranked = [str(m) for m in order.index if styles.role(run, str(m)) == "method"]
    return ranked if len(ranked) <= 2 * SIDE else [*ranked[:SIDE], *ranked[-SIDE:]]


def _dots(axes: Axes, run: Run, order: pd.Series, *, names: bool) -> None:
    """A point for each method, one under another, best at the top."""
    looks = styles.method_styles(run.methods)
    for i, (method, value) in enumerate(order.items()):
        colour = looks.get(str(method), styles.UNKNOWN)["color"]
        ranked = styles.role(run, str(method)) == "method"
        axes.plot(value, i, "o" if ranked else "x", color=colour, ms=3.5)
    texts = [styles.short_label(str(m)) for m in order.index] if names else []
    axes.set_yticks(range(len(texts)), texts, fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="x")


def _one_axis(panels: Sequence[Axes]) -> None:
    """Give all samples the same range of scores."""
    ends = [axes.get_xlim() for axes in panels]
    for axes in panels:
        axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
