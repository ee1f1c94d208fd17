import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from igbench.core.model import Model, Preprocess
from igbench.errors import InputError
from igbench.methods import GradCam, IntegratedGradients, explain
from igbench.models import timm_models
from igbench.models.timm_models import timm_model
from tests.helpers.toy import same_rng

SMALL_VIT = {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 3}


def built(arch: str, **arguments: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return timm.create_model(arch, pretrained=False, **arguments).eval()


def images(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vit() -> Model:
    return timm_model(weights="random", arguments=SMALL_VIT)


def test_a_file_of_a_convolutional_network(tmp_path: Path) -> None:
    expected = built("resnet10t", num_classes=5)
    state = {f"module.{name}": value for name, value in expected.state_dict().items()}
    torch.save({"state_dict_ema": state, "epoch": 1}, tmp_path / "mine.pth")
    with same_rng():
        model = timm_model(arch="resnet10t", weights=str(tmp_path / "mine.pth"))
    with torch.inference_mode():
        assert torch.equal(model.module(images()), expected(images()))
    assert model.class_names == tuple("01234")
    assert model.cam_layer == "layer4"
    assert model.source == (
        "timm resnet10t, state dict mine.pth (entry 'state_dict_ema'; without the prefix 'module.')"
    )
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert model.preprocess == Preprocess(201, 176, mean, std, "bicubic")


def test_a_file_of_a_transformer(tmp_path: Path) -> None:
    expected = built("vit_tiny_patch16_224", **SMALL_VIT)
    save_file(expected.state_dict(), tmp_path / "mine.safetensors")
    model = timm_model(weights=str(tmp_path / "mine.safetensors"), arguments=SMALL_VIT)
    with torch.inference_mode():
        assert torch.equal(model.module(images(32)), expected(images(32)))
    assert (len(model.class_names), model.class_names[0]) == (1000, "tench")
    assert model.cam_layer == "blocks.1.norm1"
    half = (0.5, 0.5, 0.5)
    assert model.preprocess == Preprocess(35, 32, half, half, "bicubic")  # 32 / 0.9


def test_preprocessing_is_timms(vit: Model) -> None:
    from PIL import Image

    from igbench.data.images import to_tensor

    pixels = torch.randint(0, 256, (50, 60, 3), generator=torch.Generator().manual_seed(0))
    photo = Image.fromarray(pixels.byte().numpy())
    module = built("vit_tiny_patch16_224", **SMALL_VIT)
    config = timm.data.resolve_data_config({"img_size": 32}, model=module)
    expected = timm.data.create_transform(**config, is_training=False)(photo)
    assert vit.preprocess is not None
    torch.testing.assert_close(to_tensor(photo, vit.preprocess), expected, rtol=0, atol=1e-6)


def test_gradients_pass_through_attention(vit: Model) -> None:
    """IG is complete: fused attention has the gradient of the plain formula."""
    x, target = images(32)[:1], torch.tensor([3])
    phi = explain(IntegratedGradients(n_steps=64), vit.module, x, target=target)
    with torch.no_grad():
        change = (vit.module(x) - vit.module(torch.zeros_like(x)))[0, 3]
    torch.testing.assert_close(phi.sum(), change, rtol=1e-3, atol=1e-4)


def test_grad_cam_refuses_tokens_that_no_patch_speaks_through(vit: Model) -> None:
    wrong = (("", "have no such layer"), ("blocks.1", "only the class token"), ("head", "vectors"))
    for layer, message in wrong:
        with pytest.raises(InputError, match=message) as error:
            explain(GradCam(layer), vit.module, images(32)[:1], target=torch.tensor([3]))
        assert "\n" not in str(error.value)
    found = explain(GradCam(vit.cam_layer), vit.module, images(32)[:1], target=torch.tensor([3]))
    assert bool(found.isfinite().all())


def test_pretrained_weights_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = built("resnet10t")
    save_file(expected.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def cached(repo_id: str, filename: str, **_named: object) -> str:
        asked.append((repo_id, filename))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", cached)
    model = timm_model(arch="resnet10t")
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    with torch.inference_mode():
        assert torch.equal(model.module(images()), expected(images()))
    assert model.source == "timm resnet10t, weights timm/resnet10t.c3_in1k"
    with pytest.raises(InputError, match="would put a random classifier"):
        timm_model(arch="resnet10t", arguments={"num_classes": 3})


def test_no_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_args: object, **_named: object) -> str:
        raise FileNotFoundError("no such file\nand no network")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", absent)
    with pytest.raises(InputError, match=r"neither in the cache.*model\.weights=PATH") as error:
        timm_model(arch="resnet10t")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        ("resnet10", {}, r"unknown arch 'resnet10' of timm; .* Did you mean 'resnet"),
        ("resnet50.a1_in", {}, r"no weights 'a1_in' of resnet50; known: .* mean 'a1_in1k'"),
        ("resnet10t", {"num_classes": 0}, "has no classifier, only features"),
        ("resnet10t", {"colour": 1}, r"model\.arguments of resnet10t: .*'colour'"),
    ],
)
def test_what_cannot_be_built_is_explained(
    arch: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        timm_model(arch=arch, weights="random", arguments=arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"crop_mode": "squash"}, "its crop_mode is 'squash'"),
        ({"input_size": (3, 32, 64)}, "its images are not square"),
        ({"interpolation": "nearest"}, "its interpolation is 'nearest'"),
    ],
)
def test_other_preprocessing_is_refused_by_name(change: dict[str, object], why: str) -> None:
    config = timm.data.resolve_data_config({}, model=built("resnet10t"))
    with pytest.raises(InputError, match=rf"of x is not available \({why}\); use model=torch_m"):
        timm_models._preprocess("x", config | change)


def test_timm_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(timm_models, "find_spec", lambda n: None if n == "timm" else real(n))
    with pytest.raises(InputError, match="run `pip install timm`"):
        timm_model()
