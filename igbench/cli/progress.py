"""How far is it, and how long will it take?  A bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

INTERVAL = 60.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to be called after each of `total` pieces of work with its name."""
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        ) as bar:
            task = bar.add_task("start", total=total)
            yield lambda text: bar.update(task, advance=1, description=text[:24])
    else:
        yield _lines(console, total, time.monotonic)


def _lines(console: Console, total: int, clock: Callable[[], float]) -> Callable[[str], None]:
    """A line with the share done and the time left, at most once a minute."""
    start = last = clock()
    done = 0

    def advance(text: str) -> None:
        nonlocal last, done
        done += 1
        now = clock()
        if now - last >= INTERVAL or done == total:
            last = now
            left = (now - start) / done * (total - done)
            console.print(
                f"{done}/{total} ({done / total:.0%}) after {duration(now - start)}, "
                f"about {duration(left)} left; last: {text}",
                highlight=False,
            )

    return advance


def duration(seconds: float) -> str:
    """Seconds in words: "48 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
