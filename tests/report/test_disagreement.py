"""Which samples do methods disagree on most, by scores worked out by hand?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from igbench.report import disagreement, map_ranks, studies
from igbench.schema import MethodSpec, MetricSpec, Point, Records, Row
from tests.helpers.synthetic import make_run

METHOD = MethodSpec("", "", "global", True)
METHODS = {
    "ig": METHOD,
    "saliency": replace(METHOD, signed=False),
    "random": replace(METHOD, role="control"),
}
SRG = MetricSpec("SRG", "higher", -1, 1, 1, "")
SCORES: dict[str, dict[str, float]] = {
    "photo-000": {"ig": 0.5, "saliency": 0.5, "random": 9.0},
    "photo-001": {"ig": 0.1, "saliency": 0.9, "random": 0.0},
    "photo-002": {"ig": 0.4, "saliency": 0.2, "random": 0.0},
    "photo-003": {"ig": math.nan, "saliency": 0.3, "random": 0.0},
}


def records(direction: Any = "higher", maps: dict[str, Any] | None = None) -> Records:
    metrics = {"srg": replace(SRG, direction=direction)}
    run = replace(make_run(samples=4), metrics=metrics, methods=METHODS)
    rows = [
        Row("r", "e", "net", m, "srg", s, v, status="undefined" if math.isnan(v) else "ok")
        for s, own in SCORES.items()
        for m, v in own.items()
    ]
    return Records(
        run, pd.DataFrame(rows), pd.DataFrame(columns=list(Point._fields)), maps=maps or {}
    )


def summary() -> pd.DataFrame:
    mean = {"model": "net", "metric": "srg", "mean": 0.4}
    return pd.DataFrame([{"method": m, **mean} for m in METHODS])


def test_value_is_the_spread_in_units_of_the_metric() -> None:
    own = records()
    found = disagreement.disagreement(own.run, own.scores, "srg").set_index("sample_id")
    unit = np.std([0.5, 0.5, 0.1, 0.9, 0.4, 0.2, 0.3], ddof=1)
    assert list(found.index) == ["photo-001", "photo-002", "photo-000", "photo-003"]
    assert found.loc["photo-001", "value"] == pytest.approx(0.8 / math.sqrt(2) / unit)
    assert found.loc["photo-002", "value"] == pytest.approx(0.2 / math.sqrt(2) / unit)
    assert found.loc["photo-000", "value"] == 0, "the control does not count"
    assert math.isnan(found.loc["photo-003", "value"])
    assert list(found["n"]) == [2, 2, 2, 1]
    assert list(found["best"]) == ["saliency", "ig", "ig", "saliency"]
    assert list(found.loc["photo-001", ["best_score", "worst", "worst_score"]]) == [0.9, "ig", 0.1]


def test_the_best_of_a_metric_that_should_be_low_is_the_lowest() -> None:
    own = records("lower")
    found = disagreement.disagreement(own.run, own.scores, "srg")
    assert list(found.iloc[0][["best", "worst"]]) == ["ig", "saliency"]


def test_the_table_has_all_defined_samples_and_counts_the_others() -> None:
    table = disagreement.table(records(), summary())
    assert table is not None
    assert table.rows == ("photo-001", "photo-002", "photo-000")
    assert [c.text for c in table.cells[0]] == ["2.17", "saliency 0.9", "ig 0.1", "2", "–"]
    assert table.footnotes[""] == (
        "3 of 4 samples, by SRG ↑; 1 undefined, with fewer than two finite scores."
    )


def test_equal_scores_have_no_unit() -> None:
    own = records()
    flat = own.scores.assign(value=0.5)
    assert disagreement.disagreement(own.run, flat, "srg")["value"].isna().all()
    assert disagreement.table(replace(own, scores=flat), summary()) is None
    assert disagreement.figure(replace(own, scores=flat), summary(), "net") is None


def with_maps() -> Records:
    ramp = np.arange(16.0, dtype=np.float32).reshape(4, 4)
    kept = ("photo-000", "photo-001")
    maps = {"inputs": dict.fromkeys(kept, np.zeros((4, 4, 3), dtype=np.uint8))}
    return records(
        maps={**maps, "ig": dict.fromkeys(kept, ramp), "saliency": dict.fromkeys(kept, -ramp)}
    )


def test_maps_stand_from_best_to_worst_with_their_scores() -> None:
    made = studies.of_images(with_maps(), summary())
    assert made is not None
    page, *dots = made.axes
    names = [t.get_text() for t in page.texts if t.get_text() != "all zero"]
    assert names == [
        "photo-001: class 1 f = 8.14; disagreement 2.17 (place 1 of 4)",
        "Input", "Saliency\n0.9", "IG\n0.1",
        "photo-000: class 0 f = 8; disagreement 0.00 (place 3 of 4)",
        "Input", "IG\n0.5", "Saliency\n0.5",
    ]  # fmt: skip
    assert len(page.images) == 6
    assert [axes.get_title() for axes in dots] == ["SRG ↑", "SRG ↑"]
    assert studies.of_model(with_maps(), summary(), "net")["disagreement"]() is None
    table = disagreement.table(with_maps(), summary())
    assert table is not None
    assert [row[-1].text for row in table.cells] == ["1.00", "–", "1.00"], "magnitudes are equal"


def test_without_maps_all_scores_are_drawn_beside_their_methods() -> None:
    made = disagreement.figure(records(), summary(), "net")
    assert made is not None
    assert len(made.axes) == 3
    first = made.axes[0]
    assert [t.get_text() for t in first.get_yticklabels()] == ["Saliency", "IG", "Random"]
    assert [float(line.get_xdata()[0]) for line in first.lines] == [0.9, 0.1, 0.0]
    assert [line.get_marker() for line in first.lines] == ["o", "o", "x"]


def test_rank_correlations_by_hand() -> None:
    a, b = np.array([1.0, -2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    found = map_ranks.correlations([a, b, np.zeros(4), np.ones(3), np.full(4, math.nan)])
    assert found[0, 1] == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 - 6 sum d² / (n (n² - 1))
    assert np.isnan(found[0, 2:]).all()
    means, counts = map_ranks.between([{"s": a, "t": a, "u": a}, {"s": b, "t": -a, "v": b}])
    assert means[0, 1] == pytest.approx((0.8 + 1) / 2)
    assert counts[0, 1] == 2
