import pickle
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
from igbench.data.images import Entry, image_data
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
    assert [p.name for p in images.list_images(tmp_path)] == ["a.png", "b.JPG"]


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
