"""`igbench power`: samples for a difference, and what earlier samples show."""

from __future__ import annotations

import math
import re

import pytest

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.cli import power
from igbench.errors import InputError
from igbench.records import stats, store
from tests.helpers import synthetic


@pytest.fixture(scope="module")
def made():
    return synthetic.make_records()


def table(made, **named):
    question = power.Question(**{"metric": "srg", "difference": 0.01, **named})
    return power.power_table(made.run, made.scores, question)


def test_numbers_are_those_of_the_pairwise_table(made):
    pairs = stats.pairwise(made.scores, made.run.metrics, "srg", resamples=99)
    shown = table(made, all_pairs=True)
    assert shown.rows == tuple(f"{line.a} - {line.b}" for line in pairs.itertuples())
    wanted = [f"{v:.3g}" for v in pairs["detectable"]]
    assert [cells[2].text for cells in shown.cells] == wanted


def test_the_samples_needed_show_the_difference(made):
    found = stats.pair_power(made.scores, made.run.metrics, "srg", 0.01)
    for line in found.itertuples():
        if line.sd > 0:
            alpha = 0.05 / line.tests
            assert stats.detectable(int(line.needed), line.sd, alpha=alpha) <= 0.01
    twice = stats.pair_power(made.scores, made.run.metrics, "srg", 0.02)
    large = found["needed"] > 1000
    assert large.any()
    assert (found["needed"] / twice["needed"])[large].to_numpy() == pytest.approx(4, rel=0.01)


def test_pairs_with_ig_by_default_or_with_another_method(made):
    assert {row.split(" - ")[0] for row in table(made).rows} == {"ig"}
    assert all("occlusion" in row for row in table(made, method="occlusion").rows)
    assert len(table(made).rows) == len(synthetic.ORDER) - 1


def test_samples_needed_by_hand():
    # ((1.959964 + 1.281552) * 0.05 / 0.01)^2 * pi / 3
    assert stats.samples_needed(0.01, 0.05) == math.ceil(262.6855 * math.pi / 3)
    assert stats.samples_needed(-0.01, 0.05) == stats.samples_needed(0.01, 0.05)
    assert stats.samples_needed(0.01, 0.0, alpha=0.05 / 10) == 9  # 2 / 2**9 < .005
    assert math.isnan(stats.samples_needed(0.01, math.nan))
    assert stats.samples_needed(0.0, 0.1) == math.inf
    assert stats.samples_needed(0.01, 0.05, power=0.8) < stats.samples_needed(0.01, 0.05)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"metric": "srgg"}, "Did you mean 'srg'"),
        ({"method": "igg"}, "no scores of 'igg' on srg"),
        ({"difference": 0.0}, "difference=0.0 must be above 0"),
        ({"power": 1.0}, "power=1.0 is a probability"),
        ({"method": "ig", "all_pairs": True}, "either --method or --all-pairs"),
    ],
)
def test_what_cannot_be_answered_is_one_line(made, named, message):
    with pytest.raises(InputError, match=re.escape(message)):
        table(made, **named)


def test_command_and_plan_read_a_run(made, tmp_path, capsys):
    folder = tmp_path / made.run.experiment / made.run.id
    store.write(folder, made.run, [*made.scores.itertuples(index=False)], [], {})
    words = ["power", made.run.experiment, "--metric", "srg", "--difference", ".01"]
    assert main([*words, f"--results-dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("synthetic, srg: sd of the paired differences")
    assert re.search(r"^ig - saliency +24 +0\.\d+ +0\.\d+ +[\d,]+$", out, flags=re.MULTILINE)
    assert main([*words, "--method", "nobody", f"--results-dir={tmp_path}"]) == 2
    line = power.earlier(store.read_run(folder), store.scores(folder), "srg")
    assert line.startswith("24 samples show differences of srg of 0.")
    assert "would show 0.005 (90 % power, ig - " in line


def test_the_command_is_listed():
    assert "power" in COMMANDS
    assert "igbench power RUN" in USAGE
