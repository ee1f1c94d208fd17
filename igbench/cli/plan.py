"""What would a run do, and what of it is done already?  In words, before it starts."""

from __future__ import annotations

from igbench.cli.progress import duration
from igbench.evaluation.cost import Estimate, estimate
from igbench.run import checkpoint, reuse
from igbench.run.runner import Job


def text(job: Job) -> str:
    """Cells, shards, model rows by stage, time, and what is on disk; writes nothing."""
    e, cost = job.experiment, estimate(job.experiment)
    samples, methods, metrics = len(e.data), len(e.methods), len(e.metrics)
    lines = [
        f"{e.name}: {e.model.name} on {e.device}, {samples} samples of {e.data.name}",
        f"cells      {samples * methods * metrics:,} = {samples} samples x {methods} methods x "
        f"{metrics} metrics",
        f"shards     {len(job.shards)} of up to {e.batch} samples, up to {e.rows} rows a call",
        "",
        *_stages(cost),
        "",
        f"in all     {cost.forward:,} forwards, {cost.backward:,} of them with a gradient; about "
        f"{duration(cost.seconds)} in the model, the rest comes on top",
        _state(job, cost),
    ]
    return "\n".join(lines)


def _stages(cost: Estimate) -> list[str]:
    """A line for each method and each group of metrics that shares its model work."""
    width = max((len(name) for name in cost.stages), default=5)
    head = f"{'one sample':<{width}}  {'forwards':>9}  {'gradients':>9}  {'seconds':>8}"
    return [
        head,
        *(
            f"{name:<{width}}  {forward:>9,}  {backward:>9,}  {cost.price(forward, backward):>8.2f}"
            for name, (forward, backward) in cost.stages.items()
        ),
    ]


def _state(job: Job, cost: Estimate) -> str:
    finished = job.finished()
    if finished:
        return f"done       finished: {finished} (overwrite=true runs it again)"
    found = checkpoint.count(job.pieces, job.shards)
    ready = () if job.restarted else reuse.available_metrics(job.home, job.shards)
    if ready:
        verb = "is" if len(ready) == 1 else "are"
        return f"done       {', '.join(ready)} {verb} found in finished runs"
    if not found:
        return "done       nothing yet"
    left = cost.seconds * (1 - found / len(job.shards))
    return (
        f"done       {found} of {len(job.shards)} shards; about {duration(left)} in the model "
        f"left (in {job.partial})"
    )
