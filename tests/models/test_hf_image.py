"""Folders of Hugging Face: what is read, what is refused; with transformers, the same outputs."""

import json
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from igbench.core.model import Preprocess
from igbench.errors import InputError
from igbench.models import hf_folder
from igbench.models import hf_image as module
from igbench.models.hf_image import hf_image

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 40},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
}
CONFIG = {
    "architectures": ["ToyForImageClassification"],
    "id2label": {"1": "dog", "0": "cat"},
}


class Toy(nn.Module):
    """Two outputs, as transformers returns them."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(num_labels=2)
        self.head = nn.Linear(3, 2, dtype=dtype)

    def forward(self, pixel_values: torch.Tensor) -> types.SimpleNamespace:
        return types.SimpleNamespace(logits=self.head(pixel_values.mean(dim=(2, 3))))


def folder(path: Path, config: dict[str, Any] = CONFIG, processor: Any = PROCESSOR) -> str:
    (path / "config.json").write_text(json.dumps(config))
    (path / "preprocessor_config.json").write_text(json.dumps(processor))
    save_file({"w": torch.ones(1)}, path / "model.safetensors")
    return str(path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces transformers by a module that returns `Toy`, and notes how it is called."""
    seen: dict[str, Any] = {"info": {"missing_keys": []}, "module": Toy()}

    def from_pretrained(path: str, **named: object) -> tuple[nn.Module, dict[str, Any]]:
        seen.update(path=path, named=named)
        return seen["module"], seen["info"]

    stand_in = types.ModuleType("transformers")
    kind = types.SimpleNamespace(from_pretrained=from_pretrained)
    stand_in.AutoModelForImageClassification = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    monkeypatch.setattr(hf_folder, "find_spec", lambda _name: object())
    return seen


def test_a_folder_is_read_without_network_pickles_or_code(
    tmp_path: Path, fake: dict[str, Any]
) -> None:
    model = hf_image(path=folder(tmp_path))
    assert fake["named"] == {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
        "attn_implementation": "eager",
        "output_loading_info": True,
    }
    assert model.class_names == ("cat", "dog")
    assert model.preprocess == Preprocess(40, 32, tuple(MEAN), tuple(STD), "bicubic")
    assert model.source == f"Hugging Face ToyForImageClassification, folder {tmp_path}"
    assert not any(p.requires_grad for p in model.module.parameters())


def test_half_precision_is_widened_and_said(tmp_path: Path, fake: dict[str, Any]) -> None:
    fake["module"] = Toy(torch.bfloat16)
    model = hf_image(path=folder(tmp_path))
    assert model.source.endswith("; converted from bfloat16 to float32")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("key", ["missing_keys", "mismatched_keys", "unexpected_keys"])
def test_weights_must_be_whole(tmp_path: Path, fake: dict[str, Any], key: str) -> None:
    fake["info"] = {key: ["classifier.weight"]}
    with pytest.raises(InputError, match=f"classifier.weight is among the {key.split('_')[0]} key"):
        hf_image(path=folder(tmp_path))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875, "do_center_crop": None}, (256, 224)),
        ({"crop_size": 30}, (40, 30)),
    ],
)
def test_sizes(change: dict[str, Any], expected: tuple[int, int]) -> None:
    found = module._preprocess(PROCESSOR | change, Path("x"), None, None)
    assert (found.resize, found.crop) == expected


def test_without_normalisation_values_stay_in_0_1() -> None:
    found = module._preprocess(PROCESSOR | {"do_normalize": False}, Path("x"), None, None)
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


VIT = {"size": {"height": 224, "width": 224}, "do_center_crop": None, "crop_size": None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (VIT, r"squashed to 224 x 224; give model\.resize=224 model\.crop=224 to resize"),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, "squashed to 384 x 384"),
        ({"size": {"longest_edge": 40}}, r"size is .*longest_edge.*give model\.resize=N"),
        ({"do_flip_channel_order": True}, "it sets do_flip_channel_order"),
        ({"do_pad": True}, "it sets do_pad"),
        ({"do_resize": False}, "do_resize is false"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor is 0.0078.*, not 1/255"),
        ({"resample": 0}, "resample is 0, neither 2"),
        ({"image_std": [1.0]}, r"image_std is \[1\.0\], not three numbers"),
    ],
)
def test_other_preprocessing_is_refused_by_name(change: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=rf"is not available: .*{why}") as error:
        module._preprocess(PROCESSOR | change, Path("x"), None, None)
    assert "\n" not in str(error.value)


def test_the_user_may_say_how_squashed_images_are_cropped() -> None:
    found = module._preprocess(PROCESSOR | VIT, Path("x"), 256, 224)
    assert (found.resize, found.crop) == (256, 224)
    with pytest.raises(InputError, match="belong together"):
        module._preprocess(PROCESSOR, Path("x"), 256, None)


def test_folders_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set model\.path=DIR"):
        hf_image()
    with pytest.raises(InputError, match="is not a folder on this machine"):
        hf_image(path="google/vit-base-patch16-224")
    with pytest.raises(InputError, match=r"has no config\.json"):
        hf_image(path=str(tmp_path))
    with pytest.raises(InputError, match="needs code of its own"):
        hf_image(path=folder(tmp_path, CONFIG | {"auto_map": {}}))
    with pytest.raises(InputError, match="holds ToyModel, not a model ForImageClassification"):
        hf_image(path=folder(tmp_path, CONFIG | {"architectures": ["ToyModel"]}))
    folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, a pickle, which is not read"):
        hf_image(path=str(tmp_path))
    folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"preprocessor_config\.json' cannot be read"):
        hf_image(path=str(tmp_path))


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_transformers_may_be_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run `pip install 'igbench\[hf\]'`"):
        hf_image(path=folder(tmp_path))


def test_a_real_transformer_gives_its_own_outputs(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'igbench[hf]'")
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=32,
        id2label={0: "cat", 1: "dog", 2: "owl"},
    )
    expected = transformers.ViTForImageClassification(config).eval()
    expected.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    model = hf_image(path=str(tmp_path))
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model.module(x).logits, expected(x).logits)
    assert model.class_names == ("cat", "dog", "owl")
