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
