"""Are false alarms rare, and shifts found, in simulated releases?"""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from experiments.regression import alarms, power
from igbench.records import compare as gate
from igbench.schema import MetricSpec, Records, Row
from tests.helpers import synthetic

SRG = MetricSpec("SRG", "higher", -1, 1, 1, "test", min_effect=0.005)


@cache
def base() -> Records:
    """A run of one method with 128 scores around 0.5."""
    values = np.random.default_rng(0).normal(0.5, 0.2, 128)
    rows = [Row("r", "e", "net", "ig", "srg", f"s{i}", float(v)) for i, v in enumerate(values)]
    run = replace(synthetic.make_run(samples=128), metrics={"srg": SRG})
    return Records(run, pd.DataFrame(rows, columns=list(Row._fields)), pd.DataFrame())


def test_the_simulation_is_the_comparison() -> None:
    rng = np.random.default_rng(1)
    old = rng.normal(0.5, 0.2, (power.CELLS, 32))
    new = old + rng.normal(0, 0.01, old.shape)
    new[0] -= 0.05
    worse = np.arange(power.CELLS) == 0
    power._check(base(), old, new, worse)
    with pytest.raises(RuntimeError, match="disagree"):
        power._check(base(), old, new, ~worse)


def test_noise_has_the_size_that_is_said() -> None:
    rng = np.random.default_rng(2)
    drawn = power.normal(rng, (100, 400))
    assert drawn.std() == pytest.approx(power.NORMAL * math.sqrt(2), rel=0.02)
    drawn = power.measured(np.array([0.1, 0.3]))(rng, (100, 400))
    assert set(np.round(drawn.ravel(), 6)) == {-0.3, -0.1, 0.1, 0.3}
    assert abs(drawn.mean()) < 0.01  # four standard errors are 0.0045


def test_alarms_are_counted_by_pair() -> None:
    lines = pd.DataFrame(
        {
            "pair": [0, 0, 1, 1, 2, 2],
            "exit": [1, 1, 0, 0, 0, 0],
            "verdict": [
                "regressed",
                "regressed",
                "improved",
                "undecided",
                "undecided",
                "identical",
            ],
            "p": [0.01, 0.02, 0.01, 0.2, 0.03, 0.5],
        }
    )
    assert [*alarms.alarm_counts(alarms.by_pair(lines)).values()] == [1, 2, 3]
    assert alarms.rate(10, 200) == "10 of 200: 5.0% [2.7%, 9.0%]"  # Wilson's formula by hand


@pytest.mark.slow
def test_a_shift_is_found_in_128_samples_and_noise_is_not() -> None:
    found = pd.DataFrame(
        power.releases(base(), power.normal, 128, 100, 0), columns=["shift", "found"]
    )
    share = found.groupby("shift")["found"].mean()
    assert share[0.02] >= 0.9  # 0.977 of 400 in the table; four standard errors are 0.06
    assert share[0.0] <= 0.11  # 2.5 % of the comparisons are worse by chance


@pytest.mark.slow
def test_runs_that_differ_in_their_draws_alone_rarely_alarm() -> None:
    found = [
        gate.compare(
            power.release(base(), 0.5 + rng.normal(0, 0.1, (8, 32))),
            power.release(base(), 0.5 + rng.normal(0, 0.1, (8, 32))),
            resamples=99,
        ).exit_code
        for rng in map(np.random.default_rng, range(100))
    ]
    assert set(found) <= {0, 1}
    assert found.count(1) <= 8  # 2.5 expected; more than 8 in 1 of 2,000 cases
