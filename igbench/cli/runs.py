"""List the runs in a folder of results, and delete some of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from igbench.cli import formats, printing
from igbench.errors import InputError, check_choice, printable
from igbench.records import baselines, integrity, listing, owned, store

DELETE = "delete"
GOOD, REFUSED = 0, 2
"""Exit statuses: all is as asked; something was left as it is."""


def show(
    console: Console,
    name: str,
    results_dir: Path,
    *,
    where: Sequence[str] = (),
    since: str = "",
    state: str = "",
    sort: str = "created",
    format_: str = "text",
) -> int:
    """Print a line for each run.

    Args:
        console: Where to.
        name: Of an experiment, or a folder of runs; "" for all experiments.
        results_dir: The folder of all experiments.
        where: Filters, see `igbench.records.listing.chosen`.
        since: Oldest date.
        state: "finished" or "failures".
        sort: Column by which they are sorted, smallest first.
        format_: One of `igbench.cli.formats.FORMATS`.

    Raises:
        InputError: There are no runs, or a filter cannot be read.
    """
    check_choice("--format", format_, formats.FORMATS)
    check_choice("--sort", sort, listing.COLUMNS)
    found = list(listing.read(listing.places(name, results_dir)))
    rows = [run.values() for run in listing.chosen(found, where, since, state)]
    rows.sort(key=lambda row: row[sort])
    formats.show(console, rows, listing.COLUMNS, format_, shorter=shorter)
    if format_ == "text" and len(rows) < len(found):
        printing.say(console, f"{len(rows)} of {len(found)} runs")
    return GOOD


def shorter(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with the number of methods, a short revision and a size that reads well."""
    revision, mark, _ = row["git"].partition("+")
    return {
        **row,
        "methods": len(row["methods"]),
        "git": revision[:10] + mark,
        "bytes": formats.size(row["bytes"]),
    }


def delete(console: Console, names: Sequence[str], results_dir: Path, *, yes: bool) -> int:
    """Delete runs, or say what would be deleted.

    Args:
        console: Where to print.
        names: Folders or identifiers of runs; a name of an experiment is none.
        results_dir: The folder of all experiments.
        yes: Delete; otherwise nothing is touched.

    Returns:
        2 where one was left as it is, because it is damaged or not ours.
    """
    if not names:
        raise InputError("name the runs to delete by their folders or identifiers.")
    refused, count = False, 0
    for name in names:
        try:
            folder = _checked(name, results_dir)
            text = f"{folder} ({formats.size(listing.look(folder).size)})"
            if yes:
                _delete(folder)
            count += 1
            printing.say(console, f"{'deleted' if yes else 'would delete'} {text}")
        except InputError as error:
            refused = True
            sys.stderr.write(f"igbench: skipped {printable(name)}: {printable(str(error))}\n")
    if count and not yes:
        printing.say(console, "Nothing was deleted; add --yes.")
    return REFUSED if refused else GOOD


def _checked(name: str, results_dir: Path) -> Path:
    """The folder of a run that may be deleted.

    Raises:
        InputError: It is no run, damaged, a baseline, or holds what igbench did not write.
    """
    folder = store.resolve(name, results_dir)
    if Path(name) != folder and folder.name != name:
        raise InputError(
            "it is no run but an experiment or a folder; name runs by folder or identifier."
        )
    run = listing.look(folder)
    if run.name:
        raise InputError(f"it is a baseline; igbench baseline remove {run.name}.")
    if run.record["id"] != folder.resolve().name:
        raise InputError(f"it is the folder of another run, by its record {run.record['id']}.")
    files = integrity.open_run(folder)
    if files.hashes is not None:
        files.check()
    others = owned.strangers(folder)
    if others:
        raise InputError(f"it holds {others[0]}, which igbench did not write; move it away first.")
    return folder


def _delete(folder: Path) -> None:
    from igbench.run import lock

    with lock.held(folder, "this run"):
        owned.delete(folder)


def set_baseline(
    console: Console,
    run: str,
    results_dir: Path,
    root: Path,
    *,
    name: str = "",
    force: bool = False,
) -> int:
    """Keep a run as a baseline, and say what was left out.

    Args:
        console: Where to print.
        run: Run folder, identifier, or name of an experiment for its newest run.
        results_dir: The folder of all experiments.
        root: The folder of all baselines.
        name: Of the baseline; that of the experiment if there is none.
        force: Replace a baseline of this name.
    """
    folder = store.resolve(run, results_dir)
    own = name or listing.look(folder).record["experiment"]
    place = baselines.set_baseline(folder, own, root, replace=force)
    made = listing.look(place)
    printing.say(console, f"{place}: {formats.size(made.size)}, of {folder}")
    for text in made.record["environment"][baselines.NOTE]["left_out"]:
        printing.say(console, f"left out: {text}")
    return GOOD


def list_baselines(console: Console, root: Path, format_: str) -> int:
    """Print a line for each baseline."""
    check_choice("--format", format_, formats.FORMATS)
    found = listing.read(Path(root) / name for name in baselines.names(root))
    rows = [{"name": run.folder.name, **run.values()} for run in found]
    if not rows and format_ == "text":
        printing.say(console, f"{root} holds no baselines; igbench baseline set RUN --name NAME.")
        return GOOD
    formats.show(console, rows, ("name", *listing.COLUMNS), format_, shorter=shorter)
    return GOOD
