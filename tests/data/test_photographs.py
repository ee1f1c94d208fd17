import csv
from pathlib import Path

import pytest

from igbench.data.photographs import PHOTOS, photographs
from igbench.errors import InputError
from tests.helpers.toy import picture, same_rng, toy_model


def credits() -> dict[str, dict[str, str]]:
    with (PHOTOS / "credits.csv").open(newline="", encoding="utf-8") as stream:
        return {Path(row["file"]).stem: row for row in csv.DictReader(stream)}


def test_every_photograph_of_the_package_is_credited_and_free() -> None:
    rows = credits()
    made = photographs(toy_model(), limit=None)
    assert len(made) == 82
    assert set(made.sample_ids) == set(rows)
    for row in rows.values():
        assert any(word in row["licence"] for word in ("CC0", "Public Domain", "public domain"))
        assert row["package"]


def test_labels_are_the_first_acceptable_class() -> None:
    made = photographs(toy_model(), limit=None)
    rows = credits()
    expected = tuple(int(rows[s]["classes"].split()[0]) for s in made.sample_ids)
    assert made.labels == expected


def test_small_limits_are_spread_over_classes() -> None:
    made = photographs(toy_model(), limit=8)
    assert len(made) == 8
    assert made.labels != tuple(sorted(made.labels))
    assert len(set(made.labels)) >= 7
    assert made.shape == tuple(made.load(0).shape) == (3, 6, 6)
    assert made.reference is not None
    assert made.reference().shape == (16, 3, 6, 6)


def test_own_folders(tmp_path: Path) -> None:
    picture(tmp_path / "0281_tom.png")
    picture(tmp_path / "holiday_2.png")
    picture(tmp_path / "20240101_12.png")
    made = photographs(toy_model(), limit=None, path=str(tmp_path))
    labels = dict(zip(made.sample_ids, made.labels, strict=True))
    assert labels == {"0281_tom": 281, "holiday_2": None, "20240101_12": None}


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder '.*gone'; set data\.path=DIR"):
        photographs(toy_model(), limit=None, path=str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"there are no images in .*; set data\.path=DIR"):
        photographs(toy_model(), limit=None, path=str(tmp_path))


def test_global_generators_are_left_alone() -> None:
    with same_rng():
        photographs(toy_model(), limit=2).load(0)
