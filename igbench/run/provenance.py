"""What is kept about a run besides its rows: configuration, versions, hashes, cost."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from igbench.core import memory
from igbench.core.batch import Metric
from igbench.evaluation.experiment import Experiment, specs
from igbench.evaluation.results import Found
from igbench.records import store
from igbench.schema import MetricSpec, Run

PACKAGES = (
    "igbench",
    "torch",
    "torchvision",
    "captum",
    "quantus",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "scikit-image",
    "hydra-core",
)


def make_run(
    experiment: Experiment,
    config: Mapping[str, Any],
    results: Found,
    *,
    run_id: str,
    created: datetime,
    seconds: float,
    key: str = "",
    engine: Mapping[str, Any] | None = None,
    reuse: Mapping[str, Any] | None = None,
    certificates: Mapping[str, Any] | None = None,
    precision: Mapping[str, Any] | None = None,
) -> Run:
    """The record of a finished run.

    Args:
        experiment: What was run.
        config: The resolved configuration.
        results: What it found.
        run_id: Identifier.
        created: Start.
        seconds: Wall time.
        key: Hash of everything that decides its rows, see `igbench.run.shards`; "" where none is known.
        engine: Who did the work, and how many shards were done when it began.
        reuse: Keys under which other runs can use its rows, see `igbench.run.reuse`.
        certificates: What its metrics say of models with known answers, see `igbench.certify`.
        precision: How perturbed inputs were evaluated and what it costs, see `igbench.evaluation.precision`.
    """
    methods, metrics = specs(experiment)
    ids = list(experiment.data.sample_ids)
    failed = results.count("failed")
    return Run(
        id=run_id,
        experiment=experiment.name,
        created=created.isoformat(timespec="seconds"),
        state="finished with failures" if failed else "finished",
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
            "rows": experiment.rows,
            "samples_at_once": experiment.batch,
        },
        environment={
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "identity": key,
            "engine": dict(engine or {}),
            "reuse": dict(reuse or {}),
            "certificates": dict(certificates or {}),
            "precision": dict(precision or {}),
            "git": git_revision(),
            "model_source": experiment.model.source,
            "data_source": experiment.data.source,
        },
        samples=results.samples,
        totals={
            "seconds": seconds,
            "peak_memory": _peak_memory(experiment, results),
            "rows_in_a_call": _smallest(experiment.rows, results.samples),
            "stages": results.stages,
            "status": {s: results.count(s) for s in ("ok", "undefined", "failed")},
        },
    )


def _peak_memory(experiment: Experiment, results: Found) -> float:
    """MiB; measuring a method starts the system's own count again, so all counts are looked at."""
    return max(memory.lifetime_peak(experiment.device), results.peak_memory())


def _smallest(rows: int, samples: Iterable[Mapping[str, Any]]) -> int:
    """Rows in a call, or what a lack of memory left of them."""
    return min((sample.get("rows_in_a_call", rows) for sample in samples), default=rows)


def _definition(spec: MetricSpec, metric: Metric | None) -> str:
    """Version of a metric and a hash of its definition and arguments."""
    return f"{spec.version}-{store.canonical_hash([repr(spec), repr(metric)])[:12]}"


def versions() -> dict[str, str]:
    """Installed versions; "not installed" where there is none."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_device(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"


def git_revision() -> str:
    """Revision of the source tree, with "+changes"; empty outside a checkout."""
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
