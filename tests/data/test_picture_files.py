"""Pictures of strangers: what is opened, how large it may be, and what it leaves as it was."""

from __future__ import annotations

import ast
import os
import re
import socket
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile, PngImagePlugin

import igbench
from igbench.core.model import Preprocess
from igbench.data import images, picture_files, pictures
from igbench.data.given import given
from igbench.data.imagenet import imagenet
from igbench.data.photographs import photographs
from igbench.errors import InputError, SampleError
from igbench.models import labels
from tests.helpers.toy import picture, toy_model

PACKAGE = Path(igbench.__file__).parent
SMALL = Preprocess(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
RED = (200, 10, 10)


@pytest.fixture(autouse=True)
def _fresh():
    images._say.cache_clear()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content)
    )  # fmt: skip


def png(
    size: tuple[int, int], pixels: bytes, *, depth: int = 8, kind: int = 2, more: bytes = b""
) -> bytes:
    """A PNG of raw rows, each with its filter byte; `kind` is the colour type of the format."""
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        more,
        chunk(b"IDAT", zlib.compress(pixels)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def refused(path: Path) -> str:
    with pytest.raises(SampleError) as error:
        images.open_rgb(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_pictures_are_opened_in_one_place():
    """Pages of reports convert a file that they have just written; all else goes through here."""
    calls = {
        f"{path.relative_to(PACKAGE).as_posix()}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        if re.search("Image.open|imread|imageio|read_image", path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("Image.open", "imread", "read_image"))
    }
    assert calls == {
        "data/picture_files.py: Image.open(stream, formats=FORMATS)",
        "report/heatmaps.py: Image.open(picture, formats=['PNG'])",
    }


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "ICO", "DDS", "SGI", "PDF"])
def test_other_formats_are_no_pictures(tmp_path, kind, monkeypatch):
    def started(*_: object, **__: object) -> None:
        raise AssertionError("an interpreter was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16), RED).save(path, format=kind)
    assert "its beginning is not that of a picture in JPEG, PNG, WEBP" in refused(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_the_content_decides_and_not_the_suffix(tmp_path, kind):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 4), RED).save(
        path, format=kind, **{"lossless": True} if kind == "WEBP" else {}
    )
    assert images.open_rgb(path).getpixel((1, 1)) == RED


@pytest.mark.parametrize("size", [(2**16, 2**16), (picture_files.MOST_PIXELS + 1, 1)])
def test_more_pixels_than_are_read_are_refused_whatever_pillow_allows(tmp_path, size, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(size, b""))
    refused(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert f"it has {size[0]:,} x {size[1]:,} pixels; 1 to 178,956,970" in refused(
        tmp_path / "a.png"
    )


def test_a_limit_of_the_users_counts_too_and_its_warning_does_not_come_out(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png", RED)
    with Image.open(path) as opened:
        pixels = opened.width * opened.height
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 + 1)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images.open_rgb(path)
    assert not said
    assert list(warnings.filters) == before
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    assert "exceeds limit" in refused(path)


def test_texts_that_unfold_are_refused(tmp_path):
    text = b"key\0\0" + zlib.compress(b" " * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
    (tmp_path / "a.png").write_bytes(png((1, 1), b"\0abc", more=chunk(b"zTXt", text)))
    assert "too large" in refused(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "after"), [((1, 60_000), "224 x 13,440,000"), ((60_000, 1), "13,440,000 x 224")]
)
def test_long_pictures_are_refused_before_they_are_resized(size, after):
    with pytest.raises(SampleError, match=f"and would have {after} with its short side resized"):
        images.to_tensor(Image.new("RGB", size), Preprocess(224, 224, (0.0,) * 3, (1.0,) * 3))


def test_long_pictures_that_fit_are_resized(monkeypatch):
    monkeypatch.setattr(picture_files, "MOST_PIXELS", 8 * 16)
    assert images.to_tensor(Image.new("RGB", (2, 4)), SMALL).shape == (3, 8, 8)
    with pytest.raises(SampleError, match="and would have 8 x 20 with its short side resized to 8"):
        images.to_tensor(Image.new("RGB", (2, 5)), SMALL)


def test_a_preprocessing_of_the_users_gets_no_long_pictures(tmp_path):
    for name, height in (("a", 1000), ("b", 1001)):
        Image.new("L", (1, height)).save(tmp_path / f"{name}.png")
    made = given(tmp_path, preprocess=lambda image: images.to_tensor(image.resize((8, 8)), SMALL))
    long = made.sample_ids.index("b.png")
    assert made.load(1 - long).shape == (3, 8, 8)
    with pytest.raises(SampleError, match="1 x 1,001 pixels, one side more than 1,000 times"):
        made.load(long)


@pytest.mark.parametrize("chosen", [False, True])
def test_cut_pictures_are_refused_whatever_pillow_would_do(tmp_path, chosen, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", chosen)
    for name in ("a.jpg", "a.png", "a.bmp", "a.gif", "a.webp", "a.tif"):
        path = tmp_path / name
        Image.effect_noise((64, 64), 90).convert("RGB").save(path)
        whole = path.read_bytes()
        images.open_rgb(path)
        path.write_bytes(whole[: len(whole) * 2 // 3])
        refused(path)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is chosen, name


def test_the_last_of_several_threads_restores_what_the_user_chose(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path, begun, ended = picture(tmp_path / "a.png", RED), threading.Event(), threading.Event()

    def other() -> None:
        with picture_files.opened(path):
            begun.set()
            ended.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(10)
    images.open_rgb(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False, "the other one still reads"
    ended.set()
    thread.join()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_colours_of_16_bits_give_their_upper_8_and_that_is_said(tmp_path, caplog):
    path, values = tmp_path / "a.png", np.array([[0, 255, 256], [32767, 65279, 65535]], ">u2")
    path.write_bytes(png((2, 1), b"\0" + values.tobytes(), depth=16))
    found = images.open_rgb(path)
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 1), (127, 254, 255)]
    assert [r.getMessage() for r in caplog.records] == [
        "the upper 8 of 16 bits a channel are used of 'a.png'"
    ]


def test_grey_of_16_bits_with_transparency_is_not_clipped(tmp_path):
    path, values = tmp_path / "a.png", np.array([[32768, 65535], [300, 0]], ">u2")
    path.write_bytes(png((2, 1), b"\0" + values.tobytes(), depth=16, kind=4))
    found = images.open_rgb(path)
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(128,) * 3, (255,) * 3]


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path):
    path, value = tmp_path / "a.png", np.array([300, 300, 300], ">u2").tobytes()
    path.write_bytes(png((1, 1), b"\0" + value, depth=16, more=chunk(b"tRNS", value)))
    assert "cannot be told from others with 8 bits; save it with an alpha channel" in refused(path)


def test_numbers_with_a_sign_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.new("L", (2, 2)).save(path, tiffinfo={339: 2})
    assert "are numbers with a sign, which have no fixed range" in refused(path)


needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@needs_links
def test_only_regular_files_and_links_to_them_are_read(tmp_path):
    picture(tmp_path / "away" / "real.png", RED)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked.png").symlink_to(tmp_path / "away" / "real.png")
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder.png").symlink_to(tmp_path / "away")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket must be short
        try:
            one.bind("socket.png")
        finally:
            os.chdir(here)
    made = photographs(toy_model(), limit=None, path=str(folder))
    reasons = {}
    for i, name in enumerate(made.sample_ids):
        try:
            made.load(i)
            reasons[name] = ""
        except SampleError as error:
            reasons[name] = re.sub(r"^.*?': (\[Errno \d+\] )?|: '.*$", "", str(error))
    assert reasons == {
        "linked": "",
        "broken": "it is a link to 'nowhere', which is not there",
        "loop": "Too many levels of symbolic links",
        "zero": "it is a device, not a regular file",
        "pipe": "it is a pipe, not a regular file",
        "socket": "it is a socket, not a regular file",
    }, "a link to a folder is a folder, which is left out"


@needs_links
def test_linked_class_folders_are_read(tmp_path):
    picture(tmp_path / "elsewhere" / "a.png", RED)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "n01440764").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop").symlink_to("loop")
    assert imagenet(toy_model(), limit=None, root=str(tmp_path / "root")).sample_ids == (
        "n01440764/a",
    )


def test_files_of_any_size_are_refused_by_it(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(picture_files.MOST_BYTES + 1)  # sparse: nothing is written
    assert "it has more than 536,870,912 bytes" in refused(tmp_path / "a.png")


def test_a_run_goes_on_without_the_pictures_that_are_refused(tmp_path):
    from torch import nn

    picture(tmp_path / "good.png", RED)
    Image.new("L", (1, 60_000)).save(tmp_path / "long.png")
    Image.new("RGB", (16, 16), RED).save(tmp_path / "script.png", format="EPS")
    found = igbench.evaluate(
        nn.Sequential(nn.Flatten(), nn.Linear(224 * 224 * 3, 2)).eval(), tmp_path,
        methods=["input_x_gradient"], metrics=["completeness"],
        preprocess=Preprocess(224, 224, (0.0,) * 3, (1.0,) * 3),
    )  # fmt: skip
    rows = found.frame[found.frame.metric == "completeness"].set_index("sample_id")
    assert dict(rows.status) == {"good.png": "ok", "long.png": "failed", "script.png": "failed"}
    assert "224 x 13,440,000" in rows.reason["long.png"]
    assert "not that of a picture in JPEG" in rows.reason["script.png"]
    assert not rows.reason.fillna("").str.contains("\n").any()


def test_concepts_leave_out_what_is_refused(tmp_path, caplog):
    picture(tmp_path / "good.png", RED)
    Image.new("L", (1, 60_000)).save(tmp_path / "long.png")
    steps = Preprocess(224, 224, (0.0,) * 3, (1.0,) * 3)
    data = photographs(toy_model(preprocess=steps), limit=1)
    found = pictures.load(pictures.listed(tmp_path, "concept"), data, steps)
    assert found.shape == (1, 3, 224, 224)
    assert "left out: long.png: the image has 1 x 60,000 pixels" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"file,label\na\0.png,0\n", "it holds NUL characters, so it is no text"),
        (b"file,label\n\xff,0\n", "can't decode byte 0xff"),
        (b"file,label\n" + b"a" * 140_000 + b",0\n", "field larger than field limit"),
    ],
)
def test_tables_that_are_no_text_are_refused(tmp_path, content, why):
    picture(tmp_path / "a.png", RED)
    table = tmp_path / "labels.csv"
    table.write_bytes(content)
    with pytest.raises(InputError, match=why) as error:
        imagenet(toy_model(), limit=None, root=str(tmp_path), labels_csv=str(table))
    assert "\n" not in str(error.value)


def test_tables_and_names_of_any_size_are_refused_by_it(tmp_path):
    for size, read, why in (
        (2**27 + 1, lambda p: imagenet(toy_model(), limit=None, root=str(tmp_path), labels_csv=p),
         "it has more than 134,217,728 bytes"),
        (2**24 + 1, lambda p: labels.class_names(p, 2), "it has more than 16,777,216 bytes"),
    ):  # fmt: skip
        path = tmp_path / "a.txt"
        with path.open("wb") as file:
            file.truncate(size)
        with pytest.raises(InputError, match=why):
            read(str(path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b"[" * 10_000 + b"]" * 10_000, "recursion"),
        ("a.txt", b"cat\ndog\0\n", "NUL characters"),
        ("a.txt", b"\xff\xfec\0a\0t\0", "can't decode"),
    ],
)
def test_names_that_are_no_text_are_refused(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=why) as error:
        labels.class_names(str(tmp_path / name), 2)
    assert "\n" not in str(error.value)


@needs_links
def test_names_and_tables_are_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    picture(tmp_path / "a.png", RED)
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(InputError, match="not a regular file"):
            labels.class_names(path, 2)
        with pytest.raises(InputError, match="not a regular file"):
            imagenet(toy_model(), limit=None, root=str(tmp_path), labels_csv=path)
