"""Run folders and shards that were changed: the numbers that were written, or one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igbench.records import store
from igbench.run import checkpoint
from igbench.run.shards import shards
from tests.helpers import fuzz, strange
from tests.helpers.experiments import experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return strange.write(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def content(folder):
    return json.loads((folder / store.RUN_FILE).read_text(encoding="utf-8"))


@fuzz.few(25)
@given(choice=st.data())
def test_any_record(folder, content, choice):
    """Changes of the record move no number: those are in other files."""
    whole = store.scores(folder)
    places = list(strange.places(content))
    changed = content
    for _ in range(choice.draw(st.integers(1, 3))):
        place = choice.draw(st.sampled_from(places))
        try:
            changed = strange.changed(changed, place, choice.draw(fuzz.values))
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    path = folder / store.RUN_FILE
    kept = path.read_bytes()
    path.write_text(fuzz.as_json(changed))
    found = fuzz.found(lambda: store.read(folder))
    path.write_bytes(kept)
    assert found is None or found.scores.equals(whole)


@fuzz.few(20)
@given(choice=st.data())
def test_any_bytes_of_a_record(folder, choice):
    whole, path = store.read(folder), folder / store.RUN_FILE
    kept = path.read_bytes()
    path.write_bytes(choice.draw(fuzz.damaged(kept)))
    found = fuzz.found(lambda: store.read(folder))
    path.write_bytes(kept)
    assert found is None or found.scores.equals(whole.scores)
    assert found is None or found.curves.equals(whole.curves)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Finished shards, and what they are joined to."""
    folder = tmp_path_factory.mktemp("shards")
    e = experiment(shard_size=3, keep_maps=1, convergence=0)
    plan = shards(e)
    for shard in plan:
        checkpoint.execute(e, shard, folder)
    return folder, plan, checkpoint.join(folder, plan, "name", list(e.methods))


@fuzz.few(20)
@given(choice=st.data())
def test_any_shard(tmp_path_factory, saved, choice):
    """What is changed is done again, or refused; what is joined is what was written."""
    folder, plan, whole = saved
    own = tmp_path_factory.mktemp("changed") / "shards"
    shutil.copytree(folder, own)
    path = choice.draw(st.sampled_from(sorted(own.iterdir())))
    path.write_bytes(choice.draw(fuzz.damaged(path.read_bytes()) | st.binary(max_size=20)))
    found = fuzz.found(lambda: checkpoint.join(own, plan, "name"))
    if found is None:
        assert len(checkpoint.missing(own, plan)) == 1, "one shard is done again"
        assert not path.exists(), "and its files are gone"
    shutil.rmtree(own)
    if found is None:
        return
    assert repr(found.rows.to_pylist()) == repr(whole.rows.to_pylist())
    for name, maps in whole.maps.items():
        assert all(np.array_equal(value, found.maps[name][s]) for s, value in maps.items())
