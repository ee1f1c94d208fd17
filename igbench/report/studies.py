"""Figures of special studies: disagreement of methods, cascades of random layers, baselines."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from igbench.report import baselines, cascade, disagreement
from igbench.schema import RANDOM_WEIGHTS, Records


def of_model(records: Records, summary: pd.DataFrame, model: str) -> dict[str, Figure | None]:
    """Figures of one model by file name, None where the records have no data for one.

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
        "mprt_cascade": cascade.cascade(records.run, points),
        "ig_baselines": baselines.figure([(records, lines)]) if alone else None,
        "disagreement": None if images else disagreement.figure(records, lines, model),
    }


def of_images(records: Records, summary: pd.DataFrame) -> dict[str, Figure]:
    """Figures with maps of images by file name, which are pictures of many pixels.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    if not disagreement.has_images(records) or summary.empty:
        return {}
    model = str(summary["model"].iloc[0])
    made = disagreement.figure(records, summary, model)
    if made is None:
        return {}
    if records.run.random_weights:
        made.suptitle(f"The model has {RANDOM_WEIGHTS}.", fontsize=9)
    return {"disagreement": made}
