"""Does the figure of baselines show the scores and the agreement of the maps?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from igbench.errors import InputError
from igbench.report import baselines
from igbench.schema import MethodSpec, MetricSpec, Point, Records, Row
from tests.helpers.synthetic import make_run

SPEC = MethodSpec("", "", "global", True)
METRICS = {"srg": MetricSpec("SRG", "higher", -1, 1, 1, "")}
RAMP = np.arange(4.0).reshape(2, 2)


def records(baseline: str = "Zero()", methods: tuple[str, ...] = ("ig",)) -> Records:
    run = make_run(samples=3)
    known = {
        "ig": "IntegratedGradients(rule='middle', n_steps=50)",
        "ig_white": "AveragedIG(baselines=('white',), rule='middle', n_steps=25)",
        "random": "Random()",
    }
    parameters = {
        "ig": {"rule": "middle", "n_steps": 50},
        "ig_white": {"baselines": ["white"], "rule": "middle", "n_steps": 25, "data": "a set"},
        "random": {},
    }
    run = replace(
        run,
        metrics=METRICS,
        methods={m: replace(SPEC, role="control" if m == "random" else "method") for m in methods},
        identity={**run.identity, "methods": {m: known[m] for m in methods}, "baseline": baseline},
        environment={**run.environment, "parameters": {"methods": parameters}},
    )
    maps = {"ig": {"a": RAMP, "b": RAMP}, "ig_white": {"a": RAMP.max() - RAMP, "b": RAMP}}
    kept = {m: maps[m] for m in methods if m in maps}
    frame = pd.DataFrame([Row("r", "e", "net", "ig", "srg", "a", 0.5)])
    return Records(run, frame, pd.DataFrame(columns=list(Point._fields)), maps=kept)


def summary(means: dict[str, float], n: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "net", "metric": "srg", "method": m, "mean": v, "low": v - 0.1, "high": v + 0.2,
         "n": n}
        for m, v in means.items()
    )  # fmt: skip


def texts(axes: Any) -> list[str]:
    return [t.get_text() for t in axes.get_yticklabels()]


def test_methods_of_one_run_that_differ_in_their_baseline() -> None:
    run = records(methods=("ig", "ig_white", "random"))
    made = baselines.figure([(run, summary({"ig": 0.6, "ig_white": 0.2, "random": 0.0}))])
    assert made is not None
    scores, matrix = made.axes
    assert texts(scores) == ["zero (50 steps)", "white (25 steps)"]
    assert [float(c.lines[0].get_xdata()[0]) for c in scores.containers] == [0.6, 0.2]
    bars = [c.lines[2][0].get_segments()[0][:, 0].tolist() for c in scores.containers]
    assert bars == [pytest.approx([0.5, 0.8]), pytest.approx([0.1, 0.4])]
    assert scores.lines[-1].get_xdata() == [0.0, 0.0], "the random control"
    assert [t.get_text() for t in matrix.texts] == ["1.00", "0.00", "1.00"]  # mean of -1 and 1
    assert matrix.get_title(loc="left") == "Rank correlation of |a|\n(2 samples)"


def test_runs_that_differ_in_their_baseline() -> None:
    runs = [
        (records("Black()"), summary({"ig": 0.6})),
        (records("Blur(sigma=10.0)"), summary({"ig": 0.3}, n=2)),
    ]
    made = baselines.figure(runs)
    assert made is not None
    assert texts(made.axes[0]) == ["black", "blur (sigma=10.0) (n = 2)"]
    other = records("White()")
    other = replace(other, run=replace(other.run, comparability={"seed": 1}))
    with pytest.raises(InputError, match="more than their baseline: samples, weights"):
        baselines.figure([runs[0], (other, runs[1][1])])


def test_one_baseline_has_no_figure() -> None:
    assert baselines.figure([(records(), summary({"ig": 0.6}))]) is None
    assert baselines.figure([(records(), summary({"ig": 0.6}))] * 2) is None
    assert baselines.figure([]) is None


@pytest.mark.parametrize("parameters", [None, {}, {"methods": {"ig": {}}}])
def test_runs_without_parameters_have_the_baseline_of_the_run(parameters: Any) -> None:
    own = records("Blur(sigma=1.0)")
    run = replace(own.run, environment={**own.run.environment, "parameters": parameters})
    assert baselines.baseline(replace(own, run=run), "ig") == "Blur(sigma=1.0)"
    bare = replace(run, identity={"methods": "unknown"})
    assert baselines.figure([(replace(own, run=bare), summary({"ig": 0.6}))]) is None
