"""Progress where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from igbench.cli.progress import _lines, duration, progress


def test_a_line_a_minute_with_the_time_left():
    out, now = io.StringIO(), [0.0]
    advance = _lines(Console(file=out, width=200), 10, lambda: now[0])
    for _ in range(5):
        now[0] += 20
        advance("deletion")
    assert out.getvalue().splitlines() == [
        "3/10 (30%) after 1 min 0 s, about 2 min 20 s left; last: deletion"
    ]


def test_the_last_piece_always_gets_a_line():
    out = io.StringIO()
    with progress(Console(file=out, width=200), 2) as advance:
        advance("a")
        advance("b")
    assert out.getvalue().startswith("2/2 (100%)")


def test_terminal_bar():
    out = io.StringIO()
    with progress(Console(file=out, force_terminal=True, width=120), 3) as advance:
        for _ in range(3):
            advance("saliency")
    assert "3/3" in out.getvalue()


def test_durations():
    assert [duration(s) for s in (4.4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]
