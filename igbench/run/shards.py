"""Split an experiment into shards, with keys for everything that decides their rows.

A shard is one batch of samples.  Its key is a hash of everything that decides its rows, apart from
the metrics, and each metric has a key of its own.  Rows saved under both keys are the rows that the
shard would give, whichever run computed them; a changed metric leaves the rows of others valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from igbench.config import build
from igbench.evaluation.experiment import Experiment, specs
from igbench.records import store
from igbench.run import contents, fingerprint, provenance
from igbench.run.parameters import described
from igbench.schema import SCHEMA_VERSION

FORMAT = 3
"""Version of the files of a saved shard; raise it when they change."""


@dataclass(frozen=True)
class Shard:
    """One batch of a run.

    Attributes:
        number: Number of the batch, 0 .. B-1.
        first: Position of its first sample in the data.
        last: Position of its last sample.
        sample_ids: Their identifiers, in order.
        key: SHA-256 of everything that decides its rows, apart from the metrics.
        metrics: Name and key of each metric.
    """

    number: int
    first: int
    last: int
    sample_ids: tuple[str, ...]
    key: str
    metrics: tuple[tuple[str, str], ...]

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return f"{self.key}-{store.canonical_hash(self.metrics)[:16]}"

    def without(self, names: Iterable[str]) -> Shard:
        """The shard without some metrics."""
        gone = set(names)
        return replace(self, metrics=tuple(m for m in self.metrics if m[0] not in gone))

    def progress_steps(self, experiment: Experiment) -> dict[str, int]:
        """Stages that its batch goes through, each with its number of samples."""
        positions = range(self.first, self.last + 1)
        return self.part_of(experiment).progress_steps(positions)

    def part_of(self, experiment: Experiment) -> Experiment:
        """The experiment with only the metrics of this shard."""
        return replace(
            experiment, metrics={name: experiment.metrics[name] for name, _ in self.metrics}
        )


def shards(experiment: Experiment, settings: Mapping[str, Any] | None = None) -> list[Shard]:
    """The shards of an experiment, in the order of its samples.

    Args:
        experiment: The experiment.
        settings: Configuration of its model, data, methods, metrics and baseline, which is part of
            the keys because the `repr` of an object may not show everything.
    """
    given = dict(settings or {})
    metrics = metric_keys(experiment, given.pop("metric", None) or {})
    held = contents.of_data(experiment.data)
    shared = store.canonical_hash({**ingredients(experiment, given), "held": held.rest})
    found = []
    for number, positions in enumerate(experiment.batches()):
        first, last = positions.start, positions.stop - 1
        ids = experiment.data.sample_ids[first : last + 1]
        own = {
            "shared": shared,
            "samples": ids,
            "labels": experiment.data.labels[first : last + 1],
            "files": held.samples[first : last + 1],
            "maps": _share(experiment.keep_maps, positions),
            "convergence": _share(experiment.convergence, positions),
        }
        found.append(Shard(number, first, last, ids, store.canonical_hash(own), metrics))
    return found


def foundation(shards: Sequence[Shard]) -> str:
    """Hash of everything that decides the rows of a run, apart from the metrics."""
    return store.canonical_hash([shard.key for shard in shards])


def identity(shards: Sequence[Shard]) -> str:
    """Hash of everything that decides the rows of a run."""
    return store.canonical_hash([foundation(shards), [shard.metrics for shard in shards[:1]]])


def _factories(node: Any) -> Iterator[object]:
    """What a configuration names, to be called: the user's own code counts as source too."""
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        yield build.locate(str(node["_target_"]), "configuration")
        if isinstance(node.get("factory"), str):
            yield build.users_function(node["factory"], "factory")
    for inner in node.values():
        yield from _factories(inner)


def _share(most: int, positions: range) -> int:
    """How many of the first `most` samples are among `positions`."""
    return max(0, min(most, positions.stop) - positions.start)


def metric_keys(experiment: Experiment, settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and key of each metric: its version, definition, arguments and source."""
    _, definitions = specs(experiment)
    return tuple(
        (
            name,
            store.canonical_hash(
                [
                    definitions[name].version,
                    repr(definitions[name]),
                    described(metric),
                    settings.get(name),
                    contents.of_parts(metric),
                    fingerprint.of_metric(metric, *_factories(settings.get(name))),
                ]
            ),
        )
        for name, metric in experiment.metrics.items()
    )


def ingredients(experiment: Experiment, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides the rows of a shard, besides samples and metrics, as plain values.

    The number of threads and the engine are left out: they change at most the last bits.
    """
    data, model = experiment.data, experiment.model
    parts = [*experiment.methods.values(), experiment.baseline]
    code = [*parts, model.module, *vars(data).values(), *_factories(settings)]
    return {
        "format": [FORMAT, SCHEMA_VERSION],
        "experiment": experiment.name,
        "model": [model.name, model.weights_hash, model.cam_layer, model.channels_last],
        "preprocess": repr(model.preprocess),
        "class_names": model.class_names,
        "data": [data.name, data.source, data.kind, data.shape, data.features],
        "methods": {name: described(m) for name, m in experiment.methods.items()},
        "order": list(experiment.methods),
        "baseline": described(experiment.baseline),
        "seed": experiment.seed,
        "output": experiment.output,
        "target": experiment.target,
        "dtype": str(experiment.dtype),
        "precision": [experiment.quick.precision, experiment.quick.backend, experiment.folded],
        "batch_size": experiment.batch_size,
        "shard_size": experiment.shard_size,
        "device": provenance.describe_device(experiment.device),
        "versions": provenance.versions(),
        "parts": contents.of_parts(*parts),
        "code": fingerprint.shared(code),
        "settings": settings,
    }
