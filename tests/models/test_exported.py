from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from igbench.errors import InputError
from igbench.methods import IntegratedGradients, explain
from igbench.models.exported import exported
from igbench.models.weights import ready

PHOTOS = {"resize": 10, "crop": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3}
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.:FutureWarning")


def net(dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(dropout), nn.Linear(4, 5))


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def program(path: Path, module: nn.Module, *, fixed: bool = False) -> str:
    shapes = None if fixed else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (images(),), dynamic_shapes=shapes), path)
    return str(path)


def test_programs_give_the_outputs_and_gradients_of_their_model(tmp_path: Path) -> None:
    expected = net().eval()
    model = exported(path=program(tmp_path / "net.pt2", expected), **PHOTOS)
    with torch.no_grad():
        torch.testing.assert_close(model.module(images(3)), expected(images(3)))
    target = torch.tensor([1, 4])
    ig = IntegratedGradients(n_steps=8)
    found = explain(ig, model.module, images(), target=target)
    torch.testing.assert_close(found, explain(ig, ready(expected), images(), target=target))
    assert model.class_names == tuple("01234")
    assert model.differentiable
    assert model.source == "exported program net.pt2"
    assert not any(m.training for m in model.module.modules())
    assert not any(m.training for m in model.module.eval().modules())


def test_the_example_of_an_exported_program_has_the_shape(tmp_path: Path) -> None:
    model = exported(path=program(tmp_path / "net.pt2", net().eval()))
    assert model.preprocess is None
    assert model.class_names == tuple("01234")


def test_programs_are_told_apart_by_their_file(tmp_path: Path) -> None:
    hashes = set()
    for scale in (1.0, 2.0):
        module = net().eval()
        module[-1].weight.data.mul_(scale)
        hashes.add(exported(path=program(tmp_path / "net.pt2", module)).weights_hash)
    assert len(hashes) == 2


class Steps(nn.Module):
    """No gradients: outputs are counts."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(x > 0).flatten(1).sum(1), (x < 0).flatten(1).sum(1)], dim=1).float()


def test_programs_without_gradients_say_so(tmp_path: Path) -> None:
    model = exported(path=program(tmp_path / "steps.pt2", Steps()), **PHOTOS)
    assert not model.differentiable
    assert model.source == "exported program steps.pt2, without gradients"


@pytest.mark.parametrize("dropout", [0.5, 0.0], ids=["dropout", "batch norm"])
def test_training_mode_is_refused(tmp_path: Path, dropout: float) -> None:
    module = net(dropout).train()
    if dropout:
        module[1].eval()
    with pytest.raises(InputError, match=r"exported in training mode; call model\.eval\(\)"):
        exported(path=program(tmp_path / "net.pt2", module), **PHOTOS)


def test_fixed_batch_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batches of one fixed size .*dynamic_shapes") as error:
        exported(path=program(tmp_path / "net.pt2", net().eval(), fixed=True), **PHOTOS)
    assert "\n" not in str(error.value)


def test_files_that_are_no_programs_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set model\.path=FILE"):
        exported()
    with pytest.raises(InputError, match=r"there is none at .gone\.pt2"):
        exported(path="gone.pt2")
    torch.save(net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="is no exported program"):
        exported(path=str(tmp_path / "w.pt"), **PHOTOS)
    torch.jit.save(torch.jit.trace(net().eval(), images()), tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"is TorchScript.*model\.factory=torch\.jit\.load"):
        exported(path=str(tmp_path / "net.pt"), **PHOTOS)
    path = Path(program(tmp_path / "net.pt2", net().eval()))
    with pytest.raises(InputError, match=r"does not run on inputs \(3, 4, 4\)|fixed size"):
        exported(path=str(path), input_shape=(3, 4, 4))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="is no exported program"):
        exported(path=str(path), **PHOTOS)
