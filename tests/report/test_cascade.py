"""Does the cascade of random layers show the means, its start and what is missing?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from igbench.report import cascade, styles
from igbench.schema import MethodSpec, Point, Run
from tests.helpers.synthetic import make_run

METHODS = {m: MethodSpec("", "", "global", True) for m in ("ig", "saliency", "edges")}


def run() -> Run:
    return replace(make_run(samples=2), methods=METHODS)


def points(curve: str = "mprt_top_down") -> pd.DataFrame:
    values = {"ig": ((0.8, 0.4), (0.6, 0.0)), "saliency": ((0.5, 0.1), (math.nan, math.nan))}
    return pd.DataFrame(
        Point("r", "e", "net", m, curve, f"photo-00{i}", x, y)
        for m, own in values.items()
        for i, ys in enumerate(own)
        for x, y in zip((0.5, 1.0), ys, strict=True)
    )


def drawn(found: pd.DataFrame) -> Any:
    with styles.style():
        made = cascade.cascade(run(), found)
    assert made is not None
    return made


def test_lines_are_means_that_begin_at_one() -> None:
    axes = drawn(points()).axes[0]
    lines = {len(line.get_xdata()): line for line in axes.lines[:2]}
    assert list(lines) == [3]
    assert axes.lines[0].get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([1.0, 0.7, 0.2])
    texts = [t.get_text() for t in axes.texts]
    assert texts == ["Saliency (n = 1 of 2)", "IG", "no value: Edges"]
    assert axes.get_title(loc="left") == "MPRT, from the output down"


def test_one_random_layer_has_no_start_and_entries_have_their_name() -> None:
    both = pd.concat([points(), points("own_mprt:mprt_independent")])
    first, second = drawn(both).axes
    assert first.lines[0].get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert second.lines[0].get_xdata().tolist() == [0.5, 1.0]
    assert second.get_title(loc="left") == "MPRT, one layer alone: Own MPRT"
    assert second.get_xlabel() == "place of the random layer, from the output"


def test_runs_without_the_metric_have_no_figure() -> None:
    assert cascade.cascade(run(), points("deletion")) is None


def test_labels_keep_their_distance_and_their_order() -> None:
    found = cascade.apart([0.0, 0.1, 0.2, 0.9, 0.95], 0.2)
    assert found == pytest.approx([-0.1, 0.1, 0.3, 0.825, 1.025])
    assert cascade.apart([], 1.0) == []
