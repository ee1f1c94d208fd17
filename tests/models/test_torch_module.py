import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from igbench.config.build import construct
from igbench.core.model import Preprocess
from igbench.errors import InputError
from igbench.methods import IntegratedGradients, explain
from igbench.models import own
from igbench.models.torch_module import torch_module
from tests.helpers.toy import same_rng

CODE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, classes)

    def forward(self, x):
        return {"logits": self.head(self.pool(self.features(x)).flatten(1))}


def text():
    return "no module"


def fails():
    raise KeyError("colour")


number = 3
"""
PHOTOS = {"resize": 20, "crop": 16, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's module `their_net`, on the path."""
    (tmp_path / "their_net.py").write_text(CODE)
    (tmp_path / "breaks.py").write_text("1 / 0")
    (tmp_path / "needs.py").write_text("import absent_library")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("their_net", "breaks", "needs"):
        sys.modules.pop(name, None)


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_factory_with_weights_and_preprocessing(code: Path) -> None:
    expected = importlib.import_module("their_net").Net(5).eval()
    node = {"_target_": "igbench.models.torch_module.torch_module", "factory": "their_net.Net"}
    torch.save({"state_dict": nn.DataParallel(expected).state_dict()}, code / "w.pt")
    with same_rng():
        keys = {"arguments": {"classes": 5}, "weights": str(code / "w.pt"), **PHOTOS}
        model = construct(node | keys | {"class_names": ["a", "b", "c", "d", "e"]}, "model")
    assert torch.equal(model.module(images())["logits"], expected(images())["logits"])
    assert model.class_names == ("a", "b", "c", "d", "e")
    assert model.cam_layer == "features"
    assert model.preprocess == Preprocess(20, 16, (0.5,) * 3, (0.2,) * 3, "bilinear")
    assert model.source == (
        "factory their_net.Net, state dict w.pt (entry 'state_dict'; without the prefix 'module.')"
    )
    assert not any(m.training for m in model.module.modules())
    assert not any(getattr(m, "inplace", False) for m in model.module.modules())


def test_other_data_has_a_shape_and_no_preprocessing() -> None:
    model = torch_module(
        factory=nn.Linear,
        arguments={"in_features": 4, "out_features": 2},
        input_shape=(4,),
    )
    assert (model.class_names, model.preprocess, model.cam_layer) == (("0", "1"), None, "")
    again = torch_module(
        factory=nn.Linear,
        arguments={"in_features": 4, "out_features": 2},
        input_shape=(4,),
    )
    assert again.weights_hash == model.weights_hash


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (None, r"set model\.factory=my_module\.build"),
        ("build", "is no dotted name"),
        ("nowhere.build", r"there is no module 'nowhere'; .*PYTHONPATH"),
        ("their_net.sub.build", r"there is no module 'their_net\.sub'"),
        ("needs.build", "importing needs raised ModuleNotFoundError: .*'absent_library'"),
        ("breaks.build", "importing breaks raised ZeroDivisionError: division by zero"),
        ("their_net.Nett", "their_net has no 'Nett'.* Did you mean 'Net'"),
        ("their_net.number", "holds no function or class 'number'"),
        ("their_net.text", r"returned a str, not a torch\.nn\.Module"),
        ("their_net.fails", "raised KeyError: 'colour'"),
    ],
)
def test_factories_that_do_not_work_are_explained(
    code: Path, factory: str | None, message: str
) -> None:
    node = {"_target_": "igbench.models.torch_module.torch_module", "factory": factory}
    with pytest.raises(InputError, match=message) as error:
        construct(node | PHOTOS, "model")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r"needs the shape of its inputs"),
        ({"resize": 20}, r"lacks model\.crop"),
        (PHOTOS | {"crop": 21}, r"model\.crop=21 must be between 1 and model\.resize=20"),
        (PHOTOS | {"std": (0.1, 0.1, 0.0)}, "std above zero"),
        (
            PHOTOS | {"interpolation": "nearest"},
            "unknown interpolation 'nearest'; known: bil",
        ),
        (PHOTOS | {"mean": (0.5,), "std": (0.5,)}, r"does not run on 2 inputs of shape \(1, 16"),
        (PHOTOS | {"class_names": ("a",)}, "has 1 names, but the model has 3 outputs"),
    ],
)
def test_keys_that_do_not_fit_are_explained(
    code: Path, keys: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        torch_module(factory=importlib.import_module("their_net").Net, **keys)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.:FutureWarning")
def test_torchscript_by_its_loader(tmp_path: Path) -> None:
    """Frozen programs have no parameters, and are still told apart."""
    hashes = []
    for seed in (0, 1, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval()
        frozen = torch.jit.freeze(torch.jit.trace(expected, images()))
        torch.jit.save(frozen, tmp_path / "net.pt")
        model = torch_module(factory=torch.jit.load, arguments={"f": tmp_path / "net.pt"}, **PHOTOS)
        torch.testing.assert_close(model.module(images()), expected(images()))
        assert not list(model.module.parameters())
        assert model.differentiable
        phi = explain(
            IntegratedGradients(n_steps=2), model.module, images(), target=torch.tensor([0, 1])
        )
        weight = expected[1].weight.detach().view(2, 3, 16, 16)
        torch.testing.assert_close(phi, images() * weight)
        hashes.append(model.weights_hash)
    assert hashes[0] != hashes[1] == hashes[2]


def test_rows_of_the_probe_differ() -> None:
    x = own.inputs((2, 3), 3)
    assert x.shape == (3, 2, 3)
    assert len({tuple(row.flatten().tolist()) for row in x}) == 3
