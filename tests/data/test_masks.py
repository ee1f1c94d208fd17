"""Masks of people: geometry by hand, boxes of annotations, and what is refused before any work."""

from __future__ import annotations

import logging
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch import nn

import igbench
from igbench.core.model import Preprocess
from igbench.data import boxes, masks
from igbench.data.imagenet import imagenet
from igbench.data.photographs import photographs
from igbench.errors import InputError, SampleError
from tests.helpers.toy import toy_model

HALF = Preprocess(4, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MODEL = toy_model(("cat", "dog", "n01440764"), HALF)
XML = """<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size>
<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>
<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object></annotation>"""


def photo(path: Path, size: tuple[int, int] = (12, 8), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (200, 100, 50)).save(path, exif=exif)
    return path


def mask(path: Path, marked: np.ndarray | None = None, size: tuple[int, int] = (12, 8)) -> Path:
    """A mask whose left half is marked, or what is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if marked is None:
        marked = np.zeros(size[::-1], bool)
        marked[:, : size[0] // 2] = True
    Image.fromarray(marked.astype(np.uint8) * 255).save(path)
    return path


@pytest.fixture
def shown(tmp_path):
    """Three photographs of 12 x 8 pixels, of which two are marked: left half, upper left pixels."""
    for name in ("0000_a", "0001_b", "0001_c"):
        photo(tmp_path / "photos" / f"{name}.png")
    mask(tmp_path / "masks" / "0000_a.png")
    corner = np.zeros((8, 12), bool)
    corner[:2, 2:4] = True  # the first pixel of the crop: 12 x 8 is 6 x 4, and 4 x 4 of it
    mask(tmp_path / "masks" / "0001_b.png", corner)
    return tmp_path


def test_masks_go_through_the_geometry_of_their_pictures(shown, caplog):
    with caplog.at_level(logging.WARNING):
        made = photographs(
            MODEL, limit=None, path=str(shown / "photos"), masks=str(shown / "masks")
        )
    place = {name: made.mask(i) for i, name in enumerate(made.sample_ids)}
    assert place["0001_c"] is None
    assert "1 of 3 samples have no mask" in caplog.text
    assert "0001_c" in caplog.text
    half = torch.zeros(4, 4, dtype=torch.bool)
    half[:, :2] = True
    corner = torch.zeros(4, 4, dtype=torch.bool)
    corner[0, 0] = True
    assert torch.equal(place["0000_a"], half)
    assert torch.equal(place["0001_b"], corner)
    one = made.sample_ids.index("0000_a")
    assert torch.equal(pickle.loads(pickle.dumps(made)).mask(one), half)
    before = made.source
    mask(shown / "masks" / "0000_a.png", np.ones((8, 12), bool))
    again = photographs(MODEL, limit=None, path=str(shown / "photos"), masks=str(shown / "masks"))
    assert again.source != before, "other marks are other data"


def test_odd_sizes_give_masks_of_the_size_of_the_model(tmp_path):
    preprocess = Preprocess(7, 5, (0.0,) * 3, (1.0,) * 3)
    for k, size in enumerate(((23, 11), (11, 37), (5, 5))):
        found = masks.fitted(Image.new("L", size, 255), preprocess)
        picture = masks.images.to_tensor(Image.new("RGB", size), preprocess)
        assert found.shape == picture.shape[1:], k
        assert bool(found.all())


def test_upright_pictures_have_upright_masks(tmp_path):
    photo(tmp_path / "photos" / "0000_a.jpg", (8, 12), orientation=6)  # shown as 12 x 8
    mask(tmp_path / "masks" / "0000_a.png")
    made = photographs(
        MODEL, limit=None, path=str(tmp_path / "photos"), masks=str(tmp_path / "masks")
    )
    assert made.mask(0)[:, :2].all()
    assert not made.mask(0)[:, 2:].any()


def test_metrics_agree_with_the_marks_by_hand(shown):
    data = photographs(MODEL, limit=None, path=str(shown / "photos"), masks=str(shown / "masks"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False)).eval()
    torch.nn.init.ones_(net[1].weight)  # every pixel counts alike
    found = igbench.evaluate(
        net, data, methods=["input_x_gradient"], metrics=["relevance_mass"], target=0
    )
    rows = found.frame.set_index(["metric", "sample_id"]).loc["relevance_mass"]
    assert rows.value["0000_a"] == pytest.approx(1 / 2)
    assert rows.value["0001_b"] == pytest.approx(1 / 16)
    assert rows.status["0001_c"] == "undefined"
    assert "no mask" in rows.reason["0001_c"]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "0000_a",
            lambda p: mask(p, size=(8, 12)),
            "has 8 x 12 pixels, and its picture has 12 x 8",
        ),
        ("0000_a", lambda p: mask(p, size=(24, 16)), "has 24 x 16 pixels"),
        ("0000_a", lambda p: Image.new("RGB", (12, 8)).save(p), "has mode RGB; save it in black"),
        ("0000_a", lambda p: Image.new("L", (12, 8), 1).save(p), "has values such as 1; white"),
        ("0000_a", lambda p: p.write_bytes(b"cut"), "cannot be read"),
        ("other", mask, "marks none of the 1 samples; the first would be '0000_a.png'"),
        ("0000_a", lambda p: Image.new("1", (12, 8)).save(p), "marks none of the 1 samples"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, name, make, message):
    photo(tmp_path / "photos" / "0000_a.png")
    (tmp_path / "masks").mkdir()
    make(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(InputError, match=message) as caught:
        photographs(MODEL, limit=1, path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
    assert "\n" not in str(caught.value)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (12, 8), 255).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [Image.new("L", (12, 8), v) for v in (255, 0)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: Image.fromarray(np.full((8, 12), 65535, np.uint16)).save(p), "has mode I;16"),
        (lambda p: Image.new("P", (12, 8), 1).save(p), "has mode P; save it in black and white"),
        (lambda p: Image.new("LA", (12, 8), (255, 0)).save(p), "has mode LA; save it in black"),
        (lambda p: Image.new("L", (12, 8), 255).save(p, transparency=255), "transparent pixels"),
        (turned, "has an orientation of its own; save it as one upright image"),
        (animated, "has several images"),
        (lambda p: Image.new("1", (12, 8), 1).save(p, format="PCX"), "its beginning is not that"),
        (lambda p: Image.new("1", (60_000, 2_000)).save(p), "has 60000 x 2000 pixels, and its"),
        (lambda p: p.symlink_to("nowhere"), "it is a link to 'nowhere', which is not there"),
        (lambda p: p.symlink_to("/dev/zero"), "it is a device, not a regular file"),
        (os.mkfifo, "it is a pipe, not a regular file"),
        (Path.mkdir, "it is a folder, not a regular file"),
    ],
)
def test_masks_that_would_be_read_otherwise_are_refused(tmp_path, make, message, monkeypatch):
    photo(tmp_path / "photos" / "0000_a.png")
    (tmp_path / "masks").mkdir()
    make(tmp_path / "masks" / "0000_a.png")
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda image: decoded.append(image.size) or load(image)
    )
    with pytest.raises(InputError, match=message) as caught:
        photographs(MODEL, limit=1, path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
    assert "\n" not in str(caught.value)
    assert (60_000, 2_000) not in decoded, "the size of a mask is looked at before its pixels"


def test_a_mask_of_a_picture_that_is_refused_is_not_enlarged():
    with pytest.raises(SampleError, match="with its short side resized to 4"):
        masks.fitted(Image.new("1", (1, 12_000_000)), HALF)


@pytest.fixture
def annotated(tmp_path):
    """Two images in class folders, with annotations as ImageNet has them for either split."""
    photo(tmp_path / "images" / "n01440764" / "n01440764_10026.png")
    photo(tmp_path / "images" / "cat" / "ILSVRC2012_val_00000001.png")
    for place, name, box in (
        ("n01440764/n01440764_10026", "n01440764", (2, 0, 6, 4)),
        ("ILSVRC2012_val_00000001", "cat", (0, 0, 12, 8)),
    ):
        path = tmp_path / "boxes" / f"{place}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML.format(w=12, h=8, name=name, box=box))
    return tmp_path


def of(folder: Path, **own: str):
    return imagenet(MODEL, limit=None, root=str(folder / "images"), **own)


def test_boxes_of_the_class_are_marked(annotated):
    made = of(annotated, boxes=str(annotated / "boxes"))
    place = {name.rpartition("/")[2]: made.mask(i) for i, name in enumerate(made.sample_ids)}
    upper_left = torch.zeros(4, 4, dtype=torch.bool)
    upper_left[:2, :2] = True
    assert torch.equal(place["n01440764_10026"], upper_left)
    assert bool(place["ILSVRC2012_val_00000001"].all())
    assert torch.equal(pickle.loads(pickle.dumps(made)).mask(1), made.mask(1))
    path = annotated / "boxes" / "ILSVRC2012_val_00000001.xml"
    path.write_text(XML.format(w=12, h=8, name="dog", box=(0, 0, 12, 8)))
    made = of(annotated, boxes=str(annotated / "boxes"))
    assert [made.mask(i) is None for i in range(2)].count(True) == 1, "the box of a dog is no cat"


def test_boxes_are_of_the_pixels_as_they_are_stored(annotated):
    photo(annotated / "images" / "cat" / "turned.jpg", (12, 8), orientation=3)  # upside down
    path = annotated / "boxes" / "turned.xml"
    path.write_text(XML.format(w=12, h=8, name="cat", box=(2, 0, 6, 4)))
    made = of(annotated, boxes=str(annotated / "boxes"))
    found = made.mask(made.sample_ids.index("cat/turned"))
    assert bool(found[2:, 2:].all())
    assert int(found.sum()) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not xml", "no annotation of boxes that can be read"),
        ("<other/>", "its root is <other>"),
        (XML.format(w=8, h=12, name="cat", box=(0, 0, 2, 2)), "for a picture of 8 x 12 pixels"),
        (XML.format(w=12, h=8, name="cat", box=(0, 0, 13, 2)), "outside its 12 x 8 pixels"),
        (XML.format(w=12, h=8, name="cat", box=(3, 0, 3, 2)), "is empty or outside"),
        (XML.format(w=12, h=8, name="cat", box=("a", 0, 3, 2)), "<bndbox/xmin> is 'a'"),
        (XML.format(w="", h=8, name="cat", box=(0, 0, 3, 2)), "<size/width> is ''"),
        (XML.format(w=10**6, h=10**6, name="cat", box=(0, 0, 1, 1)), "1 to 178,956,970 pixels"),
        (
            XML.format(w="9" * 5000, h=8, name="cat", box=(0, 0, 1, 1)),
            "<size/width> is '9999999999'",
        ),
        (XML.format(w=0, h=8, name="cat", box=(0, 0, 0, 0)), "for a picture of 0 x 8 pixels"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
            "it has a DOCTYPE",
        ),
        (" " * (boxes.LARGEST + 1), "has more than 1,048,576 bytes"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(annotated, text, message):
    (annotated / "boxes" / "ILSVRC2012_val_00000001.xml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        of(annotated, boxes=str(annotated / "boxes"))
    assert "\n" not in str(caught.value)


def test_a_doctype_is_refused_in_any_encoding(tmp_path):
    path = tmp_path / "a.xml"
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><annotation/>'
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="it has a DOCTYPE"):
        boxes.parsed(path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda p: p.symlink_to(p.name)])
def test_annotations_are_regular_files(annotated, make):
    path = annotated / "boxes" / "ILSVRC2012_val_00000001.xml"
    path.unlink()
    make(path)
    with pytest.raises(InputError, match=r"regular file|symbolic links") as caught:
        of(annotated, boxes=str(annotated / "boxes"))
    assert "\n" not in str(caught.value)


def test_annotations_nested_without_end_are_read_or_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>")
    assert boxes.parsed(path).tag == "annotation"


def test_folders_that_are_missing_are_named(annotated):
    for key in ("masks", "boxes"):
        with pytest.raises(InputError, match=rf"there is no folder '.*gone'; set data\.{key}=DIR"):
            of(annotated, **{key: "gone"})


def test_one_kind_of_marks_is_chosen(annotated):
    with pytest.raises(InputError, match=r"data\.masks and data\.boxes are both given"):
        of(annotated, boxes="a", masks="b")


def test_masks_from_python(shown):
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 2)).eval()
    x = torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def run(given, **own):
        return igbench.evaluate(
            net, x, methods=["input_x_gradient"], metrics=["relevance_mass"], masks=given, **own
        )

    whole = np.ones((2, 2))
    found = run([whole, None, whole.tolist()]).frame
    rows = found[found.metric == "relevance_mass"]
    assert list(rows.status) == ["ok", "undefined", "ok"]
    assert set(rows.value.dropna()) == {1.0}
    assert len(run(torch.ones(3, 2, 2, dtype=torch.bool), limit=2).run.samples) == 2
    for given, message in (
        (torch.ones(2, 2, 2), "there are 2 masks for 3 samples"),
        (torch.ones(4, 2, 2), "there are 4 masks for 3 samples"),
        (
            torch.ones(3, 2, 3),
            r"'sample-00000' has shape \(2, 3\), its pixels or feat",
        ),
        (torch.full((3, 2, 2), 255.0), "has other values than 0 and 1"),
        (5, "there are 0 masks for 3 samples"),
        ("folder", "a folder of masks is for a folder of images"),
    ):
        with pytest.raises(InputError, match=message):
            run(given)


def test_masks_of_a_folder_of_images_from_python(shown):
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()

    def run(given, preprocess=HALF):
        return igbench.evaluate(
            net, shown / "photos", methods=["input_x_gradient"], metrics=["localisation_auc"],
            preprocess=preprocess, masks=given,
        )  # fmt: skip

    found = run(shown / "masks").frame
    status = found[found.metric == "localisation_auc"].set_index("sample_id").status
    assert status["0001_c.png"] == "undefined"
    assert status["0000_a.png"] == status["0001_b.png"] == "ok"
    with pytest.raises(InputError, match="the order of the images of a folder"):
        run(torch.ones(3, 4, 4))
    with pytest.raises(InputError, match="whose preprocess= is a Preprocess"):
        run(shown / "masks", lambda image: masks.images.to_tensor(image, HALF))


def test_marks_that_vanish_are_said_by_sample(shown):
    data = photographs(MODEL, limit=None, path=str(shown / "photos"), masks=str(shown / "masks"))
    i = data.sample_ids.index("0000_a")
    (shown / "masks" / "0000_a.png").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        data.mask(i)
    assert replace(data, mask=None).mask is None
