import argparse
import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
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


class Named(nn.Module):
    """A net below the attribute `model`, as in wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net()


def with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("module.", "without the prefix 'module.'"),
        ("_orig_mod.", "without the prefix '_orig_mod.'"),
        ("model.", "without the prefix 'model.'"),
        ("model._orig_mod.module.", "without the prefix 'model._orig_mod.module.'"),
        ("", ""),
    ],
)
def test_prefixes_of_wrappers_are_taken_off(prefix: str, said: str) -> None:
    source, module = net(), net()
    source[1].running_mean.fill_(0.25)
    assert weights.fit_state(module, with_prefix(source.state_dict(), prefix), "it") == said
    assert weights.state_hash(module) == weights.state_hash(source)


def test_states_as_data_parallel_writes_them() -> None:
    source, module = net(), net()
    weights.fit_state(module, nn.DataParallel(source).state_dict(), "it")
    assert weights.state_hash(module) == weights.state_hash(source)


def test_a_prefix_that_is_the_modules_own_stays() -> None:
    source, module = Named(), Named()
    assert weights.fit_state(module, source.state_dict(), "it") == ""
    said = weights.fit_state(module, with_prefix(source.state_dict(), "module."), "it")
    assert said == "without the prefix 'module.'"
    assert weights.state_hash(module) == weights.state_hash(source)


def test_a_prefix_that_not_every_name_has_is_named() -> None:
    state = with_prefix(net().state_dict(), "module.")
    with pytest.raises(InputError) as error:
        weights.fit_state(net(), {"n_averaged": torch.tensor(3), **state}, "it")
    assert str(error.value) == (
        "it does not fit the architecture: '0.weight' is missing. The prefix 'module.' was kept, "
        "since 'n_averaged' does not have it: remove one or the other from the file."
    )


def test_half_precision_is_widened_and_said() -> None:
    source, module = net().half(), net()
    assert weights.fit_state(module, source.state_dict(), "it") == (
        "converted from float16 to float32"
    )
    assert torch.equal(module[0].weight, source[0].weight.float())


def test_integers_are_no_weights() -> None:
    state = net().state_dict()
    whole = state | {"0.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)}
    with pytest.raises(InputError, match=r"'0\.weight' holds int8, expected float32\.$"):
        weights.fit_state(net(), whole, "it")


class Renamed(nn.Module):
    """Its former name of `w` was `old`, which it still reads from states without a version."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):  # type: ignore[no-untyped-def]
        if local_metadata.get("version") is None and f"{prefix}old" in state_dict:
            state_dict[f"{prefix}w"] = state_dict.pop(f"{prefix}old")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_former_names_are_brought_up_to_date_by_the_module() -> None:
    module = Renamed()
    weights.fit_state(module, {"module.old": torch.tensor([1.0, 2.0])}, "it")
    assert module.w.tolist() == [1.0, 2.0]


def test_versions_are_kept(tmp_path: Path) -> None:
    torch.save(nn.DataParallel(Renamed()).state_dict(), tmp_path / "w.pt")
    state = weights.load_state(tmp_path / "w.pt")
    assert state._metadata["module"] == {"version": 2}  # type: ignore[attr-defined]
    assert weights.fit_state(Renamed(), state, "it") == "without the prefix 'module.'"


@pytest.mark.parametrize(
    "entry", ["state_dict", "model", "model_state_dict", "model_ema", "state_dict_ema", "anything"]
)
def test_the_one_state_dict_of_a_checkpoint_is_found(tmp_path: Path, entry: str) -> None:
    source, module = net(), net()
    state = with_prefix(source.state_dict(), "module.")
    optimiser = torch.optim.Adam(source.parameters()).state_dict()
    torch.save({"epoch": 3, entry: state, "optimizer": optimiser}, tmp_path / "w.pt")
    said = weights.fill(module, tmp_path / "w.pt")
    assert said == f"state dict w.pt (entry {entry!r}; without the prefix 'module.')"
    assert weights.state_hash(module) == weights.state_hash(source)


def test_several_state_dicts_are_named_and_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    raw, averaged = {"w": torch.ones(1)}, {"w": torch.zeros(1)}
    torch.save({"model": raw, "ema": {"state_dict": averaged}}, path)
    with pytest.raises(InputError) as error:
        weights.load_state(path)
    assert str(error.value) == (
        f"{str(path)!r} holds several state dicts: 'model', 'ema.state_dict'; choose one with "
        "model.entry=model."
    )
    assert weights.load_state(path, entry="model")["w"].item() == 1
    assert weights.load_state(path, entry="ema.state_dict")["w"].item() == 0
    with pytest.raises(InputError, match=r"no state dict 'mode'; it has 'model', .*mean 'model'\?"):
        weights.load_state(path, entry="mode")


def test_settings_of_training_do_not_matter(tmp_path: Path) -> None:
    if not hasattr(torch.serialization, "safe_globals"):
        pytest.skip("torch 2.5")
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "n": np.int32(3)}
    torch.save({"model": {"w": torch.ones(2)}, **beside}, tmp_path / "w.pt")
    assert weights.load_state(tmp_path / "w.pt")["w"].tolist() == [1.0, 1.0]


def test_what_needs_code_is_named(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "whole.pth")
    torch.save({"model": net().state_dict(), "config": Path("x")}, tmp_path / "beside.pth")
    with pytest.raises(InputError, match=r"\(a whole object of the class torch\.nn\S*Sequential\)"):
        weights.load_state(tmp_path / "whole.pth")
    with pytest.raises(InputError, match=r"\(it needs pathlib\S*Path\); save the tensors alone"):
        weights.load_state(tmp_path / "beside.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit.:FutureWarning")
def test_programs_are_no_state_dicts(tmp_path: Path) -> None:
    example = torch.zeros(2, 2)
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), example), tmp_path / "script.pt")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (example,)), tmp_path / "program.pt2")
    for name, kind in (
        ("script.pt", r"a TorchScript program.*model=torch_module model\.factory=torch\.jit\.load"),
        ("program.pt2", r"an exported program.*model=exported model\.path="),
    ):
        with pytest.raises(InputError, match=f"is {kind}"):
            weights.load_state(tmp_path / name)


def test_without_a_home_the_cache_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("IGBENCH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    folder = weights.cache_folder(None)
    with pytest.raises(OSError, match=str(folder.parent.parent)):
        weights.save_state(nn.Linear(1, 1), folder / "w.safetensors")
