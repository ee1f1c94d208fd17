"""Show the progress of a run: a bar on a terminal, a line in a notebook, one a minute elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from igbench.errors import printable
from igbench.evaluation import cost
from igbench.evaluation.experiment import Advance, Experiment
from igbench.evaluation.forecast import Progress

INTERVAL = 60.0
"""Seconds between lines where there is no terminal."""

REDRAWN = 0.2
"""Seconds between changes of the line below the cell of a notebook."""

WIDTH = 28
"""Characters for the name of the last stage."""


@contextmanager
def show_progress(experiment: Experiment, wanted: bool | None) -> Iterator[Advance]:
    """Show the progress of all samples of an experiment on standard error.

    Args:
        experiment: What is run.
        wanted: Whether to; None: on a terminal and in a notebook.

    Yields:
        To be called after each step with its stage and its number of samples.
    """
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False)
    if not (console.is_terminal or console.is_jupyter if wanted is None else wanted):
        yield lambda stage, samples: None
        return
    work: Counter[str] = Counter()
    for positions in experiment.batches():
        work.update(experiment.progress_steps(positions))
    with shown(console, Progress(work, cost.estimate(experiment).per_sample())) as advance:
        yield advance


@contextmanager
def shown(console: Console, progress: Progress) -> Iterator[Advance]:
    """Show the progress of a run while the context is open.

    Yields:
        To be called after each step with its stage and its number of samples.
    """
    if console.is_jupyter:
        yield _cell(progress)
    elif console.is_terminal:
        with _bar(console, progress) as bar:
            task = bar.add_task("start", total=1.0)

            def advance(stage: str, samples: int) -> None:
                progress.advance(stage, samples)
                bar.update(task, completed=progress.share(), description=_short(stage))

            yield advance
    else:
        yield _lines(console, progress)


def _cell(progress: Progress) -> Advance:
    """A line below the cell of a notebook that is drawn over; it needs no widgets."""
    from IPython.display import display  # whoever has a notebook has it

    def line(stage: str) -> dict[str, str]:
        return {"text/plain": _line(progress, stage)}

    handle = display(line("start"), raw=True, display_id=True)
    drawn = progress.start

    def advance(stage: str, samples: int) -> None:
        nonlocal drawn
        progress.advance(stage, samples)
        if progress.last - drawn >= REDRAWN or progress.finished:
            drawn = progress.last
            handle.update(line(stage), raw=True)

    return advance


def _line(progress: Progress, stage: str) -> str:
    """The share done, the time, and the last step."""
    return (
        f"{progress.share():.0%} after {duration(progress.elapsed)}, about "
        f"{duration(progress.left())} left; last step: {printable(stage)}"
    )


def _bar(console: Console, progress: Progress) -> Bar:
    return Bar(
        TextColumn(f"{{task.description:<{WIDTH}}}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        _Left(progress),
        console=console,
    )


class _Left(ProgressColumn):
    """The time left, counted down between two steps."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        if self.progress.finished:
            return Text("done")
        return Text(f"about {duration(self.progress.left())} left")


def _short(stage: str) -> str:
    text = printable(stage)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _lines(console: Console, progress: Progress) -> Advance:
    """A line with the share done and the time left, at most once a minute, and one at the end."""
    last = progress.start

    def advance(stage: str, samples: int) -> None:
        nonlocal last
        progress.advance(stage, samples)
        if progress.last - last >= INTERVAL or progress.finished:
            last = progress.last
            console.print(Text(_line(progress, stage)))

    return advance


def duration(seconds: float) -> str:
    """Seconds in words: "48 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
