import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from igbench.errors import InputError
from igbench.models import weights


class Pair(nn.Module):
    """One parameter and one buffer with known content."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.register_buffer("b", b)
        self.a = nn.Parameter(a, requires_grad=False)


def pair() -> Pair:
    return Pair(torch.tensor([[1.0, 2.0]]), torch.tensor(3))


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


def test_hash_is_sha256_of_names_types_shapes_and_bytes() -> None:
    text = b"a\x1ftorch.float32\x1f(1, 2)\x1f" + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    text += b"b\x1ftorch.int64\x1f()\x1f" + b"\x03" + b"\x00" * 7
    assert weights.state_hash(pair()) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        Pair(torch.tensor([[1.0, 2.5]]), torch.tensor(3)),  # a value
        Pair(torch.tensor([1.0, 2.0]), torch.tensor(3)),  # a shape
        Pair(torch.tensor([[1.0, 2.0]]), torch.tensor(4)),  # a buffer
        Pair(torch.tensor([[1.0, 2.0]]).double(), torch.tensor(3)),  # a type
        Pair(torch.tensor([[1.0, -2.0]]), torch.tensor(3)),  # a sign
    ],
)
def test_hash_sees_every_change(other: Pair) -> None:
    assert weights.state_hash(other) != weights.state_hash(pair())


def test_hash_ignores_memory_format() -> None:
    module = net()
    before = weights.state_hash(module)
    assert weights.state_hash(module.to(memory_format=torch.channels_last)) == before


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_state_dicts_are_read_back(tmp_path: Path, suffix: str) -> None:
    state = net().state_dict()
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    read = weights.load_state(path)
    assert set(read) == set(state)
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_nested_state_dicts_are_found(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"w": torch.ones(2)}}, tmp_path / "w.pt")
    assert torch.equal(weights.load_state(tmp_path / "w.pt")["w"], torch.ones(2))


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    if zipped:
        torch.save({"w": Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"w": Bomb(trace)}, protocol=2))
    with pytest.raises(InputError, match=r"w\.pth' is a pickle with code, which is not run") as e:
        weights.load_state(path)
    assert "\n" not in str(e.value)
    assert not trace.exists()


def test_whole_models_are_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="is a pickle with code"):
        weights.load_state(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_broken_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (save_file if name.endswith("s") else torch.save)({"w": torch.ones(1000)}, path)
    whole = path.read_bytes()
    for content in (b"", b"not weights", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}' (cannot be read|is not a safe)") as error:
            weights.load_state(path)
        assert "\n" not in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no weights file '.*gone\.pth'"):
        weights.load_state(tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "it holds a list"),
        ({}, "it holds nothing"),
        ({"w": torch.ones(1), "lr": 0.1}, "entry 'lr' is a float, not a tensor"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth' is not a state dict \({message}"):
        weights.load_state(tmp_path / "w.pth")


def test_fitting_copies_everything() -> None:
    source, module = net(), net()
    source[1].running_mean.fill_(0.25)
    weights.fit_state(module, source.state_dict(), "it")
    assert weights.state_hash(module) == weights.state_hash(source)


def test_counters_of_batch_norm_may_be_absent() -> None:
    source, module = net(), net()
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    assert len(state) == len(source.state_dict()) - 1
    weights.fit_state(module, state, "it")
    assert weights.state_hash(module) == weights.state_hash(source)


def test_misfits_are_named_and_change_nothing() -> None:
    module = net()
    before = weights.state_hash(module)
    state = {k: v + 1 for k, v in module.state_dict().items()}
    less = {k: v for k, v in state.items() if k != "0.bias"}
    with pytest.raises(InputError, match=r"^it does not fit .*'0\.bias' is missing\.$"):
        weights.fit_state(module, less, "it")
    with pytest.raises(InputError, match=r"'fc\.weight' is unexpected"):
        weights.fit_state(module, state | {"fc.weight": torch.ones(1)}, "it")
    with pytest.raises(InputError, match=r"'1\.bias' has shape \(5,\), expected \(4,\)"):
        weights.fit_state(module, state | {"1.bias": torch.ones(5)}, "it")
    assert weights.state_hash(module) == before


def test_ready_modules_are_frozen_and_leave_inputs_alone() -> None:
    module = weights.ready(net())
    assert not any(m.training for m in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    x = torch.tensor([-1.0, 1.0])
    module[2](x)
    assert x.tolist() == [-1.0, 1.0]


def test_saving_leaves_one_whole_file(tmp_path: Path) -> None:
    module = net().to(memory_format=torch.channels_last)
    path = tmp_path / "new" / "w.safetensors"
    weights.save_state(module, path)
    weights.save_state(module, path)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in weights.load_state(path).items())


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.mkdir()
    with pytest.raises(OSError, match=r"w\.safetensors"):
        weights.save_state(net(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("IGBENCH_CACHE", raising=False)
    assert weights.cache_folder(None) == tmp_path / ".cache" / "igbench"
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "env"))
    assert weights.cache_folder(None) == tmp_path / "env"
    assert weights.cache_folder("~/mine") == tmp_path / "mine"
