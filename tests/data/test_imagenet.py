from dataclasses import replace
from pathlib import Path

import pytest
import torch

from igbench.core.dataset import Data
from igbench.data import imagenet as module
from igbench.data.imagenet import imagenet
from igbench.errors import InputError, SampleError
from tests.helpers.toy import picture, same_rng, toy_model


def labels(data: Data) -> dict[str, int | None]:
    return dict(zip(data.sample_ids, data.labels, strict=True))


def load(root: Path, **arguments: str | int | None) -> Data:
    return imagenet(toy_model(), **{"limit": None, "root": str(root), **arguments})


def table(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_text(text, encoding=encoding)
    return str(path)


def test_wnids_follow_the_usual_order() -> None:
    wnids = module.imagenet_wnids()
    assert len(wnids) == 1000
    # From the published list of classes: tench, tabby cat, Siamese cat, toilet tissue.
    known = {"n01440764": 0, "n02123045": 281, "n02123597": 284, "n15075141": 999}
    assert {k: wnids[k] for k in known} == known


@pytest.mark.parametrize("place", [".", "val"])
def test_class_folders_by_wnid_name_or_index(tmp_path: Path, place: str) -> None:
    for name in ("n02123045", "Siamese cat", "egyptian_cat", "0007"):
        picture(tmp_path / place / name / "x.png")
    assert labels(load(tmp_path)) == {
        "n02123045/x": 281,
        "Siamese cat/x": 284,
        "egyptian_cat/x": 285,
        "0007/x": 7,
    }


def test_order_is_spread_and_limits_are_prefixes(tmp_path: Path) -> None:
    for name in ("tench", "hen", "ostrich"):
        for i in range(4):
            picture(tmp_path / name / f"{i}.png")
    everything, few = load(tmp_path), load(tmp_path, limit=5)
    assert few.sample_ids == everything.sample_ids[:5]
    assert len(set(few.labels)) > 1
    assert few.reference is not None
    assert torch.equal(few.reference()[0], everything.load(5))


def test_names_of_the_model_come_before_indices(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "x.png")
    made = imagenet(toy_model(("2", "1", "0")), limit=None, root=str(tmp_path))
    assert made.labels == (1,)


def test_flat_folder_with_a_table(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "flat" / name)
    text = "file,label\na.png,281\nb.png,n02123597\nc.png,Egyptian cat\n"
    csv = table(tmp_path / "labels.csv", text, "utf-8-sig")
    assert labels(load(tmp_path / "flat", labels_csv=csv)) == {"a": 281, "b": 284, "c": 285}


def test_bad_images_fail_when_they_are_loaded(tmp_path: Path) -> None:
    picture(tmp_path / "tench" / "good.png")
    (tmp_path / "tench" / "bad.png").write_bytes(b"\x89PNG")
    csv = table(tmp_path / "labels.csv", "file,label\ntench/gone.png,0\n")
    made = load(tmp_path)
    assert len(made) == 2
    with pytest.raises(SampleError, match=r"cannot read image .*bad\.png"):
        made.load(made.sample_ids.index("tench/bad"))
    with pytest.raises(SampleError, match=r"there is no image 'gone\.png'"):
        load(tmp_path, labels_csv=csv).load(0)


def test_bad_roots_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs its folder; set data\.root=DIR"):
        imagenet(toy_model(), limit=None)
    with pytest.raises(InputError, match=r"there is no folder .*gone'; set data\.root=DIR"):
        load(tmp_path / "gone")
    with pytest.raises(InputError, match=r"there are no class folders in .*data\.labels_csv=FILE"):
        load(tmp_path)
    (tmp_path / "tench").mkdir()
    with pytest.raises(InputError, match=r"there are no images in the 1 class folders"):
        load(tmp_path)
    (tmp_path / "Siamese cot").mkdir()
    with pytest.raises(InputError, match=r"unknown class 'Siamese cot' \(folder .*'Siamese cat'"):
        load(tmp_path)


@pytest.mark.parametrize("label", ["n99999999", "1000", "-1", "kitchen sink"])
def test_unknown_labels_are_named_with_their_row(tmp_path: Path, label: str) -> None:
    csv = table(tmp_path / "labels.csv", f"file,label\na.png,0\nb.png,{label}\n")
    with pytest.raises(InputError, match=rf"unknown class '{label}' \(row 2 of .*labels\.csv"):
        load(tmp_path, labels_csv=csv)


def test_a_model_whose_classes_have_no_names_is_told_to_name_them(tmp_path: Path) -> None:
    for name in ("cats", "1"):
        picture(tmp_path / name / "x.png")
    model = replace(toy_model(), class_names=("0", "1"))
    with pytest.raises(
        InputError, match=r"unknown class 'cats'.*its 2 outputs.*model\.class_names="
    ):
        imagenet(model, limit=None, root=str(tmp_path))


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "crane" / "x.png")
    with pytest.raises(InputError, match="unknown class 'crane'"):
        imagenet(toy_model(("crane", "ship", "Crane")), limit=None, root=str(tmp_path))


@pytest.mark.parametrize("text", ["", "file,label\n", "name,label\na,1\n", "file,label\na.png\n"])
def test_bad_tables_are_named(tmp_path: Path, text: str) -> None:
    csv = table(tmp_path / "labels.csv", text)
    with pytest.raises(InputError, match=r"labels\.csv' must have the columns 'file' and 'label'"):
        load(tmp_path, labels_csv=csv)


def test_tables_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no table .*gone\.csv'; set data\.labels_csv"):
        load(tmp_path, labels_csv=str(tmp_path / "gone.csv"))
    csv = table(tmp_path / "labels.csv", "file,label\né.png,0\n", "latin-1")
    with pytest.raises(InputError, match=r"labels\.csv' is not a CSV file in UTF-8"):
        load(tmp_path, labels_csv=csv)


def test_wnids_need_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "n02123045" / "x.png")
    module.imagenet_wnids.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install timm"):
        load(tmp_path)


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    picture(tmp_path / "tench" / "x.png")
    with same_rng():
        load(tmp_path).load(0)
