"""Run a configuration: say what it will cost, how far it is, and what came out."""

from __future__ import annotations

import gc
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igbench.cli import repeats
from igbench.cli.status import FAILED, OK
from igbench.config import compose, folders

if TYPE_CHECKING:
    from rich.console import Console

    from igbench.evaluation.cost import Estimate
    from igbench.evaluation.experiment import Advance
    from igbench.run.runner import Job, Outcome


def run(overrides: Sequence[str], markdown: bool = False) -> int:
    """Compose, run, write, report."""
    return run_config(compose.compose(overrides), overrides, markdown)


def run_config(config: dict[str, Any], overrides: Sequence[str], markdown: bool = False) -> int:
    """Run one resolved configuration; the exit status says whether cells failed.

    Args:
        config: From `igbench.config.compose`.
        overrides: What it was composed of, for the record.
        markdown: Print the table of scores as Markdown, on a terminal too.
    """
    from igbench.cli import printing
    from igbench.core import memory
    from igbench.evaluation import cost, precision
    from igbench.evaluation.forecast import Progress
    from igbench.records import store
    from igbench.run import runner
    from igbench.run.progress import duration, shown

    memory.keep_freed()
    console = printing.standard_output()
    clock = time.perf_counter()
    store.writable(Path(config["results_dir"]))
    job = runner.job(config)
    gc.freeze()  # what start-up made stays
    gc.enable()

    def watch(work: Mapping[str, int]) -> AbstractContextManager[Advance]:
        estimate = cost.estimate(job.experiment, job.per_row)
        seconds = estimate.seconds_of(work) + cost.report_seconds(job.experiment)
        printing.say(console, _headline(job, estimate, seconds))
        if message := precision.words(job.precision):
            printing.say(console, message)
        return shown(console, Progress(work, cost.prices(job.experiment, estimate)))

    outcome = runner.finish(
        job,
        command=shlex.join(["python", "-m", "igbench", *folders.options(), *overrides]),
        overwrite=bool(config["overwrite"]),
        watch=watch,
    )
    console.line()
    show_scores(console, outcome, markdown)
    console.line()
    took = duration(time.perf_counter() - clock)
    state = "Finished before (overwrite=true runs it again)" if outcome.existing else "Finished"
    printing.say(console, f"{state} in {took}. Report: {outcome.page}")
    frame = store.scores(outcome.folder)
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        columns = failed[["method", "metric", "sample_id", "reason"]]
        for line in repeats.reasons(columns.itertuples(index=False, name=None)):
            printing.say(console, line)
    return FAILED if len(failed) else OK


def show_scores(console: Console, outcome: Outcome, markdown: bool) -> None:
    """The table of scores; Markdown unless there is a terminal."""
    from igbench.cli import tables
    from igbench.files import refuse_links
    from igbench.records import store
    from igbench.report.tables import scores_table

    refuse_links(outcome.folder)
    # From the records, which are verified: nothing would tell that tables/scores.md is damaged.
    run, summary = store.read_run(outcome.folder), store.read_summary(outcome.folder)
    table = scores_table(run, summary)
    tables.show(console, table, markdown=markdown or not console.is_terminal)


def _headline(job: Job, cost: Estimate, seconds: float) -> str:
    from igbench.run import checkpoint
    from igbench.run.progress import duration

    experiment = job.experiment
    found = checkpoint.count(job.shard_dir, job.shards)
    resumed = f"; {found} of {len(job.shards)} shards are done already" if found else ""
    return (
        f"igbench {experiment.name}: {experiment.model.name} ({experiment.model.source}) on "
        f"{experiment.device}; {len(experiment.data)} samples of {experiment.data.name}; "
        f"{len(experiment.methods)} methods ({', '.join(experiment.methods)}); "
        f"{len(experiment.metrics)} metrics ({', '.join(experiment.metrics)}); "
        f"estimated cost {cost.forward:,} forwards and {cost.backward:,} gradients, about "
        f"{duration(seconds)} in all, up to {experiment.batch_size} rows a call"
        f"{resumed}"
    )
