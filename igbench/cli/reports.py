"""Reports of several runs, and of a choice of metrics and methods, into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igbench.errors import InputError

if TYPE_CHECKING:
    from igbench.report.several import Choice

FOLDER = "reports"
"""Folder beside those of the experiments, which holds no runs."""
_LONGEST = 100


def choice(formats: str, metrics: str, methods: str) -> Choice:
    """What the options of the command choose, names with commas between.

    Raises:
        InputError: A format is unknown.
    """
    from igbench.report import several

    return several.Choice(
        several.formats(formats) if formats else several.FORMATS,
        metrics=several.names(metrics),
        methods=several.names(methods),
    )


def write(names: Sequence[str], results_dir: Path, out: Path | None, choice: Choice) -> list[Path]:
    """Write a report of several runs; the newest of each model where a name has several.

    Args:
        names: Run folders, or names of experiments.
        results_dir: The folder of all experiments.
        out: Where to; a folder named after the experiments if None.
        choice: Formats, metrics and methods.

    Returns:
        The paths of what was written.

    Raises:
        InputError: No run matches a name, or what is chosen is unknown.
    """
    from igbench.records import store
    from igbench.report import several

    folders = list(dict.fromkeys(f for name in names for f in store.by_model(name, results_dir)))
    read = [(store.read_run(f), store.read_summary(f)) for f in folders]
    if out is None:
        title = "+".join(dict.fromkeys(run.experiment for run, _ in read))
        if len(title) > _LONGEST:
            raise InputError(f"{len(read)} runs are many for a name; give a folder with --out.")
        out = results_dir / FOLDER / title
    return several.write(read, out, choice)
