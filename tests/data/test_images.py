import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights

from igbench.core.dataset import Data
from igbench.core.model import Preprocess
from igbench.data import images
from igbench.data.imagenet import imagenet
from igbench.data.images import Entry, image_data
from igbench.data.photographs import photographs
from igbench.errors import InputError, SampleError
from tests.helpers.toy import picture, same_rng, toy_model

PAPER = Preprocess(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def scene(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def entries(folder: Path, n: int) -> list[Entry]:
    return [Entry(f"p{i}", picture(folder / f"p{i}.png", (i, 2 * i, 3 * i)), i) for i in range(n)]


def data(folder: Path, n: int, limit: int | None) -> Data:
    return image_data("photos", toy_model(), entries(folder, n), limit=limit, source="made up")


@pytest.mark.parametrize("size", [(400, 300), (231, 517)])
def test_preprocessing_is_torchvisions(size: tuple[int, int]) -> None:
    image = scene(*size)
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()(image)
    torch.testing.assert_close(images.to_tensor(image, PAPER), expected, rtol=0, atol=1e-6)


def test_bicubic_preprocessing_is_pillows() -> None:
    image = scene(400, 300)
    small = image.resize((341, 256), Image.Resampling.BICUBIC)
    left, top = round((341 - 224) / 2), (256 - 224) // 2
    pixels = np.asarray(small.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    half = Preprocess(256, 224, (0.5,) * 3, (0.5,) * 3, "bicubic")
    expected = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)
    torch.testing.assert_close(images.to_tensor(image, half), expected, rtol=0, atol=1e-6)
    bilinear = images.to_tensor(image, Preprocess(256, 224, (0.5,) * 3, (0.5,) * 3))
    assert (bilinear - expected).abs().max() > 0.01


def test_display_undoes_the_normalisation() -> None:
    image = scene(256, 256)
    shown = images.Display(PAPER)(images.to_tensor(image, PAPER))
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, np.asarray(image)[16:240, 16:240])


def test_display_clips() -> None:
    shown = images.Display(PAPER)(torch.tensor([-100.0, 0.0, 100.0]).view(3, 1, 1))
    assert shown.tolist() == [[[0, round(0.456 * 255), 255]]]


def test_black_pixels_become_black(tmp_path: Path) -> None:
    entry = Entry("black", picture(tmp_path / "black.png", (0, 0, 0)), 0)
    made = image_data("photos", toy_model(), [entry], limit=None, source="")
    assert made.black == pytest.approx((-1.0, -1.6, -1.5))
    expected = torch.tensor(made.black).view(3, 1, 1).expand(3, 6, 6)
    torch.testing.assert_close(made.load(0), expected)


def test_white_pixels_become_white(tmp_path: Path) -> None:
    entry = Entry("white", picture(tmp_path / "white.png", (255, 255, 255)), 0)
    made = image_data("photos", toy_model(), [entry], limit=None, source="")
    assert made.white == pytest.approx((1.0, 2.4, 3.5))
    expected = torch.tensor(made.white).view(3, 1, 1).expand(3, 6, 6)
    torch.testing.assert_close(made.load(0), expected)


def test_orientation_is_honoured(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    opened = images.open_rgb(tmp_path / "turned.png")
    assert opened.size == (2, 4)
    assert opened.getpixel((1, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb_without_warnings(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    options = {"transparency": bytes([7] * 256)} if mode == "P" else {}
    image.save(path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = images.open_rgb(path)
    assert opened.mode == "RGB"
    assert opened.getpixel((2, 2)) == (255, 255, 255)


@pytest.fixture(autouse=True)
def _fresh():
    images._say.cache_clear()


def opened(path: Path, image: Image.Image, **options: object) -> Image.Image:
    image.save(path, **options)
    found = images.open_rgb(path)
    assert found.mode == "RGB"
    return found


def grey16(values: list[int], kind: str = "<u2") -> Image.Image:
    return Image.fromarray(np.array([values], dtype=np.uint16).astype(kind))


GREYS = {0: 0, 128: 0, 129: 1, 257: 1, 32767: 127, 32768: 128, 65407: 255, 65535: 255}


@pytest.mark.parametrize(("name", "kind"), [("a.png", "<u2"), ("a.tif", "<u2"), ("b.tif", ">u2")])
def test_grey_of_16_bits_is_scaled_and_rounded(tmp_path: Path, name: str, kind: str) -> None:
    found = opened(tmp_path / name, grey16(list(GREYS), kind))
    assert np.asarray(found)[0].tolist() == [[v] * 3 for v in GREYS.values()]


def test_grey_of_16_bits_is_turned_and_transparent_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    found = opened(tmp_path / "turned.png", grey16([0, 65535]), exif=exif)
    assert [found.getpixel((x, 0))[0] for x in (0, 1)] == [255, 0]
    found = opened(tmp_path / "clear.png", grey16([300, 600]), transparency=300)
    assert [found.getpixel((x, 0))[0] for x in (0, 1)] == [255, round(600 / 257)]


def test_grey_of_a_tiff_whose_white_is_zero(tmp_path: Path) -> None:
    found = opened(tmp_path / "a.tif", grey16([0, 65535]), tiffinfo={262: 0})
    assert [found.getpixel((x, 0))[0] for x in (0, 1)] == [255, 0]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(np.float32, "floating-point numbers .mode F."), (np.int32, "integers of 32 bits .mode I.")],
)
def test_pixels_without_a_range_are_refused(tmp_path: Path, kind: type, words: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.ones((2, 2), kind)).save(path)
    with pytest.raises(SampleError, match=rf"a.tif' are {words}.*save it with 8 or 16 bits"):
        images.open_rgb(path)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_what_is_transparent_is_white_whatever_colour_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    plain = Image.new("RGBA", (3, 1), (40, 40, 40, 255))
    plain.putpixel((1, 0), (40, 40, 40, 0))
    plain.putpixel((2, 0), (40, 40, 40, 51))
    image = plain.convert("LA").convert("La") if mode == "La" else plain.convert(mode)
    found = images._to_rgb(image, Path("a.png"))
    assert found.getpixel((0, 0)) == (40, 40, 40)
    assert found.getpixel((1, 0)) == (255, 255, 255)
    assert np.abs(np.array(found.getpixel((2, 0))) - (0.2 * 40 + 0.8 * 255)).max() <= 2


def test_transparency_of_palettes_and_single_colours_counts(tmp_path: Path, caplog) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 10, 10, 200, 10])
    image.putpixel((1, 0), 1)
    for number in range(2):
        found = opened(tmp_path / f"{number}.png", image, transparency=bytes([0, 255]))
        assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (10, 200, 10)]
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 8)
    found = opened(tmp_path / "grey.png", grey, transparency=7)
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (8,) * 3]
    images.open_rgb(tmp_path / "grey.png")
    said = [r.getMessage() for r in caplog.records]
    assert said == [f"transparent pixels are shown over white in '{n}.png'" for n in "01"] + [
        "transparent pixels are shown over white in 'grey.png'"
    ]


def test_opaque_images_with_an_alpha_channel_keep_their_pixels(tmp_path: Path, caplog) -> None:
    image = scene(8, 8)
    found = opened(tmp_path / "a.png", image.convert("RGBA"))
    assert np.array_equal(np.asarray(found), np.asarray(image))
    assert not caplog.records


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("HSV", (85, 255, 255), (0, 255, 0)),
        ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
    ],
)
def test_every_other_mode_has_its_colours(mode: str, colour: object, expected: object) -> None:
    image = Image.new(mode, (2, 2), colour)
    found = np.array(images._to_rgb(image, Path("x")).getpixel((0, 0)))
    assert np.abs(found - np.array(expected)).max() <= 2


def test_cmyk_in_a_jpeg_is_not_inverted(tmp_path: Path) -> None:
    found = opened(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=95)
    assert np.abs(np.array(found.getpixel((8, 8))) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_the_first_of_several_images_is_used_and_that_is_said(
    tmp_path: Path, name: str, caplog
) -> None:
    first, second = (Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 0, 250)))
    options = {"lossless": True} if name == "a.webp" else {}
    found = opened(tmp_path / name, first, save_all=True, append_images=[second], **options)
    assert found.getpixel((4, 4)) == (250, 0, 0)
    assert [r.getMessage() for r in caplog.records] == [
        f"only the first image is used of '{name}', which has several"
    ]


def test_what_is_left_out_of_a_folder_is_said_in_a_line(tmp_path: Path, caplog) -> None:
    model = toy_model()
    for name in ("n01440764/a.png", "n01440764/deeper/b.png", "outside.png"):
        picture(tmp_path / name)
    for name in ("n01440764/notes.txt", "n01440764/more.TXT", ".DS_Store"):
        (tmp_path / name).touch()
    made = imagenet(model, limit=None, root=str(tmp_path))
    assert made.sample_ids == ("n01440764/a",)
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith(
        f"left out of {tmp_path}: 2 .txt, 1 folders, 1 hidden, 1 images outside the class "
        "folders; images end in .bmp, "
    )
    caplog.clear()
    photographs(model, limit=None, path=str(tmp_path))
    assert f"left out of {tmp_path}: 1 folders, 1 hidden; " in caplog.records[0].getMessage()
    caplog.clear()
    photographs(model, limit=1)
    assert not caplog.records, "what is in the package is no concern of the user's"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
def test_names_that_are_not_utf8_are_identifiers_that_can_be_stored(tmp_path: Path) -> None:
    names = [b"caf\xe9", rb"caf\xe9", "café".encode(), b"back\\slash", b"line\nbreak"]
    for name in names:
        path = tmp_path / os.fsdecode(name + b".png")
        picture(path)
    made = photographs(toy_model(), limit=None, path=str(tmp_path))
    assert sorted(made.sample_ids) == sorted(
        [r"caf\xe9", r"caf\\xe9", "café", r"back\slash", r"line\x0abreak"]
    )
    assert all(i.isprintable() and i.encode() for i in made.sample_ids)
    assert [tuple(made.load(i).shape) for i in range(5)] == [(3, 6, 6)] * 5


def test_unreadable_files_are_sample_errors(tmp_path: Path) -> None:
    scene(64, 64).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    for name in ("cut.jpg", "text.jpg", "empty.jpg"):
        with pytest.raises(SampleError, match=rf"cannot read image .*{name}"):
            images.open_rgb(tmp_path / name)
    with pytest.raises(SampleError, match=r"there is no image 'gone\.jpg' in "):
        images.open_rgb(tmp_path / "gone.jpg")


def test_any_bytes_lost_or_turned_load_or_are_sample_errors(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    scene(16, 16).save(path)
    whole = path.read_bytes()
    failures = 0
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            images.open_rgb(path)
        except SampleError:
            failures += 1
    assert failures > 0


def test_listing_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png", "credits.csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "README").touch()
    found = images.list_images(tmp_path)
    assert [p.name for p in found.images] == ["a.png", "b.JPG"]
    assert found.left_out == {"hidden": 1, "folders": 1, ".csv": 1, "without suffix": 1}


def test_spread_is_an_order_that_ignores_the_other_names() -> None:
    names = [f"photo{i}" for i in range(50)]
    order = images.spread(names)
    assert sorted(order) == list(range(50))
    assert order != sorted(order)
    some = [names[i] for i in order if i % 3]
    assert [some[i] for i in images.spread(some)] == some


def test_limits_are_prefixes_and_the_pool_is_the_rest(tmp_path: Path) -> None:
    everything, few = data(tmp_path, 30, None), data(tmp_path, 30, 10)
    assert len(everything) == 30
    assert few.sample_ids == everything.sample_ids[:10]
    assert few.labels == tuple(int(s[1:]) for s in few.sample_ids)
    assert few.reference is not None
    expected = torch.stack([everything.load(i) for i in range(10, 26)])
    assert torch.equal(few.reference(), expected)
    assert few.reference_labels is not None
    assert list(few.reference_labels()) == [everything.labels[i] for i in range(10, 26)]


@pytest.mark.parametrize("limit", [None, 5, 6])
def test_there_is_no_pool_when_all_are_evaluated(tmp_path: Path, limit: int | None) -> None:
    assert data(tmp_path, 5, limit).reference is None


def test_the_pool_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    made = data(tmp_path, 6, 3)
    spared = data(tmp_path, 6, None).sample_ids[3:]
    (tmp_path / f"{spared[0]}.png").unlink()
    assert made.reference is not None
    assert len(made.reference()) == 2
    assert made.reference_labels is not None
    assert [f"p{k}" for k in made.reference_labels()] == list(spared[1:])
    for name in spared[1:]:
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(InputError, match="none of the images that could serve as reference"):
        made.reference()


def test_samples_travel_to_other_processes(tmp_path: Path) -> None:
    made = data(tmp_path, 4, 2)
    copy = pickle.loads(pickle.dumps(made))
    assert torch.equal(copy.load(1), made.load(1))
    assert copy.sample_ids == made.sample_ids


def test_bad_entries_are_named(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "a.bmp")
    make = {"model": toy_model(), "limit": None, "source": ""}
    with pytest.raises(InputError, match=r"a\.png' and .*a\.bmp' share the sample id 'a'"):
        image_data("photos", entries=[Entry("a", a, 0), Entry("a", b, 0)], **make)
    with pytest.raises(InputError, match=r"a\.png' has class 1000, but model 'toy' has classes 0"):
        image_data("photos", entries=[Entry("a", a, 1000)], **make)
    with pytest.raises(InputError, match=r"limit is 0; it must be above zero"):
        image_data("photos", toy_model(), [Entry("a", a, 0)], limit=0, source="")
    with pytest.raises(InputError, match=r"'toy' takes no photographs, so data=photos"):
        image_data("photos", toy_model(preprocess=None), [], limit=None, source="")


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    with same_rng():
        made = data(tmp_path, 4, 2)
        made.load(0)
        assert made.reference is not None
        made.reference()
