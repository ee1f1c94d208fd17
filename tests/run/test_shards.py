"""A key stands for rows: what decides them changes it, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from igbench import baselines
from igbench.methods.controls import Random
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.areas import Deletion
from igbench.run.parameters import described
from igbench.run.shards import foundation, identity, shards
from tests.helpers.experiments import data, experiment, model


def keys(**options):
    return [shard.key for shard in shards(experiment(**options))]


def test_shards_cover_the_samples_once():
    e = experiment(shard_size=4)
    found = shards(e)
    assert [(s.number, s.first, s.last) for s in found] == [(0, 0, 3), (1, 4, 5)]
    assert sum((s.sample_ids for s in found), ()) == e.data.sample_ids
    assert len({s.metrics for s in found}) == 1
    assert keys() == keys(), "objects that say the same have the same key"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"name": "other"},
        {"output": "probability"},
        {"target": "label"},
        {"batch_size": 16},
        {"baseline": baselines.Blur(1.0)},
        {"model": replace(model(), weights_hash="1")},
        {"methods": {"ig": IntegratedGradients(n_steps=9), "random": Random()}},
        {"methods": {"random": Random(), "ig": IntegratedGradients(n_steps=8)}},
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


def metric_key(metric):
    (found,) = shards(experiment(metrics={"m": metric}))[0].metrics
    assert found[0] == "m"
    return found[1]


def test_a_metric_changes_its_own_key_alone():
    one, two = (
        {"c": Completeness(), "d": Deletion(step, occluder="baseline", scalar="score")}
        for step in (4, 5)
    )
    a, b = shards(experiment(metrics=one)), shards(experiment(metrics=two))
    assert foundation(a) == foundation(b)
    assert identity(a) != identity(b)
    assert [s.stem for s in a] != [s.stem for s in b]
    (c, d), (c2, d2) = a[0].metrics, b[0].metrics
    assert c == c2
    assert d != d2
    assert a[0].without(["d"]).metrics == (c,)
    assert list(a[0].without(["d"]).part_of(experiment(metrics=one)).metrics) == ["c"]


def test_a_metric_version_is_part_of_its_key():
    @dataclass(frozen=True)
    class Later(Completeness):
        @property
        def spec(self):
            return replace(super().spec, version=99)

        def __repr__(self):
            return repr(Completeness())

    assert metric_key(Completeness()) != metric_key(Later())


def test_the_order_of_metrics_is_part_of_the_run():
    both = {"c": Completeness(), "d": Deletion(4, occluder="baseline", scalar="score")}
    turned = dict(reversed(both.items()))
    a, b = shards(experiment(metrics=both)), shards(experiment(metrics=turned))
    assert identity(a) != identity(b)


def test_settings_count():
    e = experiment()
    assert shards(e, {"method": {"mine": 1}})[0].key != shards(e, {"method": {"mine": 2}})[0].key


def test_addresses_do_not():
    class Plain:
        pass

    assert described(Plain()) == described(Plain())
    assert "0x" not in described(Plain())
