"""Run an experiment with several releases of packages, and compare each with the next."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

from rich.console import Console

from igbench.cli import environments, history, printing, requirements, tables
from igbench.cli.environments import Environment, Execute, Options
from igbench.cli.requirements import Versions
from igbench.config import compose, folders
from igbench.errors import InputError, check_choice, printable
from igbench.records import compare, store
from igbench.records import history as trends
from igbench.report.table import Cell, Table
from igbench.schema import Change, Records

FINISHED = (0, 3)
"""Exit statuses of a run that wrote its records: all cells, or some failed."""

SETTLED = frozenset({"identical", "close", "equivalent", "unjudged"})
"""Verdicts on cells that did not change, or are not judged, as times."""

_GRAVEST = (1, compare.NOT_COMPARABLE, 3, 0)
"""Exit statuses of comparisons, the one that decides first."""

_REPORT = re.compile(r"^Finished .*Report: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """A run with some versions.

    Attributes:
        environment: Where it ran.
        records: What it gave.
    """

    environment: Environment
    records: Records

    @property
    def title(self) -> str:
        """The versions that were asked for."""
        return str(self.environment.asked)


def releases(
    console: Console,
    words: Sequence[str],
    sets: Sequence[str],
    options: Options,
    *,
    fail_on: compare.FailOn = "regression",
    show_runs: bool = False,
    markdown: bool = False,
    plot: Path | None = None,
    run: Execute = environments.execute,
) -> int:
    """Run an experiment in an environment for each set of versions, and compare neighbours.

    Args:
        console: Where to print.
        words: key=value, as for a run.
        sets: Versions of each environment, as they are typed.
        options: How environments are made.
        fail_on: As for `igbench.records.compare.compare`.
        show_runs: Print what the runs print.
        markdown: Print Markdown, on a terminal too.
        plot: Where the means over the versions are drawn; nowhere by default.
        run: Runs the commands.

    Returns:
        The exit status: 1 if a comparison found a regression, else 2 if runs are not comparable,
        else 3 if one is incomplete, else 0.

    Raises:
        InputError: A word or a set is wrong, something cannot be installed, or a run fails.
    """
    check_choice("fail_on", fail_on, get_args(compare.FailOn))
    if plot is not None:
        history.check_suffix(plot)
    asked = _asked(sets)
    config = compose.compose(words)
    store.writable(options.home)
    store.writable(Path(config["results_dir"]))
    ready = _build(console, asked, options, run)
    done = _run_all(console, ready, words, show_runs, run)
    found = [_compare(base, new, fail_on) for base, new in pairwise(done)]
    console.line()
    tables.show(console, changed_table(done, found), markdown=markdown)
    console.line()
    for comparison, (base, new) in zip(found, pairwise(done), strict=True):
        for line in verdict_lines(comparison, base, new):
            printing.say(console, line)
    if plot is not None:
        history.draw(trends.of_folders([Path(one.records.folder) for one in done]), plot)
        printing.say(console, f"figure: {plot}")
    codes = {comparison.exit_code for comparison in found}
    return next(code for code in _GRAVEST if code in codes)


def _asked(sets: Sequence[str]) -> list[Versions]:
    """The sets, at least two and all different."""
    asked = [requirements.parse(text) for text in sets]
    twice = [str(one) for i, one in enumerate(asked) if one in asked[:i]]
    if twice:
        raise InputError(f"--with {twice[0]} is there twice; name each set of versions once.")
    if len(asked) < 2:
        raise InputError(
            "releases need two sets of versions or more, from the oldest to the newest: "
            "--with captum==0.7.0 --with captum==0.9.0."
        )
    return asked


def _build(
    console: Console, asked: Sequence[Versions], options: Options, run: Execute
) -> list[Environment]:
    """All environments, before anything runs; the first decides the versions of all the rest."""
    required, named = requirements.own(), {name for one in asked for name in one.names}
    ready: list[Environment] = []
    wished: tuple[str, ...] = ()
    for one in asked:
        clock = time.perf_counter()
        made = environments.build(one, options, wished, run)
        how = "there already" if made.reused else f"built in {time.perf_counter() - clock:.0f} s"
        printing.say(console, f"{one}: environment {how} ({made.folder})")
        for text in made.unmet:
            printing.say(console, f"{one}: installed all the same: {text}")
        wished = wished or requirements.constraints_from(required, made.installed, named)
        ready.append(made)
    return ready


def _run_all(
    console: Console, ready: Sequence[Environment], words: Sequence[str], shown: bool, run: Execute
) -> list[Release]:
    """The runs, all with the rows in a call of the first, as these change the last digits."""
    done: list[Release] = []
    words = [*folders.options(), *words]
    for environment in ready:
        clock = time.perf_counter()
        folder = _run(console, environment, words, shown, run)
        records = store.read(folder)
        _check(environment, records)
        if not done and not any(word.startswith("batch_size=") for word in words):
            rows = records.run.identity.get("batch_size")
            words = [*words, *([f"batch_size={rows}"] if rows else [])]
        seconds = time.perf_counter() - clock
        printing.say(console, f"{environment.asked}: run in {seconds:.0f} s ({folder})")
        done.append(Release(environment, records))
    return done


def _run(
    console: Console, environment: Environment, words: Sequence[str], shown: bool, run: Execute
) -> Path:
    """Run the experiment in an environment; the folder of the run."""
    command = [str(environment.python), "-m", "igbench", *words]
    done = run(command, environment.variables())
    if shown:
        console.file.write(printable(done.stdout, keep="\n"))
    report = _REPORT.search(done.stdout)
    if done.returncode not in FINISHED or report is None:
        raise InputError(f"the run with {environment.asked} failed: {_last(done)}")
    return Path(report[1]).parent


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1].removeprefix("igbench: ") if lines else f"exit status {done.returncode}."


def _check(environment: Environment, records: Records) -> None:
    """Raise unless the record of a run has the versions that were asked for."""
    wrong = environment.asked.missed(records.run.identity["versions"])
    if wrong:
        raise InputError(
            f"the run with {environment.asked} had {', '.join(wrong)}: {records.folder}; another "
            "package of this name comes first on the path of Python."
        )


def _compare(base: Release, new: Release, fail_on: compare.FailOn) -> compare.Comparison:
    """The verdict on neighbours.  Packages that followed the named ones are printed beside it."""
    named = {*base.environment.asked.names, *new.environment.asked.names}
    old, now = (one.records.run.identity["versions"] for one in (base, new))
    followed = {name for name in old if old[name] != now.get(name) and name != requirements.IGBENCH}
    across = sorted((named | followed) & {*old, *now})
    return compare.compare(base.records, new.records, across=across, fail_on=fail_on)


def changed_table(done: Sequence[Release], found: Sequence[compare.Comparison]) -> Table:
    """The table of cells that changed between any neighbours: means for each set of versions.

    Args:
        done: The runs, from the oldest to the newest.
        found: The comparison of each with the next.
    """
    by_name = [{_name(change): change for change in one.changes} for one in found]
    names = dict.fromkeys(name for changes in by_name for name in changes)
    kept = [n for n in names if any(_shown(changes.get(n)) for changes in by_name)]
    several = len({name[0] for name in names}) > 1
    cells = [_cells([changes.get(name) for changes in by_name]) for name in kept]
    total, hidden = len(names), len(names) - len(kept)
    note = f"{len(kept)} of {total} cells changed between neighbours; {hidden} did not."
    return Table(
        name="releases",
        caption="Means of the cells that changed, by version, with the verdict on each change.",
        columns=("Cell", *(one.title for one in done)),
        rows=tuple("/".join(name if several else name[1:]) for name in kept),
        cells=tuple(cells),
        footnotes={"": note},
        numeric=False,
    )


def _shown(change: Change | None) -> bool:
    return change is not None and change.verdict not in SETTLED


def _cells(changes: Sequence[Change | None]) -> tuple[Cell, ...]:
    """The mean in the first run, and that in each further one with its verdict."""
    first = changes[0]
    found = [Cell(_number(first.base) if first else "–")]
    for change in changes:
        if change is None:
            found.append(Cell("–"))
        elif change.verdict in SETTLED:
            found.append(Cell(_number(change.new)))
        else:
            found.append(Cell(_number(change.new), note=change.verdict))
    return tuple(found)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4g}"


def _name(change: Change) -> tuple[str, str, str]:
    return change.model, change.method, change.metric


def verdict_lines(comparison: compare.Comparison, base: Release, new: Release) -> list[str]:
    """The verdict on two neighbours: what differs, counts of cells, and what else is not equal.

    Args:
        comparison: Of the two.
        base: The older one.
        new: The newer one.
    """
    lines = [f"{base.title} -> {new.title}: {compare.headline(comparison)}"]
    lines += [f"  not comparable: {text}" for text in comparison.incomparable]
    old, now = base.environment.installed, new.environment.installed
    named = {*base.environment.asked.names, *new.environment.asked.names}
    besides = [
        f"{name} {old.get(name, '(absent)')} -> {now.get(name, '(absent)')}"
        for name in sorted({*old, *now} - named)
        if old.get(name) != now.get(name)
    ]
    lines += [f"  differs besides: {', '.join(besides)}"] if besides else []
    two = f"{base.records.folder} {new.records.folder}"
    across = f" --across {','.join(comparison.across)}" if comparison.across else ""
    return [*lines, f"  in detail: igbench compare {two}{across}"]
