"""Figures of special studies: disagreement of methods, cascades of random layers, baselines."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from igbench.report import baselines, cascade, disagreement
from igbench.report.styles import Maker
from igbench.schema import RANDOM_WEIGHTS, Records


def of_model(records: Records, summary: pd.DataFrame, model: str) -> dict[str, Maker]:
    """What draws each figure of one model, by file name; None where there is no data for one.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        model: Name of the model.
    """
    lines = summary[summary["model"] == model]
    points = records.curves[records.curves["model"] == model]
    alone = records.scores["model"].nunique() == 1
    images = disagreement.has_images(records)
    return {
        "mprt_cascade": partial(cascade.cascade, records.run, points),
        "ig_baselines": lambda: baselines.figure([(records, lines)]) if alone else None,
        "disagreement": lambda: None if images else disagreement.figure(records, lines, model),
    }


def of_images(records: Records, summary: pd.DataFrame) -> Figure | None:
    """The figure of disagreement with maps of images, a picture of many pixels; None without maps.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    if not disagreement.has_images(records) or summary.empty:
        return None
    made = disagreement.figure(records, summary, str(summary["model"].iloc[0]))
    if made is not None and records.run.random_weights:
        place = {"y": 1 - 0.04 / made.get_figheight(), "va": "top"}
        made.suptitle(f"The model has {RANDOM_WEIGHTS}.", fontsize=9, **place)
    return made
