import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from igbench.core.model import Model
from igbench.data.digits import digits, load_split
from igbench.models import digits_resnet as module
from igbench.models import weights
from igbench.models.digits_resnet import DigitsResNet, Recipe, digits_resnet, train
from tests.helpers.toy import same_rng


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(cache: Path) -> Model:
    """Trained once for this file."""
    with same_rng():
        return digits_resnet(cache_dir=str(cache))


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch, model: Model) -> list[Recipe]:
    """Replaces training by a copy of the trained module; returns the calls."""
    calls: list[Recipe] = []

    def quick(_data: object, recipe: Recipe) -> nn.Module:
        calls.append(recipe)
        copy = DigitsResNet().eval()
        copy.load_state_dict(model.module.state_dict())
        return copy

    monkeypatch.setattr(module, "train", quick)
    return calls


def test_held_out_digits_are_recognised(model: Model) -> None:
    data = digits(model, limit=None)
    index = [int(s.removeprefix("digit-")) for s in data.sample_ids]
    bunch = load_digits()
    x = torch.from_numpy(bunch.images[index] / 16).float().unsqueeze(1)
    with torch.inference_mode():
        found = model.module(x).argmax(dim=1).numpy()
    assert (found == bunch.target[index]).mean() > 0.97


def test_facts(model: Model, cache: Path) -> None:
    assert model.name == "digits_resnet"
    assert model.class_names == tuple("0123456789")
    assert model.preprocess is None
    assert not any(m.training for m in model.module.modules())
    assert not any(p.requires_grad for p in model.module.parameters())
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert [p.name for p in cache.iterdir()] == [f"digits_resnet-{Recipe().digest()}.safetensors"]


def test_eight_layers_with_an_activation_each_of_their_own(model: Model) -> None:
    main = [n for n, m in model.module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([n for n in main if "shortcut" not in n]) == 8
    calls: list[str] = []
    for name, part in model.module.named_modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(lambda _m, _i, _o, name=name: calls.append(name))
    model.module(torch.zeros(1, 1, 8, 8))
    assert len(calls) == len(set(calls)) == 7


def test_cam_layer_has_spatial_axes(model: Model) -> None:
    shapes = []
    layer = model.module.get_submodule(model.cam_layer)
    handle = layer.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape)))
    model.module(torch.zeros(2, 1, 8, 8))
    handle.remove()
    assert shapes == [(2, 24, 4, 4)]


def test_training_hangs_on_the_recipe_alone() -> None:
    """Neither the global generators nor the number of threads nor gradient mode matter."""
    data, short = load_split(), Recipe(epochs=1)
    threads = torch.get_num_threads()
    hashes = []
    try:
        for seed, count in ((0, 1), (1, 2)):
            torch.set_num_threads(count)
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(seed)
                with same_rng():
                    hashes.append(weights.state_hash(train(data, short)))
    finally:
        torch.set_num_threads(threads)
    assert hashes[0] == hashes[1]
    assert weights.state_hash(train(data, Recipe(epochs=1, seed=1))) != hashes[0]


def test_every_field_of_the_recipe_names_the_file() -> None:
    others = [Recipe(version=2), Recipe(epochs=3), Recipe(seed=1), Recipe(grid=0.5), Recipe()]
    assert len({r.digest() for r in others}) == len(others)


def test_the_cache_is_used(model: Model, cache: Path, untrained: list[Recipe]) -> None:
    with same_rng():
        again = digits_resnet(cache_dir=str(cache))
    assert not untrained
    assert again.weights_hash == model.weights_hash


@pytest.mark.parametrize("damage", ["cut", "garbage", "other network", "other weights"])
def test_bad_cache_files_are_replaced_with_a_warning(
    model: Model,
    tmp_path: Path,
    untrained: list[Recipe],
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    path = tmp_path / f"digits_resnet-{Recipe().digest()}.safetensors"
    if damage == "other network":
        save_file({"w": torch.ones(2)}, path)
    elif damage == "other weights":
        save_file({k: torch.zeros_like(v) for k, v in model.module.state_dict().items()}, path)
    else:
        weights.save_state(model.module, path)
        path.write_bytes(path.read_bytes()[:5000] if damage == "cut" else b"garbage")
    with caplog.at_level(logging.WARNING):
        again = digits_resnet(cache_dir=str(tmp_path))
    assert len(untrained) == 1
    assert again.weights_hash == model.weights_hash
    assert "training digits_resnet again" in caplog.text
    caplog.clear()
    digits_resnet(cache_dir=str(tmp_path))
    assert len(untrained) == 1
    assert not caplog.records


def test_a_cache_that_cannot_be_written_is_a_warning(
    tmp_path: Path, untrained: list[Recipe], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    digits_resnet(cache_dir=str(tmp_path / "file"))
    assert len(untrained) == 1
    assert "is not cached" in caplog.text


def test_the_environment_names_the_cache(
    tmp_path: Path, untrained: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "env"))
    digits_resnet()
    assert len(list((tmp_path / "env").iterdir())) == 1


def test_accuracy_is_logged(model: Model, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        digits_resnet(cache_dir=str(cache))
    accuracy = float(caplog.messages[-1].split("accuracy ")[1].split()[0])
    assert 0.97 < accuracy <= 1
