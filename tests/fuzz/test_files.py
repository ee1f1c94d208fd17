"""Pictures, tables of labels, annotations and YAML of strangers: as they are, or one line."""

from __future__ import annotations

import io

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from igbench.config import folders
from igbench.data import boxes, imagenet, images
from igbench.errors import SampleError
from tests.helpers import fuzz

PIXELS = np.random.default_rng(3).integers(0, 255, (6, 5, 3)).astype("uint8")
FORMATS = {"PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "WEBP": {"lossless": True}, "TIFF": {}}
MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBPVP8 ",
    b"II*\0", b"MM\0*", b"8BPS", b"%!PS-Adobe", b"\0\0\1\0", b"P6 9 9 255 ", b"qoif",
)  # fmt: skip


def saved(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **FORMATS[kind])
    return stream.getvalue()


pictures = st.one_of(
    st.builds(lambda head, rest: head + rest, st.sampled_from(MAGIC), st.binary(max_size=200)),
    *[fuzz.damaged(saved(kind)) for kind in FORMATS],
)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata
@fuzz.few(80)
@given(content=pictures)
def test_any_picture(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "picture.png"
    path.write_bytes(content)
    found = fuzz.found(lambda: images.open_rgb(path), SampleError)
    if found is None:
        return
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(images.open_rgb(path)))


TABLE = b"file,label\na.png,cat\nb/c.png,dog\n\xc3\xa9.png,1\n"
NAMES = ("cat", "dog", "mouse")


@fuzz.few(80)
@given(content=fuzz.damaged(TABLE) | st.binary(max_size=80))
def test_any_table_of_labels(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "labels.csv"
    path.write_bytes(content)
    classes = imagenet.Classes.of(NAMES)
    found = fuzz.found(lambda: imagenet._from_table(path, folder, classes))
    assert found is None or found
    for entry in found or ():
        assert 0 <= entry.label < len(NAMES)


ANNOTATION = (
    b"<annotation><size><width>9</width><height>7</height></size><object><name>cat</name>"
    b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object>"
    b"</annotation>"
)


@fuzz.few(60)
@given(content=fuzz.damaged(ANNOTATION) | st.binary(max_size=80))
def test_any_annotation(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "boxes.xml"
    path.write_bytes(content)
    found = fuzz.found(lambda: boxes.parsed(path))
    assert found is None or found.tag == "annotation"


YAML = b"""# a method
own:
  _target_: igbench.methods.Saliency
  n: &n [1, 2.5, .nan, true, null]
  more: {a: *n, b: 'text', c: 2001-01-01}
"""


@fuzz.few(60)
@given(content=fuzz.damaged(YAML) | fuzz.values.map(lambda v: yaml.safe_dump(v).encode()))
def test_any_yaml(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "own.yaml"
    path.write_bytes(content)
    found = fuzz.found(lambda: [folders.read(path)])
    if found is None:
        return
    assert repr(found[0]) == repr(yaml.safe_load(content))
