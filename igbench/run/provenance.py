"""Record a run besides its rows: configuration, versions, hashes and costs."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from igbench.core import memory
from igbench.core.batch import Metric
from igbench.evaluation.experiment import Experiment, specs
from igbench.records import store
from igbench.run.packages import versions
from igbench.run.parameters import described, parameters
from igbench.schema import MetricSpec, Row, Run


def make_run(
    experiment: Experiment,
    config: Mapping[str, Any],
    rows: Sequence[Row] | pa.Table,
    samples: list[dict[str, Any]],
    stages: dict[str, dict[str, float]],
    *,
    run_id: str,
    created: datetime,
    seconds: float,
    key: str = "",
    executor: Mapping[str, Any] | None = None,
    reuse: Mapping[str, Any] | None = None,
    certificates: Mapping[str, Any] | None = None,
    precision: Mapping[str, Any] | None = None,
) -> Run:
    """Make the record of a finished run.

    Args:
        experiment: The experiment.
        config: The resolved configuration.
        rows: Scores and costs.
        samples: Identifier, label, target, output and status of each sample.
        stages: Model rows and seconds by stage.
        run_id: Identifier.
        created: Start.
        seconds: Wall time.
        key: Hash of everything that decides its rows, see `igbench.run.shards`; "" if unknown.
        executor: The executor, and how many shards were finished before.
        reuse: Keys under which other runs can reuse its rows, see `igbench.run.reuse`.
        certificates: Results of its metrics on models with known answers, see `igbench.certify`.
        precision: Precision of forwards of perturbed inputs, see `igbench.evaluation.precision`.
    """
    methods, metrics = specs(experiment)
    ids = list(experiment.data.sample_ids)
    table = store.table(Row, rows)
    counts = {s: _count(table, s) for s in ("ok", "undefined", "failed")}
    return Run(
        id=run_id,
        experiment=experiment.name,
        created=created.isoformat(timespec="seconds"),
        state="finished with failures" if counts["failed"] else "finished",
        config=dict(config),
        metrics=metrics,
        methods=methods,
        comparability={
            "samples": store.canonical_hash(ids),
            "weights": experiment.model.weights_hash,
            "metric_versions": {
                name: _definition(spec, experiment.metrics.get(name))
                for name, spec in metrics.items()
            },
            "output": experiment.output,
            "target": experiment.target,
            "seed": experiment.seed,
        },
        identity={
            "methods": {name: repr(m) for name, m in experiment.methods.items()},
            "baseline": repr(experiment.baseline),
            "versions": versions(),
            "device": describe_device(experiment.device),
            "dtype": str(experiment.dtype).removeprefix("torch."),
            "precision": experiment.quick.precision,
            "compile": experiment.quick.backend,
            "folded": experiment.folded,
            "batch_size": experiment.batch_size,
            "shard_size": experiment.shard_size,
        },
        environment={
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "identity": key,
            "executor": dict(executor or {}),
            "reuse": dict(reuse or {}),
            "certificates": dict(certificates or {}),
            "precision": dict(precision or {}),
            "parameters": {
                "methods": {name: parameters(m) for name, m in experiment.methods.items()},
                "metrics": {name: parameters(m) for name, m in experiment.metrics.items()},
            },
            "git": git_revision(),
            "model_source": experiment.model.source,
            "data_source": experiment.data.source,
            "data_kind": experiment.data.kind,
        },
        samples=samples,
        totals={
            "seconds": seconds,
            "peak_memory": _peak_memory(experiment, table),
            "rows_in_a_call": _smallest(experiment.batch_size, samples),
            "stages": stages,
            "status": counts,
        },
    )


def _count(rows: pa.Table, status: str) -> int:
    """Number of rows with a status."""
    return int(pc.sum(pc.equal(rows["status"], status)).as_py() or 0)


def _peak_memory(experiment: Experiment, rows: pa.Table) -> float:
    """Peak memory in MiB, of the process and of each method: measuring a method resets the peak."""
    peaks = rows.filter(pc.equal(rows["metric"], "peak_memory"))["value"]
    return max(memory.lifetime_peak(experiment.device), float(pc.max(peaks).as_py() or 0.0))


def _smallest(rows: int, samples: Sequence[Mapping[str, Any]]) -> int:
    """Smallest number of rows in a call; lower than `rows` where memory ran out."""
    return min((sample.get("rows_in_a_call", rows) for sample in samples), default=rows)


def _definition(spec: MetricSpec, metric: Metric | None) -> str:
    """The version of a metric and a hash of its definition and arguments."""
    return f"{spec.version}-{store.canonical_hash([repr(spec), described(metric)])[:12]}"


def describe_device(device: torch.device) -> str:
    """Name of a device, with its hardware."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"


def git_revision() -> str:
    """Git revision of the source, with "+changes" if modified; empty outside a checkout."""
    here = Path(__file__).parent.parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        inside = _git(here, "ls-files", "--error-unmatch", "schema.py")
        return head + ("+changes" if _git(here, "status", "--porcelain") else "") if inside else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(where), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
