"""One name for the classifiers of torchvision and timm, and one command for a list of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision

from igbench.__main__ import main
from igbench.errors import InputError
from igbench.models.imagenet_models import imagenet_model

CNN, VIT = "squeezenet1_1", "test_vit"


def test_weights_come_from_a_folder_the_cache_or_nowhere(tmp_path: Path, monkeypatch) -> None:
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    found = imagenet_model(arch=f"torchvision/{CNN}")
    assert found.source == "torchvision squeezenet1_1, weights IMAGENET1K_V1"
    torch.save(state, tmp_path / f"{CNN}.pth")
    torch.save(timm.create_model(VIT).state_dict(), tmp_path / f"{VIT}.pt")
    filed = imagenet_model(arch=f"torchvision/{CNN}", weights=str(tmp_path))
    assert filed.source == "torchvision squeezenet1_1, state dict squeezenet1_1.pth"
    assert filed.weights_hash == found.weights_hash
    assert filed.name == CNN
    vit = imagenet_model(arch=f"timm/{VIT}", weights=str(tmp_path))
    assert vit.source == "timm test_vit, state dict test_vit.pt"
    for name in (f"torchvision/{CNN}", f"timm/{VIT}"):
        made = imagenet_model(arch=name, weights="random")
        assert made.name == f"{name.partition('/')[2]} (random weights)"
        assert made.source.endswith(", random weights (seed 0)")


def test_what_cannot_be_had_is_one_clear_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    for arch, weights, message in (
        (f"torchvision/{CNN}", None, r"nor can they be downloaded \(no network\)"),
        (f"torchvision/{CNN}", str(tmp_path), "there are no weights of squeezenet1_1 in"),
        ("resnet50", None, "write torchvision/resnet50 or timm/resnet50"),
        ("tv/resnet50", None, "unknown library 'tv'"),
        ("timm/vit_tny", "random", "unknown arch 'vit_tny' of timm"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            imagenet_model(arch=arch, weights=weights)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("cache")
def test_one_command_runs_a_list_and_one_table_shows_it(tmp_path: Path, capsys) -> None:
    status = main(
        [
            "-m", "experiment=imagenet_models", f"model.arch=torchvision/{CNN},timm/{VIT}",
            "model.weights=random", "limit=1", "method=[saliency,random]",
            "metric=[sparseness]", "batch_size=1", "keep_maps=0", f"results_dir={tmp_path}",
        ]
    )  # fmt: skip
    assert status == 0
    assert capsys.readouterr().out.count("random weights") >= 4
    words = ["table", "imagenet_models", "--results-dir", str(tmp_path), "--metric", "sparseness"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Random (control)" in text
    assert "squeezenet1\\_1 (random weights)" in text
    assert "Test ViT (random weights)" in text
