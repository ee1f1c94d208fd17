"""`igbench compare`: which runs, what is accepted, and where the verdict goes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pandas as pd
from rich.console import Console

from igbench.cli import changes
from igbench.errors import InputError, check_choice, printable
from igbench.files import write_whole
from igbench.records import baselines, steps, store
from igbench.records import compare as gate
from igbench.records.compare import acceptance
from igbench.schema import Point, Records

if TYPE_CHECKING:
    from igbench.records.compare import Acceptance, Comparison

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        names: Base and new run; or one, whose base is found.
        across: What may differ.
        fail_on: What fails.
        accept: Patterns of cells whose change is accepted from now on.
        reason: Why.
        accepted: File of acceptances; beside the base if None.
        format: Of the output; "" for a table on a terminal and text elsewhere.
        out: File for it, in place of standard output, where the text goes then.
        baselines_dir: Folder of all baselines.
        results_dir: Folder of all experiments.
        html: File for a page; None for none.
        top: Samples of each method whose maps the page draws; None for the default.
    """

    names: Sequence[str]
    across: Sequence[str] = ()
    fail_on: str = "regression"
    accept: Sequence[str] = ()
    reason: str = ""
    accepted: Path | None = None
    format: str = ""
    out: Path | None = None
    baselines_dir: Path = Path("baselines")
    results_dir: Path = Path("results")
    html: Path | None = None
    top: int | None = None


def run(console: Console, request: Request) -> int:
    """Compare, write, print, and return the exit status.

    Raises:
        InputError: A name, an option or a file is wrong.
    """
    _check(request)
    changes.check(request.html, request.top)
    base, new, earlier = runs(request)
    path = request.accepted or acceptance.beside(base)
    before = acceptance.read(path)
    old, now = store.read(base), store.read(new)
    found = gate.compare(
        old,
        now,
        across=request.across,
        fail_on=request.fail_on,  # type: ignore[arg-type]
        accept=dict.fromkeys(request.accept, request.reason),
        acceptances=before,
        history=_history(steps.may_be_best(earlier, new)),
        chosen_from=len(earlier),
    )
    if request.accept:
        acceptance.write(path, [*before, *_accepted(request, found)])
    _show(console, request, found)
    changes.write(old, now, found, request.html, request.top)
    if request.accept:
        console.file.write(f"accepted: {printable(str(path))}\n")
    return found.exit_code


def runs(request: Request) -> tuple[Path, Path, list[Path]]:
    """The folders of the base run, the new run, and the earlier runs of the same experiment.

    One name is that of a run or an experiment, for its newest run: the base is the baseline of that
    name or of the experiment, or the run before it, and all runs before it are earlier ones.  The
    first of two may be the name of a baseline.

    Raises:
        InputError: A name matches nothing, or there is nothing to compare with.
    """
    results, known = request.results_dir, baselines.names(request.baselines_dir)
    if len(request.names) == 2:
        first, second = request.names
        if first in known and not (Path(first) / store.RUN_FILE).is_file():
            base = baselines.find(first, request.baselines_dir)
            return base, store.resolve(second, results), []
        return *store.resolve_two(first, second, results), []
    (name,) = request.names
    new = store.resolve(name, results)
    before = store.runs(new.parent)
    places = [i for i, folder in enumerate(before) if folder.samefile(new)]
    before = before[: places[0]] if places else []
    names = [n for n in (name, store.read_run(new).experiment) if n in known]
    if names:
        return baselines.find(names[0], request.baselines_dir), new, before
    if not before:
        raise InputError(
            f"{new} has no baseline in {request.baselines_dir} and no run before it; name two runs "
            f"(igbench compare BASE NEW), or keep one: igbench baseline set RUN."
        )
    return before[-1], new, before[:-1]


def _check(request: Request) -> None:
    if len(request.names) not in (1, 2):
        raise InputError("igbench compare takes a new run, or a base run and a new run.")
    check_choice("--fail-on", request.fail_on, get_args(gate.FailOn))
    if request.format:
        check_choice("--format", request.format, [*gate.FORMATS])
    if bool(request.accept) != bool(request.reason.strip()):
        raise InputError("--accept PATTERN and --reason TEXT go together; give both.")


def _accepted(request: Request, found: Comparison) -> list[Acceptance]:
    """The entries of what is accepted from now on."""
    if found.incomparable:
        raise InputError(
            f"nothing can be accepted of runs that are not comparable: {found.incomparable[0]}"
        )
    accept = dict.fromkeys(request.accept, request.reason)
    return acceptance.entries_of(found.changes, accept, base=found.base, new=found.new)


def _history(folders: Sequence[Path]) -> list[Records]:
    """The scores of earlier runs; damaged ones are left out with a warning."""
    found = []
    for folder in folders:
        try:
            run, scores = store.read_run(folder), store.scores(folder)
        except InputError as error:
            log.warning("an earlier run is left out: %s", error)
            continue
        found.append(Records(run, scores, pd.DataFrame(columns=list(Point._fields)), str(folder)))
    return found


def _show(console: Console, request: Request, found: Comparison) -> None:
    """Print the comparison, or write it to a file and print its text."""
    if request.out is not None:
        text = gate.FORMATS[request.format or "text"](found)
        try:
            write_whole(request.out, text.encode())
        except OSError as error:
            raise InputError(f"cannot write {request.out}: {error.strerror}.") from error
    chosen = "" if request.out is not None else request.format
    if console.is_terminal and not chosen:
        from igbench.cli import tables  # which imports matplotlib

        tables.show_comparison(console, found)
    else:
        console.file.write(gate.FORMATS[chosen or "text"](found))
