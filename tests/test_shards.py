"""A key stands for rows: what decides them changes it, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from igbench import baselines, parts
from igbench.methods.controls import Random
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.completeness import Completeness
from igbench.metrics.deletion import Deletion
from igbench.shards import code_digest, described, shards
from tests.test_loop import data, experiment, model


def keys(**options):
    return [shard.key for shard in shards(experiment(**options))]


def test_shards_cover_the_samples_once():
    e = experiment(batch=4)
    found = shards(e)
    assert [(s.number, s.first, s.last) for s in found] == [(0, 0, 3), (1, 4, 5)]
    assert sum((s.sample_ids for s in found), ()) == e.data.sample_ids
    assert len({s.experiment for s in found}) == 1
    assert json.loads(json.dumps(found[0].as_dict()))["key"] == found[0].key
    assert keys() == keys(), "objects that say the same have the same key"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"name": "other"},
        {"output": "probability"},
        {"target": "label"},
        {"rows": 16},
        {"baseline": baselines.Blur(1.0)},
        {"model": replace(model(), weights_hash="1")},
        {"methods": {"ig": IntegratedGradients(n_steps=9), "random": Random()}},
        {"methods": {"random": Random(), "ig": IntegratedGradients(n_steps=8)}},
        {"metrics": {"completeness": Completeness()}},
        {"metrics": {"deletion": Deletion(4)}},
        {"data": replace(data(), source="elsewhere")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_rows_changes_every_key(change):
    assert not set(keys()) & set(keys(**change))


def test_only_the_touched_shards_change():
    labels = replace(data(), labels=(0, 0, 0, 0, 0, 1))
    assert [a == b for a, b in zip(keys(), keys(data=labels), strict=True)] == [True, False]
    assert [a == b for a, b in zip(keys(), keys(keep_maps=5), strict=True)] == [True, False]
    assert [a == b for a, b in zip(keys(), keys(convergence=3), strict=True)] == [False, True]


def test_a_metric_version_is_part_of_the_key():
    @dataclass(frozen=True)
    class Later(Completeness):
        @property
        def spec(self):
            return replace(super().spec, version=99)

        def __repr__(self):
            return repr(Completeness())

    assert keys(metrics={"c": Completeness()}) != keys(metrics={"c": Later()})


def test_settings_count():
    e = experiment()
    assert shards(e, {"method": {"mine": 1}})[0].key != shards(e, {"method": {"mine": 2}})[0].key


def test_addresses_do_not():
    class Plain:
        pass

    assert described(Plain()) == described(Plain())
    assert "0x" not in described(Plain())


def test_code_counts(tmp_path):
    assert code_digest([]) == code_digest([Random()]), "part of the package"
    assert code_digest([]) != code_digest([parts, test_code_counts, Mine()])


class Mine:
    """Lives in a file outside the package."""
