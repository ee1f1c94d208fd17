"""The sub-commands of the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igbench.cli.printing import say, standard_output
from igbench.cli.status import OK, WRONG
from igbench.config import compose, folders
from igbench.errors import InputError, printable, typed_line

if TYPE_CHECKING:
    from igbench.report.table import TableOptions

MARKDOWN = "--markdown"

Markdown = Annotated[bool, typer.Option(MARKDOWN, help="print Markdown, on a terminal too")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("init")
def init_(
    name: Annotated[str, typer.Argument(help="of the folder, and of what is in it")],
) -> int:
    """Write a folder with a model and data of your own, which runs at once."""
    from igbench.cli import init

    folder = init.write(name, Path.cwd())
    console = standard_output()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        say(console, str(path.relative_to(Path.cwd())))
    say(console, f"Run it with: igbench --config-dir {name}/conf experiment={name}")
    return OK


@app.command("plan")
def plan_(
    words: Annotated[list[str] | None, typer.Argument(help="key=value, as for a run")] = None,
    markdown: Markdown = False,
) -> int:
    """Show what a run would do and cost, and what of it is done already; runs nothing."""
    from igbench.cli import plan
    from igbench.core import memory
    from igbench.run import runner

    memory.keep_freed()
    plan.show(standard_output(), runner.job(compose.compose(words or [])), markdown=markdown)
    return OK


@app.command("list")
def list_(
    group: Annotated[str, typer.Argument(help="experiments, methods, metrics, ...")] = "",
    markdown: Markdown = False,
) -> int:
    """List what exists: methods by kind, metrics by family with the question that each asks."""
    from igbench.cli import listing

    listing.show(standard_output(), group, markdown=markdown)
    return OK


@app.command("report")
def report_(
    runs: Annotated[
        list[str],
        typer.Argument(help="run folders, or names of experiments: the newest run of each model"),
    ],
    format_: Annotated[
        str, typer.Option("--format", help="some of html,latex,markdown,csv; all if none")
    ] = "",
    metrics: Annotated[
        str, typer.Option(help="names with commas between; all with a direction if none")
    ] = "",
    methods: Annotated[str, typer.Option(help="names with commas between; all if none")] = "",
    out: Annotated[
        Path | None, typer.Option(help="folder; by default results_dir/reports/EXPERIMENTS")
    ] = None,
    ranks: Annotated[
        bool, typer.Option("--ranks", help="mean ranks in the table of one run")
    ] = False,
    shares: Annotated[
        bool, typer.Option("--shares", help="shares of the way from floor to ceiling there")
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="PDF of every figure too, and figures of one column")
    ] = False,
    results_dir: Path = Path("results"),
) -> int:
    """Make tables, plots and HTML from records alone.

    One run, without a choice, is drawn again in its own folder.  Several runs, of any models and
    data, or any choice, go into a folder of their own: a table and a figure for each metric.
    """
    from igbench.records import store
    from igbench.report.table import TableOptions

    if len(runs) == 1 and out is None and not (format_ or metrics or methods):
        folder = store.resolve(runs[0], results_dir)
        options = TableOptions(ranks=ranks, shares=shares)
        sys.stdout.write(f"{printable(str(_drawn(folder, options, paper=paper)))}\n")
        return OK
    if ranks or shares or paper:
        raise InputError(
            "--ranks, --shares and --paper are for one run that is drawn again in its own folder; "
            "leave out --format, --metrics, --methods, --out and further runs."
        )
    from igbench.cli import reports

    choice = reports.choice(format_, metrics, methods)
    for path in reports.write(runs, results_dir, out, choice):
        sys.stdout.write(f"{printable(str(path))}\n")
    return OK


def _drawn(folder: Path, options: TableOptions, *, paper: bool) -> Path:
    """The report of a run; what cannot be drawn of numbers that can be read is one line too."""
    from igbench import report
    from igbench.records import store
    from igbench.run import lock

    records = store.read(folder)
    try:
        with lock.held(folder, "the report of this run"):
            return report.write_report(records, options, paper=paper)
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"the report of {folder} cannot be drawn ({typed_line(error)}); the records themselves "
            "are in order."
        ) from error


@app.command("table")
def table_(
    runs: Annotated[
        list[str],
        typer.Argument(help="run folders, or names of experiments: the newest run of each model"),
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="of the runs; all with a direction if none")
    ] = None,
    results_dir: Path = Path("results"),
    markdown: Markdown = False,
) -> int:
    """Put runs of several models side by side: methods x models, one table for each metric."""
    from igbench.cli import tables
    from igbench.records import store
    from igbench.report import across

    folders = list(dict.fromkeys(f for name in runs for f in store.by_model(name, results_dir)))
    read = [(store.read_run(f), store.read_summary(f)) for f in folders]
    console = standard_output()
    for table in across.tables(read, metric or ()):
        tables.show(console, table, markdown=markdown or not console.is_terminal)
        console.file.write("\n")
    return OK


@app.command("compare")
def compare_(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="BASE NEW: run folders, experiments (the newest run), or BASE a baseline; "
            "NEW alone: against its baseline, or the run before, and the best before"
        ),
    ],
    across: Annotated[
        list[str] | None,
        typer.Option(help="what may differ: captum, torch, igbench, libraries, model, device, all"),
    ] = None,
    fail_on: Annotated[str, typer.Option(help="regression, any-change or never")] = "regression",
    accept: Annotated[
        list[str] | None, typer.Option(help="METHOD/METRIC whose change is accepted from now on")
    ] = None,
    reason: Annotated[str, typer.Option(help="why, for --accept")] = "",
    accepted: Annotated[
        Path | None, typer.Option(help="file of what is accepted; BASE.accepted.yaml if none")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="text, markdown, json or junit")] = "",
    out: Annotated[Path | None, typer.Option(help="file for it; text is printed")] = None,
    html: Annotated[
        Path | None, typer.Option(help="file for a page with plots and the maps that moved")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="samples of each method whose maps it draws; 12 if none")
    ] = None,
    baselines_dir: Path = Path("baselines"),
    results_dir: Path = Path("results"),
    markdown: Markdown = False,
) -> int:
    """Compare two runs: a paired verdict for each model, method and metric.

    Exit status: 0 no regression, 1 regression, 2 a wrong name or not comparable, 3 incomplete.
    """
    from igbench.cli import compare

    request = compare.Request(
        runs, across or (), fail_on, accept or (), reason, accepted,
        format_ or "markdown" * markdown, out, baselines_dir, results_dir, html, top,
    )  # fmt: skip
    return compare.run(standard_output(), request)


baseline = typer.Typer(no_args_is_help=True)
app.add_typer(baseline, name="baseline", help="Keep runs as small references to compare with.")

Baselines = Annotated[Path, typer.Option("--baselines-dir", help="folder of all baselines")]
Format = Annotated[str, typer.Option("--format", help="text, markdown, csv or json")]


@baseline.command("set")
def baseline_set_(
    run: Annotated[str, typer.Argument(help="run folder, or name of an experiment")],
    name: Annotated[str, typer.Option(help="of the baseline; by default the experiment's")] = "",
    force: Annotated[bool, typer.Option("--force", help="replace one of this name")] = False,
    baselines_dir: Baselines = Path("baselines"),
    results_dir: Path = Path("results"),
) -> int:
    """Keep a run as a baseline: its scores and counts, small enough to be committed."""
    from igbench.cli import runs

    return runs.set_baseline(
        standard_output(), run, results_dir, baselines_dir, name=name, force=force
    )


@baseline.command("list")
def baseline_list_(format_: Format = "text", baselines_dir: Baselines = Path("baselines")) -> int:
    """List the baselines."""
    from igbench.cli import runs

    return runs.list_baselines(standard_output(), baselines_dir, format_)


@baseline.command("remove")
def baseline_remove_(name: str, baselines_dir: Baselines = Path("baselines")) -> int:
    """Delete a baseline."""
    from igbench.records import baselines

    sys.stdout.write(f"removed {printable(str(baselines.remove(name, baselines_dir)))}\n")
    return OK


@app.command("runs")
def runs_(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="name of an experiment, all if none; or: delete RUN [RUN ...]"),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="field=value or field!=value, as in captum=0.9.*")
    ] = None,
    since: Annotated[str, typer.Option(help="oldest date, as in 2026-11-01")] = "",
    state: Annotated[str, typer.Option(help="finished or failures")] = "",
    sort: Annotated[str, typer.Option(help="name of a column")] = "created",
    format_: Format = "text",
    yes: Annotated[bool, typer.Option("--yes", help="delete what is named")] = False,
    results_dir: Path = Path("results"),
) -> int:
    """List runs, or delete some: only says what it would delete unless --yes is given."""
    from igbench.cli import runs

    words = words or []
    if words[:1] == [runs.DELETE]:
        return runs.delete(standard_output(), words[1:], results_dir, yes=yes)
    if yes or len(words) > 1:
        raise InputError("igbench runs takes one name; to delete: igbench runs delete RUN --yes.")
    return runs.show(
        standard_output(), "".join(words), results_dir, where=where or (), since=since,
        state=state, sort=sort, format_=format_,
    )  # fmt: skip


@app.command("history")
def history_(
    experiment: Annotated[str, typer.Argument(help="name of an experiment, or a folder of runs")],
    metric: Annotated[list[str] | None, typer.Option(help="of the runs; all but costs")] = None,
    methods: Annotated[str, typer.Option(help="names with commas between; all if none")] = "",
    label: Annotated[
        str, typer.Option(help="what names a release: captum, git, identity.device, ...")
    ] = "",
    last: Annotated[int, typer.Option(help="releases that are shown, 0 for all")] = 10,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="on every release shown, not the newest alone")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="draw a PNG, PDF or SVG file")] = None,
    format_: Format = "text",
    baselines_dir: Baselines = Path("baselines"),
    results_dir: Path = Path("results"),
) -> int:
    """Show the trend of an experiment over its runs and releases, and what changed when."""
    from igbench.cli import history
    from igbench.records import steps

    found = history.read(
        experiment, results_dir, baselines_dir, metrics=metric or (), methods=methods,
        label=label, last=last,
    )  # fmt: skip
    judged = steps.steps(found, every=verdicts)
    history.show(standard_output(), found, judged, format_=format_, plot=plot)
    return OK


@app.command("releases")
def releases_(
    words: Annotated[list[str] | None, typer.Argument(help="key=value, as for a run")] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help='versions of one environment: "captum==0.9.0 torch==2.4.1"'),
    ] = None,
    python: Annotated[str, typer.Option(help="version or path; by default this one")] = "",
    index: Annotated[
        list[str] | None, typer.Option(help="address of a further package index")
    ] = None,
    find_links: Annotated[list[str] | None, typer.Option(help="folder or page of wheels")] = None,
    installer: Annotated[str, typer.Option(help="uv or pip; uv where it is installed")] = "",
    fail_on: Annotated[str, typer.Option(help="regression, any-change or never")] = "regression",
    show_runs: Annotated[
        bool, typer.Option("--show-runs", help="print what the runs print")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="draw the means over the versions: .png, .pdf or .svg")
    ] = None,
    markdown: Markdown = False,
) -> int:
    """Run an experiment with several releases of packages, and compare each with the next.

    Exit status: 0 same or better, 1 regression, 2 something is wrong or not comparable, 3
    incomplete.
    """
    from igbench.cli import environments, releases

    options = environments.Options(
        environments.home(), python, tuple(index or ()), tuple(find_links or ()), installer
    )
    return releases.releases(
        standard_output(),
        words or [],
        with_ or [],
        options,
        fail_on=fail_on,  # type: ignore[arg-type]
        show_runs=show_runs,
        markdown=markdown,
        plot=plot,
    )


@app.command("power")
def power_(
    run: Annotated[str, typer.Argument(help="run folder, or name of an experiment")],
    metric: Annotated[str, typer.Option(help="of the run")],
    difference: Annotated[float, typer.Option(help="of means, in the unit of the metric")],
    power: Annotated[float, typer.Option(help="probability with which it is to be seen")] = 0.9,
    method: Annotated[
        str, typer.Option(help="pairs with this method; ig if none is given and it is there")
    ] = "",
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="every pair of methods")] = False,
    results_dir: Path = Path("results"),
    markdown: Markdown = False,
) -> int:
    """Show how many samples a difference of means needs, and which one those of a run show."""
    from igbench.cli import power as command
    from igbench.files import refuse_links
    from igbench.records import store

    folder = store.resolve(run, results_dir)
    refuse_links(folder)
    asked = command.Question(metric, difference, power, method, all_pairs)
    found, scores = store.read_run(folder), store.scores(folder)
    command.show(standard_output(), found, scores, asked, markdown=markdown)
    return OK


@app.command("verify")
def verify_(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="run folders, finished or stopped; folders of runs or names of experiments: all "
            "runs in them"
        ),
    ],
    results_dir: Path = Path("results"),
) -> int:
    """Verify that the files of runs are, to the last bit, those that were written.

    Exit status: 0 they are, 2 one is damaged, missing or strange, 3 written without hashes.
    """
    from igbench.cli import verify

    return verify.show(standard_output(), runs, results_dir)


@app.command("slurm")
def slurm_(
    words: Annotated[
        list[str] | None, typer.Argument(help="key=value, as for a run, and slurm.key=value")
    ] = None,
) -> int:
    """Print a script for sbatch that runs an experiment on a cluster; runs nothing."""
    from igbench.cli import slurm

    sys.stdout.write(slurm.script(words or []))
    return OK


@app.command("tcav")
def tcav_(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="experiment=NAME concept=DIR [concept=DIR ...] [random=DIR] [layer=NAME] "
            "[target=CLASS|prediction] [sets=30] [positions=mean|all] [limit=N] [seed=0] ..."
        ),
    ] = None,
    markdown: Markdown = False,
) -> int:
    """Test whether concepts, folders of pictures, move the output of classes (TCAV)."""
    from igbench.cli import tcav

    tcav.run(standard_output(), tcav.request(words or []), markdown=markdown)
    return OK


@app.command("doctor")
def doctor_() -> int:
    """Report what is installed, the device, and the weights that are available."""
    from igbench.cli import doctor

    sys.stdout.write(printable(doctor.text(), keep="\n") + "\n")
    return OK


@app.command("certify")
def certify_(
    metrics: Annotated[
        list[str] | None, typer.Argument(help="names of metrics; all if none")
    ] = None,
    markdown: Markdown = False,
) -> int:
    """Check metrics on models whose answer is known, and on one with planted contributions."""
    from igbench import certify
    from igbench.cli import tables
    from igbench.report import certificates as report

    found, ordering = certify.certify(metrics), certify.ordering_tests(metrics)
    console = standard_output()
    if console.is_terminal and not markdown:
        names = metrics or folders.packaged("metric")
        for table in report.record_tables(certify.as_record(names, found, ordering)):
            tables.show(console, table)
    else:
        console.file.write(f"{certify.table(found)}\n\n{certify.ordering_table(ordering)}\n")
    right = all(c.ok for c in found) and all(one.ok for one in ordering)
    return OK if right else WRONG
