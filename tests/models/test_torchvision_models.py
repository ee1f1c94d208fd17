import re
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

from igbench.core.model import Preprocess
from igbench.errors import InputError
from igbench.models import torchvision_models
from igbench.models.torchvision_models import torchvision_model
from tests.helpers.toy import same_rng

FILE = "resnet18-f37072fd.pth"
"""What torchvision calls the V1 weights of ResNet-18."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def random_resnet18() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return torchvision.models.resnet18().eval()


def save(path: Path) -> nn.Module:
    module = random_resnet18()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
    return module


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_weights_come_from_the_hub_cache(hub: Path) -> None:
    expected = save(hub / FILE)
    with same_rng():
        model = torchvision_model(arch="resnet18")
    assert torch.equal(model.module(images()), expected(images()))
    assert (model.name, model.source) == ("resnet18", "torchvision resnet18, weights IMAGENET1K_V1")
    assert len(model.class_names) == 1000
    assert (model.class_names[0], model.class_names[281]) == ("tench", "tabby")
    assert not any(m.training for m in model.module.modules())
    assert not any(p.requires_grad for p in model.module.parameters())
    assert not any(getattr(m, "inplace", False) for m in model.module.modules())
    paper = Preprocess(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
    assert model.preprocess == paper


def test_cam_layer_has_spatial_axes(hub: Path) -> None:
    save(hub / FILE)
    model = torchvision_model(arch="resnet18")
    shapes = []
    layer = model.module.get_submodule(model.cam_layer)
    layer.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape)))
    model.module(images())
    assert shapes == [(2, 512, 2, 2)]


def test_weights_come_from_a_path(tmp_path: Path, hub: Path) -> None:
    expected = save(tmp_path / "mine.pth")
    model = torchvision_model(arch="resnet18", weights=str(tmp_path / "mine.pth"))
    assert torch.equal(model.module(images()), expected(images()))
    assert model.source == "torchvision resnet18, state dict mine.pth"
    assert model.preprocess is not None
    assert model.preprocess.mean == (0.485, 0.456, 0.406)
    assert not hub.exists()


def test_v2_weights_have_their_own_preprocessing(hub: Path) -> None:
    module = torchvision.models.resnet50()
    hub.mkdir(parents=True)
    torch.save(module.state_dict(), hub / "resnet50-11ad3fa6.pth")
    model = torchvision_model(weights="IMAGENET1K_V2")
    assert model.preprocess is not None
    assert (model.preprocess.resize, model.preprocess.crop) == (232, 224)


def test_absent_weights_are_downloaded_and_verified(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(url: str, dst: str, hash_prefix: str | None, progress: bool) -> None:
        calls.append((url, hash_prefix, progress, socket.getdefaulttimeout()))
        save(Path(dst))

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    before = socket.getdefaulttimeout()
    torchvision_model(arch="resnet18")
    torchvision_model(arch="resnet18")
    url = f"https://download.pytorch.org/models/{FILE}"
    assert calls == [(url, "f37072fd", False, torchvision_models.TIMEOUT)]
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize(
    "error", [URLError("no network"), TimeoutError("timed out"), RuntimeError("invalid hash")]
)
def test_no_network_is_one_clear_error(
    hub: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def download(*_args: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    before = socket.getdefaulttimeout()
    with pytest.raises(InputError) as caught:
        torchvision_model(arch="resnet18")
    message = str(caught.value)
    assert socket.getdefaulttimeout() == before
    assert "\n" not in message
    for part in (str(hub / FILE), "model.weights=PATH", "experiment=imagenet_lite", str(error)):
        assert part in message


def test_silent_servers_are_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts connections and never answers."""
    monkeypatch.setattr(torchvision_models, "TIMEOUT", 0.2)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        real = torch.hub.download_url_to_file

        def download(url: str, *args: object, **named: object) -> None:
            real(
                url.replace("https://download.pytorch.org", f"http://127.0.0.1:{port}"),
                *args,
                **named,
            )

        monkeypatch.setattr(torch.hub, "download_url_to_file", download)
        with pytest.raises(InputError, match="timed out"):
            torchvision_model(arch="resnet18")
    assert not list(hub.iterdir())


def test_bad_weights_are_named(tmp_path: Path, hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / FILE).write_bytes(b"half a download")
    with pytest.raises(InputError, match=rf"{FILE}' cannot be read as a state dict"):
        torchvision_model(arch="resnet18")
    save(tmp_path / "mine.pth")
    with pytest.raises(InputError, match=r"mine\.pth' does not fit .*'layer1\.0\.conv1\.weight'"):
        torchvision_model(arch="resnet50", weights=str(tmp_path / "mine.pth"))
    with pytest.raises(InputError, match=r"there is no weights file '.*gone\.pth'"):
        torchvision_model(arch="resnet18", weights=str(tmp_path / "gone.pth"))


def test_unknown_names_are_explained() -> None:
    with pytest.raises(InputError, match=r"unknown arch 'resnet19'.*Did you mean 'resnet1"):
        torchvision_model(arch="resnet19")
    with pytest.raises(InputError, match=r"unknown weights 'IMAGENET_V1' of resnet18; known: IMAG"):
        torchvision_model(arch="resnet18", weights="IMAGENET_V1")


def tiny(arch: str, **arguments: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return torchvision.models.get_model(arch, weights=None, **arguments).eval()


def same_outputs(model: nn.Module, expected: nn.Module, side: int = 64) -> bool:
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return torch.equal(model(x), expected(x))


@pytest.mark.parametrize(
    ("arch", "cam"),
    [("mnasnet0_5", "layers"), ("squeezenet1_1", "features")],
)
def test_the_file_says_how_many_classes_there_are(tmp_path: Path, arch: str, cam: str) -> None:
    expected = tiny(arch, num_classes=7)
    state = {f"module.{name}": value for name, value in expected.state_dict().items()}
    torch.save({"epoch": 2, "model": state}, tmp_path / "mine.pth")
    model = torchvision_model(arch=arch, weights=str(tmp_path / "mine.pth"))
    assert same_outputs(model.module, expected)
    assert model.class_names == tuple("0123456")
    assert model.cam_layer == cam
    assert model.source == (
        f"torchvision {arch}, state dict mine.pth (entry 'model'; without the prefix 'module.')"
    )


def test_class_names_are_given_or_refused(tmp_path: Path) -> None:
    torch.save(tiny("mnasnet0_5", num_classes=2).state_dict(), tmp_path / "mine.pth")
    path = str(tmp_path / "mine.pth")
    model = torchvision_model(arch="mnasnet0_5", weights=path, class_names=("cat", "dog"))
    assert model.class_names == ("cat", "dog")
    (tmp_path / "names.txt").write_text("cat\ndog\n\n")
    model = torchvision_model(
        arch="mnasnet0_5", weights=path, class_names=str(tmp_path / "names.txt")
    )
    assert model.class_names == ("cat", "dog")
    with pytest.raises(InputError, match="has 3 names, but the model has 2 outputs"):
        torchvision_model(arch="mnasnet0_5", weights=path, class_names=("a", "b", "c"))


@pytest.mark.parametrize("aux", [True, False])
def test_googlenet_with_and_without_auxiliary_heads(tmp_path: Path, aux: bool) -> None:
    # With arguments null as torchvision trains it: the network normalises its inputs again.
    expected = tiny("googlenet", init_weights=False, aux_logits=aux, transform_input=aux)
    torch.save(expected.state_dict(), tmp_path / "mine.pth")
    model = torchvision_model(
        arch="googlenet",
        weights=str(tmp_path / "mine.pth"),
        arguments=None if aux else {"transform_input": False},
    )
    assert same_outputs(model.module, expected)
    assert model.cam_layer == "inception5b"


def test_unknown_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"model\.arguments of resnet18: .*'depth'"):
        torchvision_model(arch="resnet18", weights="random", arguments={"depth": 3})


def test_densenet_with_the_names_of_torchvisions_own_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def small(*_args: object, num_classes: int = 1000, **_named: object) -> nn.Module:
        return torchvision.models.DenseNet(4, (2, 1), 8, num_classes=num_classes)

    monkeypatch.setattr(torchvision_models, "get_model", small)
    expected = small(num_classes=3).eval()
    former = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in expected.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in former
    torch.save(former, tmp_path / "mine.pth")
    model = torchvision_model(arch="densenet121", weights=str(tmp_path / "mine.pth"))
    assert same_outputs(model.module, expected)
    assert model.cam_layer == ""


@pytest.mark.parametrize(("side", "crop"), [(224, 224), (384, 384)])
def test_vision_transformers_take_the_size_of_their_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, side: int, crop: int
) -> None:
    def shallow(
        *_args: object, image_size: int, num_classes: int = 1000, **_named: object
    ) -> nn.Module:
        kind = torchvision.models.VisionTransformer
        return kind(image_size, 32, 1, 2, 16, 32, num_classes=num_classes)

    monkeypatch.setattr(torchvision_models, "get_model", shallow)
    expected = shallow(image_size=side, num_classes=5).eval()
    former = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for name, value in expected.state_dict().items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in former
    monkeypatch.setattr(
        torchvision_models,
        "get_model_weights",
        lambda _arch: torchvision.models.ViT_B_16_Weights,  # those of other sizes, too
    )
    torch.save(former, tmp_path / "mine.pth")
    model = torchvision_model(arch="vit_b_32", weights=str(tmp_path / "mine.pth"))
    assert same_outputs(model.module, expected, side)
    assert model.preprocess is not None
    assert model.preprocess.crop == crop
    assert model.cam_layer == ""


def test_random_weights_are_explicit_and_reproducible() -> None:
    first, second = (torchvision_model(arch="mnasnet0_5", weights="random") for _ in range(2))
    assert first.weights_hash == second.weights_hash
    assert first.source == "torchvision mnasnet0_5, random weights (seed 0)"


@pytest.mark.parametrize(
    ("arch", "what"),
    [
        ("fcn_resnet50", "segmentation model"),
        ("fasterrcnn_resnet50_fpn", "detection model"),
        ("r3d_18", "video model"),
        ("raft_small", "optical-flow model"),
        ("quantized_resnet18", "quantised model, which has no gradients"),
    ],
)
def test_other_models_are_refused_by_name(arch: str, what: str) -> None:
    with pytest.raises(InputError, match=rf"^{arch} is an? {what}.*model=torch_module") as error:
        torchvision_model(arch=arch)
    assert "\n" not in str(error.value)


def test_every_classifier_has_settings_that_are_understood() -> None:
    """Preprocessing, and class names or a refusal, without building 80 networks."""
    for arch in torchvision.models.list_models(module=torchvision.models):
        torchvision_models._check_classifier(arch)
        for config in torchvision.models.get_model_weights(arch):
            assert torchvision_models._preprocess(config).crop > 0
            assert config.meta["categories"] is None or len(config.meta["categories"]) == 1000
    with pytest.raises(InputError, match="IMAGENET1K_FEATURES of vgg16 have no classifier"):
        torchvision_model(arch="vgg16", weights="IMAGENET1K_FEATURES")
