"""The share done and the time left are counted in cost, on a clock that the test moves."""

from __future__ import annotations

import io
import re
import sys
import types

import pytest
from rich.console import Console

from igbench.evaluation.forecast import Progress
from igbench.run.progress import _lines, duration, shown

# True seconds of one sample; "saliency" and "deletion" differ a thousandfold, "ig" and "deletion"
# tenfold.
TRUE = {"loading": 0.01, "method saliency": 0.02, "method ig": 2.0, "metric deletion": 20.0}
BATCHES = (8, 8, 8, 3)


class Simulation:
    """A run on a clock of its own.

    Args:
        estimated: Seconds of one sample by stage, as the forecast has them.
        true: What they are.
        batches: Sizes.
    """

    def __init__(self, estimated, true=None, batches=BATCHES):
        self.now, self.true = 0.0, TRUE if true is None else true
        self.steps = [(stage, n) for n in batches for stage in self.true]
        self.whole = sum(n * self.true[stage] for stage, n in self.steps)
        work = {stage: sum(batches) for stage in self.true}
        self.progress = Progress(work, estimated, lambda: self.now)

    def run(self, advance):
        """Yield after every step."""
        for stage, n in self.steps:
            self.now += n * self.true[stage]
            advance(stage, n)
            yield


def wrong(factors):
    return {stage: TRUE[stage] * f for stage, f in zip(TRUE, factors, strict=True)}


@pytest.mark.parametrize(
    "estimated",
    [TRUE, wrong([3, 3, 3, 3]), wrong([0.3, 0.3, 0.3, 0.3]), wrong([50, 0.1, 2, 0.7]), {}],
    ids=["right", "thrice", "a third", "mixed", "unknown"],
)
@pytest.mark.parametrize("batches", [BATCHES, (1,) * 10, (16, 16)])
def test_from_half_way_the_time_left_is_right_to_a_quarter(estimated, batches):
    simulation = Simulation(estimated, batches=batches)
    checked = 0
    for _ in simulation.run(simulation.progress.advance):
        left = simulation.whole - simulation.now
        if simulation.now >= simulation.whole / 2 and left > 0:
            assert simulation.progress.left() == pytest.approx(left, rel=0.25)
            checked += 1
    assert checked
    assert simulation.progress.left() == 0


def test_a_single_batch_with_an_estimate_that_is_thrice_too_low():
    """No stage has been measured before: what is measured of the others corrects it."""
    true = dict.fromkeys(["loading", "method a", "method b", "metric c", "metric d"], 10.0)
    simulation = Simulation(dict.fromkeys(true, 10 / 3), true, batches=(4,))
    for _ in simulation.run(simulation.progress.advance):
        left = simulation.whole - simulation.now
        if left < simulation.whole / 2:
            assert simulation.progress.left() == pytest.approx(left, rel=0.25)


def test_the_share_is_of_the_cost_and_not_of_the_steps():
    simulation = Simulation(TRUE, batches=(1,))
    run = simulation.run(simulation.progress.advance)
    for _ in range(3):
        next(run)
    assert simulation.progress.share() == pytest.approx(2.03 / 22.03)
    next(run)
    assert simulation.progress.share() == 1.0


def test_the_share_never_falls():
    simulation = Simulation(wrong([1, 1, 10, 0.1]))
    shares = [simulation.progress.share() for _ in simulation.run(simulation.progress.advance)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_time_left_counts_down_between_steps_but_not_beyond_the_step():
    simulation = Simulation(TRUE)
    run = simulation.run(simulation.progress.advance)
    for _ in range(3):
        next(run)
    before = simulation.progress.left()
    simulation.now += 60
    assert simulation.progress.left() == pytest.approx(before - 60)
    simulation.now += 10_000
    assert simulation.progress.left() == pytest.approx(before - 8 * 20.0)


def test_shards_that_come_back_whole():
    """Executors with many workers report all steps of a shard at once, here one every 100 s."""
    now = [0.0]
    progress = Progress({stage: 80 for stage in TRUE}, TRUE, lambda: now[0])
    for _ in range(5):
        now[0] += 100
        for stage in TRUE:
            progress.advance(stage, 8)
    assert progress.left() == pytest.approx(500)
    assert progress.share() == pytest.approx(0.5)


def test_a_line_a_minute_with_the_time_left():
    out = io.StringIO()
    simulation = Simulation(TRUE)
    advance = _lines(Console(file=out, width=200), simulation.progress)
    for _ in simulation.run(advance):
        pass
    lines = out.getvalue().splitlines()
    assert lines[0] == ("30% after 2 min 56 s, about 6 min 59 s left; last step: metric deletion")
    assert lines[-1] == "100% after 9 min 55 s, about 0 s left; last step: metric deletion"
    assert len(lines) == 4, "a minute passes in the deletion of each batch alone"
    half = re.search(r"about (\d+) min (\d+) s left", lines[1])
    said = 60 * int(half[1]) + int(half[2])
    assert said == pytest.approx(simulation.whole - 2 * 8 * sum(TRUE.values()), rel=0.25)


def test_the_bar_shows_percent_and_time_left():
    out = io.StringIO()
    simulation = Simulation(TRUE)
    console = Console(file=out, force_terminal=True, width=120)
    with shown(console, simulation.progress) as advance:
        for number, _ in enumerate(simulation.run(advance), 1):
            if number == len(simulation.steps) - 4:
                left = simulation.whole - simulation.now
                assert simulation.progress.left() == pytest.approx(left, rel=0.25)
    text = out.getvalue()
    assert "100%" in text
    assert "metric deletion" in text
    assert "done" in text


def test_a_notebook_gets_one_line_that_is_drawn_over(monkeypatch):
    shows = []

    class Handle:
        def update(self, content, *, raw):
            shows.append(content["text/plain"])

    def display(content, *, raw, display_id):
        assert raw
        assert display_id
        shows.append(content["text/plain"])
        return Handle()

    ipython = types.ModuleType("IPython.display")
    ipython.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    out = io.StringIO()
    simulation = Simulation(TRUE)
    with shown(Console(file=out, force_jupyter=True), simulation.progress) as advance:
        for _ in simulation.run(advance):
            pass
    assert out.getvalue() == ""
    assert shows[0].startswith("0% after 0 s")
    assert shows[-1] == "100% after 9 min 55 s, about 0 s left; last step: metric deletion"
    # the first; three for each batch of 8, as loading is over in 0.08 s; two for the last one
    assert len(shows) == 1 + 3 * 3 + 2


def test_durations():
    assert [duration(s) for s in (4.4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]
