"""Are maps of two runs paired, and their distances what the definitions say?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from igbench.report import map_changes
from igbench.schema import Records
from tests.helpers.synthetic import make_records, sample_ids

ONE, TWO, THREE = sample_ids(3)


def with_maps(records: Records, maps: dict[str, Any]) -> Records:
    """Records with these maps, and grey images for all of them."""
    shown = {s: np.full((4, 4, 3), 120, dtype=np.uint8) for own in maps.values() for s in own}
    return replace(records, maps={"inputs": shown, **maps} if maps else {})


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def records() -> Records:
    return make_records(samples=3)


def compared(records: Records, old: dict[str, Any], now: dict[str, Any]) -> map_changes.MapChanges:
    return map_changes.changes(with_maps(records, old), with_maps(records, now))


def test_maps_are_equal_moved_or_without_a_counterpart(records: Records) -> None:
    same, a, b = noise(0), noise(1), noise(2)
    old = {"ig": {ONE: a, TWO: a, THREE: same}, "saliency": {ONE: same, TWO: same}}
    now = {"ig": {ONE: a + 0.1 * b, TWO: a + b, THREE: same.copy()}, "random": {ONE: same},
           "saliency": {ONE: same, TWO: same.T[:2]}}  # fmt: skip
    found = compared(records, old, now)
    assert found.equal == {"ig": 1, "saliency": 1, "random": 0}
    assert [m.sample for m in found.moved["ig"]] == [TWO, ONE]  # the largest distance first
    far = found.moved["ig"][0]
    assert far.distance == pytest.approx(float(np.linalg.norm(b) / np.linalg.norm(a)), rel=1e-6)
    rho = spearmanr(np.abs(a).ravel(), np.abs(a + b).ravel()).statistic
    assert far.rank_distance == pytest.approx(1 - rho, abs=1e-12)
    assert {(u.method, u.reason, u.samples) for u in found.unpaired} == {
        ("saliency", "other shapes: 4 × 4 in the base run, 2 × 4 in the new run", (TWO,)),
        ("random", "no map in the base run", (ONE,)),
    }


def test_a_change_of_sign_or_scale_is_far_although_the_order_stays(records: Records) -> None:
    a = noise(3)
    found = compared(records, {"ig": {ONE: a, TWO: a}}, {"ig": {ONE: -a, TWO: 2 * a}})
    assert [(m.sample, m.distance) for m in found.moved["ig"]] == [(ONE, 2.0), (TWO, 1.0)]
    assert [m.rank_distance for m in found.moved["ig"]] == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize(("base", "new", "distance"), [
    ([3.0, 4.0], [3.0, 4.5], 0.1),
    ([0.0, 0.0], [0.0, 1e-9], math.inf),
    ([0.0, 0.0], [-0.0, 0.0], 0.0),
    ([1.0, math.nan], [1.0, math.nan], 0.0),
    ([4.0, math.nan], [3.0, math.nan], 0.25),
    ([1.0, math.nan], [1.0, 0.0], math.inf),
    ([1.0, math.inf], [1.0, -math.inf], math.inf),
    ([3e300, 4e300], [3e300, 3e300], 0.2),
    ([3e-320, 4e-320], [3e-320, 3e-320], 0.2),
    ([1e-200, 0.0], [1e-200, 1e200], math.inf),
])  # fmt: skip
def test_distances_at_the_edges(base: list[float], new: list[float], distance: float) -> None:
    found = map_changes.relative_distance(np.array(base), np.array(new))
    # 3e-320 has 3 digits and a half
    assert found == pytest.approx(distance, rel=2e-3 if 0 < base[0] < 1e-300 else 1e-12)


def test_words_that_are_cut_otherwise_are_no_pair(records: Records) -> None:
    def of(*names: str) -> Records:
        listed = [dict(s) for s in records.run.samples]
        listed[0]["features"] = {"names": list(names), "values": [1.0, 2.0]}
        run = replace(records.run, samples=listed)
        return replace(records, run=run, maps={"ig": {ONE: np.array([1.0, 2.0])}})

    found = map_changes.changes(of("good", "film"), of("good", "movie"))
    assert [(u.reason.partition(":")[0], u.samples) for u in found.unpaired] == [
        ("other features", (ONE,))
    ]
    assert found.equal == {"ig": 0}
    assert map_changes.changes(of("a", "b"), of("a", "b")).equal == {"ig": 1}


def test_runs_without_maps_have_nothing_to_compare(records: Records) -> None:
    found = compared(records, {}, {"ig": {ONE: noise(0)}})
    assert (found.equal, found.moved, found.unpaired) == ({}, {}, [])
