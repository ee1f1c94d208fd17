"""Files of weights that unfold, lie about their size, or are no regular files: refused unread."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from igbench.__main__ import main
from igbench.errors import InputError
from igbench.models import archives, hf_folder, weights
from igbench.models.exported import exported

ONES = {"w": torch.ones(1000)}


def saved(path: Path) -> Path:
    torch.save(ONES, path)
    return path


def repacked(path: Path, method: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    """What `torch.save` writes, packed again, with some entries replaced or added."""
    with zipfile.ZipFile(saved(path)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= {f"w/{name}": content for name, content in more.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refused(path: Path, *, read: object = weights.load_state) -> str:
    with pytest.raises(InputError) as error:
        read(path)  # type: ignore[operator]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    return str(error.value)


@pytest.fixture
def unread(monkeypatch):
    """Fail where torch is given the file at all."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr(torch, "load", read)
    monkeypatch.setattr(torch.export, "load", read)


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def pickled(value: bytes) -> bytes:
    """A pickle of {"w": value}, where the value is given by its operations."""
    return b"\x80\x02}" + text("w") + value + b"s."


def test_what_torch_writes_is_read_again(tmp_path):
    for path in (saved(tmp_path / "a.pth"), repacked(tmp_path / "b.pth")):
        assert torch.equal(weights.load_state(path)["w"], ONES["w"])
    torch.save(ONES, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(weights.load_state(tmp_path / "c.pth")["w"], ONES["w"])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused(tmp_path, method, unread):
    path = repacked(tmp_path / "w.pth", method)
    assert "is compressed, from" in refused(path)


def test_a_zip_bomb_is_refused(tmp_path, unread):
    path = repacked(tmp_path / "w.pth")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data/1", bytes(2**22))
    assert path.stat().st_size < 2**14
    assert "its entry 'w/data/1' is compressed, from 4,194,304 bytes to 4,0" in refused(path)


def test_entries_that_overlap_are_refused(tmp_path, unread):
    path = repacked(tmp_path / "w.pth")
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02")
    directory, end = content[place:].split(b"PK\x05\x06")
    first = directory[: directory.index(b"PK\x01\x02", 4)]
    size = struct.unpack("<I", directory[24:28])[0]
    names = [b"%03d" % i + first[49:] for i in range(100)]
    wide = b"".join(first[:46] + name for name in names)  # a hundred names for the same bytes
    count = directory.count(b"PK\x01\x02") + 100
    end = end[:4] + struct.pack("<HHI", count, count, len(directory + wide)) + end[12:]
    path.write_bytes(content[:place] + directory + wide + b"PK\x05\x06" + end)
    assert len(zipfile.ZipFile(path).namelist()) == count
    assert size * 100 > path.stat().st_size
    assert "its entries overlap" in refused(path)


@pytest.mark.parametrize("name", ["../a", "/etc/a", "w/../../a", r"w\..\a", "C:/a"])
def test_names_that_lead_out_are_refused(tmp_path, name, unread):
    path = saved(tmp_path / "w.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    assert "leads out of it" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_entries_of_one_name_are_refused(tmp_path, unread):
    path = saved(tmp_path / "w.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/data.pkl", pickled(text("other")))
    assert "1 of its entries have the name of another" in refused(path)


def test_lists_of_any_number_of_entries_are_refused(tmp_path, unread, monkeypatch):
    path = saved(tmp_path / "w.pth")
    monkeypatch.setattr(archives, "MOST", 100)
    assert "its entries or a pickle have 4" in refused(path)


def nested() -> bytes:
    """The letter a as hexadecimal digits, sixty times over: 2**60 bytes."""
    call = b"c_codecs\nencode\n"
    inner = call + text("a") + text("latin1") + b"\x86R"
    for _ in range(60):
        inner = call + inner + text("__HEX") + b"\x86R"
    return inner


BOMBS = {
    "it builds a bytearray of any size": b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    "it encodes bytes as '__HEX'": nested(),
}


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("why", BOMBS)
def test_pickles_that_unfold_are_refused(tmp_path, why, archived, unread):
    path = tmp_path / "w.pth"
    if archived:
        repacked(path, **{"data.pkl": pickled(BOMBS[why])})
    else:  # the form before archives: its fourth pickle holds the objects
        head = [pickle.dumps(v, protocol=2) for v in (0x1950A86A20F9469CFC6C, 1001, {})]
        path.write_bytes(b"".join(head) + pickled(BOMBS[why]))
    assert why in refused(path)


def test_pickles_of_any_size_are_refused(tmp_path, unread, monkeypatch):
    large, path = pickled(text("a" * 3000) + b"0" + text("b")), tmp_path / "w.pth"
    repacked(path, **{"data.pkl": large})
    monkeypatch.setattr(archives, "MOST", 2000)
    assert "its entries or a pickle have 3,023 bytes beside the tensors" in refused(path)
    path.write_bytes(large)
    assert "a pickle in it has more than 2,000 bytes" in refused(path)


def test_storages_that_lie_about_their_length_are_refused(tmp_path):
    with zipfile.ZipFile(saved(tmp_path / "w.pth")) as archive:
        own = archive.read("w/data.pkl")
    number = b"M\xe8\x03"  # 1000, as the length of the storage and of the tensor
    assert own.count(number) == 2
    for lie in (own.replace(number, b"J\x00\x00\x00\x7f"), own[::-1].replace(
        number[::-1], b"\x7f\x00\x00\x00J", 1
    )[::-1]):  # fmt: skip
        path = repacked(tmp_path / "w.pth", **{"data.pkl": lie})
        assert "cannot be read as a state dict" in refused(path)


def lied(change: str) -> bytes:
    """A safetensors file whose header says what is not there."""
    content = save({"a": torch.ones(4), "b": torch.ones(4)})
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    if change == "overlapping":
        header["b"]["data_offsets"] = [8, 24]
    elif change == "outside":
        header["b"]["data_offsets"] = [16, 2**40]
    elif change == "shape":
        header["b"]["shape"] = [2**62, 2**62]
    elif change == "hole":
        header["b"]["data_offsets"], rest = [32, 48], rest + bytes(16)
    text = json.dumps(header).encode()
    said = 2**63 if change == "length" else len(text)
    return struct.pack("<Q", said) + text + rest


@pytest.mark.parametrize("change", ["overlapping", "outside", "shape", "hole", "length"])
def test_headers_of_safetensors_that_lie_are_refused(tmp_path, change):
    path = tmp_path / "w.safetensors"
    path.write_bytes(lied(""))
    assert set(weights.load_state(path)) == {"a", "b"}
    path.write_bytes(lied(change))
    assert "is not a safetensors file" in refused(path)


@pytest.fixture
def odd(tmp_path):
    """Files that are none, by what is said of them."""
    if sys.platform == "win32":
        pytest.skip("links need rights on Windows")
    made = {what: tmp_path / f"{i}.pth" for i, what in enumerate(("pipe", "device", "nowhere"))}
    os.mkfifo(made["pipe"])
    made["device"].symlink_to("/dev/zero")
    made["nowhere"].symlink_to("nowhere")
    made["symbolic links"] = tmp_path / "loop.pth"
    made["symbolic links"].symlink_to("loop.pth")
    made["folder"] = tmp_path
    return made


def test_weights_are_regular_files(odd):
    for what, path in odd.items():
        assert what in refused(path)
        assert what in refused(path, read=lambda p: exported(path=str(p)))


def test_links_to_weights_are_read(tmp_path):
    if sys.platform == "win32":
        pytest.skip("links need rights on Windows")
    (tmp_path / "link.pth").symlink_to(saved(tmp_path / "w.pth"))
    assert torch.equal(weights.load_state(tmp_path / "link.pth")["w"], ONES["w"])


def test_weights_of_hugging_face_are_regular_files(odd, tmp_path):
    def settings(path):
        return hf_folder.settings(path, "the model")

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model-2.safetensors").symlink_to(odd["pipe"])
    assert "a pipe" in refused(folder, read=hf_folder.check_safetensors)
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**24 + 1)
    assert "more than 16,777,216 bytes" in refused(folder / "config.json", read=settings)
    (folder / "config.json").write_text('{"a":' * 100_000)
    assert "cannot be read" in refused(folder / "config.json", read=settings)


def test_programs_that_unfold_are_refused(tmp_path, unread):
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/weights/0", bytes(2**20))
    assert "is compressed" in refused(path, read=lambda p: exported(path=str(p)))


def test_a_bomb_is_one_line_and_2_from_the_command_line(tmp_path, capsys):
    path = repacked(tmp_path / "w.pth", zipfile.ZIP_DEFLATED)
    words = ["experiment=imagenet_resnet", "model=resnet18", f"model.weights={path}", "limit=1"]
    assert main([*words, f"results_dir={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not read, since it may unfold" in line
    assert not (tmp_path / "out").exists()
