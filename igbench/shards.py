"""Which pieces of work make a run, and what decides the rows of each?

A shard is one batch of the plan.  Its key is a hash of everything that decides its rows, so rows
that are found under a key are the rows that the shard would give, whoever worked them out.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from igbench import record, store
from igbench.experiment import Experiment, specs
from igbench.rows import SCHEMA_VERSION

FORMAT = 1
"""Version of the files of a shard; raised when they change."""

_PACKAGE = Path(__file__).parent
_SILENT = (
    "report", "captum", "cli", "__main__", "progress", "doctor", "catalogue", "api", "plan",
    "certify",
)  # fmt: skip
"""Parts of the package that no row depends on."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Shard:
    """One batch of a run.

    Attributes:
        number: Number of the batch, 0 .. B-1.
        first: Position of its first sample in the data.
        last: Position of its last sample.
        sample_ids: Their identifiers, in order.
        experiment: Key of the experiment that it belongs to.
        key: SHA-256 of everything that decides its rows.
    """

    number: int
    first: int
    last: int
    sample_ids: tuple[str, ...]
    experiment: str
    key: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def shards(experiment: Experiment, settings: Mapping[str, Any] | None = None) -> list[Shard]:
    """The shards of an experiment, in the order of its samples.

    Args:
        experiment: What to run.
        settings: Configuration of its model, data, methods, metrics and baseline: counted in where
            objects do not say all about themselves.
    """
    shared = store.canonical_hash(ingredients(experiment, settings or {}))
    found = []
    for number, positions in enumerate(experiment.batches()):
        first, last = positions.start, positions.stop - 1
        ids = experiment.data.sample_ids[first : last + 1]
        own = {
            "shared": shared,
            "samples": ids,
            "labels": experiment.data.labels[first : last + 1],
            "maps": _share(experiment.keep_maps, positions),
            "convergence": _share(experiment.convergence, positions),
        }
        found.append(Shard(number, first, last, ids, "", store.canonical_hash(own)))
    whole = store.canonical_hash([shard.key for shard in found])
    return [replace(shard, experiment=whole) for shard in found]


def _share(most: int, positions: range) -> int:
    """How many of the first `most` samples are among `positions`."""
    return max(0, min(most, positions.stop) - positions.start)


def ingredients(experiment: Experiment, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides the rows of a shard, besides its samples; plain values.

    What the files of the samples hold is not looked at, only where they are and how they are
    called.  The number of threads and who does the work are left out: they may move the last bits.
    """
    _, metrics = specs(experiment)
    data, model = experiment.data, experiment.model
    parts = [*experiment.methods.values(), *experiment.metrics.values(), experiment.baseline]
    return {
        "format": [FORMAT, SCHEMA_VERSION],
        "experiment": experiment.name,
        "model": [model.name, model.weights_hash, model.cam_layer, model.channels_last],
        "preprocess": repr(model.preprocess),
        "class_names": model.class_names,
        "data": [data.name, data.source, data.kind, data.shape, data.features],
        "methods": {name: described(m) for name, m in experiment.methods.items()},
        "order": [list(experiment.methods), list(experiment.metrics)],
        "metrics": {
            name: [metrics[name].version, repr(metrics[name]), described(m)]
            for name, m in experiment.metrics.items()
        },
        "baseline": described(experiment.baseline),
        "seed": experiment.seed,
        "output": experiment.output,
        "target": experiment.target,
        "dtype": str(experiment.dtype),
        "rows": experiment.rows,
        "samples_at_once": experiment.batch,
        "device": record.describe_device(experiment.device),
        "versions": record.versions(),
        "code": code_digest([*parts, model.module]),
        "settings": settings,
    }


def described(part: object) -> str:
    """The text of an object, without addresses in memory, which differ from process to process."""
    return _ADDRESS.sub("", repr(part))


def code_digest(parts: Iterable[object]) -> str:
    """SHA-256 over the source files that rows depend on: the package's, and those of `parts`."""
    files = {
        path
        for path in _PACKAGE.rglob("*.py")
        if path.relative_to(_PACKAGE).parts[0].removesuffix(".py") not in _SILENT
    }
    for part in parts:
        try:
            own = Path(inspect.getsourcefile(type(part)) or "").resolve()
        except (TypeError, OSError):  # built in, or typed into a console
            continue
        if own.is_file() and "site-packages" not in own.parts:
            files.add(own)
    digest = hashlib.sha256()
    for content in sorted(path.read_bytes() for path in files):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
