"""Show what a run would do and cost, and what of it is done already."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from igbench.cli import power, printing, tables
from igbench.errors import InputError, printable
from igbench.evaluation import cost
from igbench.evaluation.cost import Estimate
from igbench.files import refuse_links
from igbench.records import store
from igbench.report import styles
from igbench.report.table import Cell, Table
from igbench.run import checkpoint, reuse
from igbench.run.progress import duration
from igbench.run.runner import Job


def show(console: Console, job: Job, *, markdown: bool = False) -> None:
    """Print cells, shards, model rows and seconds by stage, and what is on disk; writes nothing."""
    estimate = cost.estimate(job.experiment, job.per_row)
    printing.say(console, f"{_size(job)}\n")
    tables.show(console, stages(estimate), markdown=markdown)
    printing.say(console, f"\n{_whole(job, estimate)}{_earlier(job)}")


def _earlier(job: Job) -> str:
    """What an earlier run of the experiment can tell of differences; empty without one."""
    found = store.runs(job.home)
    if not found:
        return ""
    try:
        refuse_links(found[-1])
        run, scores = store.read_run(found[-1]), store.scores(found[-1])
        metric = styles.headline(run)
        text = power.earlier(run, scores, metric) if metric else "no metric has a direction"
    except InputError as error:
        text = f"cannot be read: {error}"
    return f"\nearlier    {printable(text)}"


def _size(job: Job) -> str:
    e = job.experiment
    samples, methods, metrics = len(e.data), len(e.methods), len(e.metrics)
    return (
        f"{e.name}: {printable(e.model.name)} on {e.device}, {samples} samples of "
        f"{printable(e.data.name)}\n"
        f"cells      {samples * methods * metrics:,} = {samples} samples x {methods} methods x "
        f"{metrics} metrics\n"
        f"shards     {len(job.shards)} of up to {e.shard_size} samples, up to {e.batch_size} rows "
        "a call"
    )


def stages(estimate: Estimate) -> Table:
    """A line for each method and each group of metrics that shares its model work."""
    seconds = estimate.per_sample()
    return Table(
        name="plan",
        caption="",
        columns=("one sample", "forwards", "gradients", "seconds"),
        rows=tuple(estimate.stages),
        cells=tuple(
            (Cell(f"{forward:,}"), Cell(f"{backward:,}"), Cell(f"{seconds[stage]:.2f}"))
            for stage, (forward, backward) in estimate.stages.items()
        ),
    )


def _whole(job: Job, estimate: Estimate) -> str:
    return (
        f"in all     {estimate.forward:,} forwards, {estimate.backward:,} of them with a gradient; "
        f"about {duration(estimate.seconds + cost.report_seconds(job.experiment))}, report "
        "included\n"
        f"done       {_state(job, estimate)}"
    )


def _state(job: Job, estimate: Estimate) -> str:
    finished = job.finished()
    if finished:
        return f"finished: {finished} (overwrite=true runs it again)"
    found = checkpoint.count(job.shard_dir, job.shards)
    ready = () if job.restarted else reuse.available_metrics(job.home, job.shards)
    if ready:
        verb = "is" if len(ready) == 1 else "are"
        return f"{', '.join(ready)} {verb} found in finished runs"
    if not found:
        return "nothing yet"
    work: Counter[str] = Counter()
    for shard in checkpoint.incomplete(job.shard_dir, job.shards):
        work.update(shard.progress_steps(job.experiment))
    left = estimate.seconds_of(work) + cost.report_seconds(job.experiment)
    return f"{found} of {len(job.shards)} shards; about {duration(left)} left (in {job.partial})"
