"""Slow drift: the best run before is compared with too, and only a real fall is one."""

from dataclasses import replace

import numpy as np
import pytest

from igbench.records import compare as gate
from igbench.schema import COSTS, Records
from tests.helpers.two_runs import BASE, N, make, with_run

CELL = ("ig", "up")


def run(name: str, values: np.ndarray, metric: str = "up", **fields: object) -> Records:
    return with_run(make({("ig", metric): values}), id=name, **fields)


def test_slow_drift_is_caught_against_the_best_run() -> None:
    steps = [run(f"r{i}", BASE - 0.004 * i) for i in range(5)]
    alone = gate.compare(steps[3], steps[4], resamples=99)
    assert (alone.changes[0].verdict, alone.exit_code) == ("equivalent", 0)
    found = gate.compare(steps[3], steps[4], history=steps[:3], resamples=99)
    (change,) = found.changes
    assert change.verdict == "equivalent"
    assert change.drift is not None
    assert (change.drift.run, change.drift.verdict, change.drift.n) == ("r0", "regressed", N)
    assert change.drift.base == pytest.approx(BASE.mean())
    assert change.drift.difference == pytest.approx(-0.016)
    assert change.drift.p_value == pytest.approx(3 * 2 / 2**N)  # the best of three runs
    assert (found.exit_code, found.outcome) == (1, "regression")
    assert found.history == ("r0", "r1", "r2")
    lines = gate.format_text(found).splitlines()
    assert lines[0].startswith("regression: 1 equivalent of 1 cells, 1 worse than the best before")
    assert lines[2].startswith("DRIFT ig/up: ")
    assert "against r0, the best run before" in lines[2]
    many = gate.compare(steps[3], steps[4], history=steps[:3], chosen_from=40, resamples=99)
    assert many.changes[0].drift.p_value == pytest.approx(40 * 2 / 2**N)  # the best of 40
    accepted = gate.compare(
        steps[3], steps[4], history=steps[:3], accept={"ig/up": "known"}, resamples=99
    )
    assert accepted.exit_code == 0
    assert "ACCEPTED DRIFT ig/up" in gate.format_text(accepted)


def test_lower_is_better_and_without_a_direction_nothing_is_best() -> None:
    for metric, drifts in (("down", True), ("flat", False)):
        old, base, new = (run(f"r{i}", BASE + 0.01 * i, metric) for i in range(3))
        (change,) = gate.compare(base, new, history=[old], resamples=99).changes
        assert (change.drift is not None) is drifts


def test_no_drift_where_the_base_is_the_best_or_the_new_run_is_better() -> None:
    worse, base, new = run("a", BASE - 0.02), run("b", BASE), run("c", BASE - 0.01)
    assert gate.compare(base, new, history=[worse, base], resamples=99).changes[0].drift is None
    between = run("a2", BASE - 0.002)  # better than the new run, and not than the base
    assert gate.compare(base, new, history=[between], resamples=99).changes[0].drift is None
    better = run("d", BASE + 0.1)
    assert gate.compare(worse, better, history=[base], resamples=99).changes[0].drift is None


def test_runs_with_equal_values_count_once() -> None:
    base, new = run("y", BASE - 0.016), run("z", BASE - 0.02)
    same = [run(f"r{i}", BASE) for i in range(5)]
    (change,) = gate.compare(base, new, history=same, resamples=99).changes
    assert change.drift is not None
    assert change.drift.p_value == pytest.approx(2 / 2**N)


@pytest.mark.slow
def test_choosing_the_best_of_many_noisy_runs_is_no_alarm() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(20):
        runs = [run(f"r{i}", BASE + rng.normal(0, 0.03, N)) for i in range(12)]
        found = gate.compare(runs[-2], runs[-1], history=runs[:-2], resamples=99)
        alarms += found.exit_code != 0
    assert alarms <= 2


def test_earlier_runs_that_are_not_comparable_are_left_out_and_said() -> None:
    base, new = run("b", BASE), run("c", BASE)
    other = run("a", BASE + 1, comparability={"weights": "b" * 64})
    found = gate.compare(base, new, history=[other], resamples=99)
    assert (found.exit_code, found.history, found.changes[0].drift) == (0, (), None)
    assert found.warnings[0].startswith(
        "1 earlier runs are not comparable and left out of the best so far; the first: a (weights:"
    )


def test_counts_drift_exactly() -> None:
    specs = {"forward_rows": COSTS["forward_rows"]}
    a, b, c = (
        with_run(make({("ig", "forward_rows"): np.full(4, v)}, specs), id=name)
        for name, v in (("a", 50.0), ("b", 50.4), ("c", 50.8))
    )
    found = gate.compare(b, c, history=[a], resamples=99)
    assert found.changes[0].verdict == "equivalent"
    assert found.changes[0].drift is not None
    assert found.changes[0].drift.verdict == "regressed"


def test_cells_of_another_question_have_no_history() -> None:
    old = run("a", BASE + 1, comparability={"metric_versions": {"up": 7}})
    old = replace(old, scores=make({("ig", "up"): BASE + 1, ("ig", "down"): BASE}).scores)
    base, new = (with_run(make({CELL: BASE, ("ig", "down"): BASE}), id=i) for i in "bc")
    assert [c.drift for c in gate.compare(base, new, history=[old]).changes] == [None, None]
