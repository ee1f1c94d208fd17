"""Features of samples in words: exactly what belongs together is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igbench.errors import InputError
from igbench.records import features, store
from tests.helpers import strange

WORDS = {"names": ["a", "b"], "values": [1.5, "x"], "gaps": ["", " ", "."]}
SERIES = {"series": [[0.0, 1.0, 2.0]], "names": ["early", "late"], "groups": [[0, 0, 1]]}
BARE = {"series": [[0.0, 1.0], [2.0, 3.0]]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return strange.write(tmp_path_factory.mktemp("results"))


def put(folder: Path, value: Any) -> None:
    content = json.loads((folder / store.RUN_FILE).read_bytes())
    content["samples"][0]["features"] = value
    strange.put(folder, content)


@pytest.mark.parametrize("value", [WORDS, SERIES, BARE, {"names": []}, {"names": [""]}])
def test_what_a_run_writes_is_read(folder: Path, value: Any) -> None:
    put(folder, value)
    assert store.read(folder).run.samples[0]["features"] == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "features is a list of 0, not a mapping"),
        ({}, "features has neither names nor a series"),
        ({"values": [1]}, "features has neither names nor a series"),
        ({"names": "ab"}, "features.names is 'ab', not a list"),
        ({"names": [1]}, "features.names[0] is 1, not a text"),
        ({"names": ["a"], "colour": "red"}, "features.colour is no field of this format"),
        ({**WORDS, "values": [1.5]}, "features.values has 1 entries for 2 names"),
        ({**WORDS, "values": [1.5, None]}, "features.values[1] is None, not a number or a text"),
        ({**WORDS, "values": [1.5, True]}, "features.values[1] is True, not a number or a text"),
        ({**WORDS, "gaps": ["", " "]}, "features.gaps has 2 entries for 2 names"),
        ({**BARE, "values": [1]}, "features.values has 1 entries for no names"),
        ({"series": []}, "features.series has channels of different or no length"),
        ({"series": [[]]}, "features.series has channels of different or no length"),
        ({"series": [[1.0], [1.0, 2.0]]}, "features.series has channels of different or no length"),
        ({"series": [["x"]]}, "features.series[0][0] is 'x', not a number"),
        ({**SERIES, "groups": [[0, 1]]}, "features.groups has another shape than the series"),
        ({**SERIES, "groups": [[0, 1, 2]]}, "groups has numbers of features that have no name"),
        ({**SERIES, "groups": [[0, 1, -2]]}, "groups has numbers of features that have no name"),
        ({**BARE, "groups": [[0, 0], [1, 1]]}, "groups belongs to a series whose features have"),
        ({"names": ["a"], "series": [[1.0]]}, "groups belongs to a series whose features have"),
    ],
)
def test_everything_else_is_refused(folder: Path, value: Any, says: str) -> None:
    put(folder, value)
    with pytest.raises(InputError) as error:
        store.read(folder)
    assert says in str(error.value)
    assert "run.json" in str(error.value)


@pytest.mark.parametrize(
    ("own", "right", "wrong"), [(WORDS, (2,), (3,)), (SERIES, (2,), (1, 3)), (BARE, (2, 2), (4,))]
)
def test_maps_have_a_number_for_each_feature(own: Any, right: Any, wrong: Any) -> None:
    samples = [{"sample_id": "s", "features": own}, {"sample_id": "picture"}]
    others = {"inputs": {"s": np.zeros((4, 4, 3))}, "ig": {"picture": np.zeros((4, 4))}}
    features.check_maps(samples, {**others, "lime": {"s": np.zeros(right)}})
    with pytest.raises(ValueError, match=r"the map lime, 's' is of shape .*, not "):
        features.check_maps(samples, {**others, "lime": {"s": np.zeros(wrong)}})


def test_a_kind_that_nobody_knows_is_refused(folder: Path) -> None:
    content = json.loads((folder / store.RUN_FILE).read_bytes())
    content["samples"][0].pop("features", None)
    for kind in ("image", "table", "text", "series"):
        strange.put(folder, strange.changed(content, ("environment", "data_kind"), kind))
        assert store.read(folder).run.environment["data_kind"] == kind
    strange.put(folder, strange.changed(content, ("environment", "data_kind"), "sound"))
    with pytest.raises(InputError, match="data_kind is 'sound', not one of image, table, text"):
        store.read(folder)
