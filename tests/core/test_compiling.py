"""Compiled forwards: few sizes, the same numbers, and settings of the process as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from igbench.core import compiling
from igbench.core.inference import Compiled, InferenceOptions
from igbench.core.score import Score

CPU = torch.device("cpu")


class Net(nn.Module):
    """A convolution, a batch norm and a layer on top."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)
        for p in self.parameters():
            p.data.copy_(torch.randn(p.shape, generator=g))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


def rows(n: int) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(n))


def process() -> dict[str, object]:
    """Settings of the process that compilation could leave changed."""
    import torch._dynamo.config
    import torch._inductor.config

    dynamo, inductor = torch._dynamo.config, torch._inductor.config
    return {
        **{f"inductor.{k}": v for k, v in inductor.get_config_copy().items()},
        **{f"dynamo.{k}": v for k, v in dynamo.get_config_copy().items()},
        **{name: os.environ.get(name) for name in compiling.FOLDERS},
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
    }


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """Numbers of rows of the graphs that are compiled, in order, by a backend called "seen"."""
    found: list[int] = []

    def backend(graph, inputs):
        found.append(next(len(x) for x in inputs if x.dim() == 4 and x.shape[1:] == (3, 8, 8)))
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda m, backend_=backend, **how: real(m, **{**how, "backend": backend_})
    )
    return found


@pytest.mark.parametrize("most", [2, 7, 16])
def test_any_numbers_of_rows_are_compiled_at_most_twice(sizes, most):
    net = Net()
    compiled = Compiled(net, "seen")
    score = Score(net, batch_size=most, quick=InferenceOptions(compiled=compiled))
    target = torch.tensor([1])
    for n in (1, 2, 3, 5, 7, 11, 16, 23, 32, 33):
        x = rows(n)
        found = score.evaluate_draws(n, target, lambda d, x=x: x[d])
        # Sums of 27 products and a mean of 36, of size 10 in float32: 1e-5 leaves room.
        torch.testing.assert_close(found, net(x)[:, 1].detach(), rtol=1e-5, atol=1e-5)
    assert len(sizes) <= 2
    assert set(sizes) == {2: {2}, 7: {1, 7}, 16: {4, 16}}[most]
    assert score.cost.forward == 133, "rows that were added are not counted"
    assert not compiled.broken


def test_layouts_of_the_same_rows_share_the_code(sizes):
    compiled = Compiled(Net(), "seen")
    last = rows(4).contiguous(memory_format=torch.channels_last)
    for x in (last, last[:3], last[1:2], last.clone(), last.flip(0)):
        compiled(x, most=4)
    assert len(sizes) <= 2


def test_rows_are_filled_up_with_the_last():
    x = rows(3)
    assert torch.equal(compiling.filled(x, 5), torch.cat([x, x[-1:], x[-1:]]))
    assert compiling.filled(x, 3) is x
    last = x.contiguous(memory_format=torch.channels_last)
    wide = compiling.filled(last, 5)
    assert wide.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(wide[:3], x)


def test_outputs_are_not_those_that_the_next_call_overwrites():
    kept = torch.zeros(2, 1)

    def replay(x: Tensor) -> Tensor:
        return kept.copy_(x)

    compiled = Compiled(nn.Identity(), "eager")
    compiled._call = replay
    first = compiled(torch.ones(2, 1))
    assert compiled(torch.full((2, 1), 2.0)).tolist() == [[2.0], [2.0]]
    assert first.tolist() == [[1.0], [1.0]]


def test_structured_outputs_are_read():
    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": 2 * x, "more": x.sum()}

    compiled = Compiled(Named(), "eager")
    assert compiled(torch.ones(3, 2), most=2).tolist() == [[2.0, 2.0]] * 3
    assert not compiled.broken


def test_weights_that_change_are_used():
    net = nn.Linear(1, 1, bias=False).requires_grad_(False).eval()
    compiled, x = Compiled(net, "eager"), torch.ones(1, 1)
    net.weight.fill_(1.0)
    assert compiled(x).item() == 1.0
    net.weight.fill_(3.0)
    assert compiled(x).item() == 3.0
    assert not compiled.broken


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("fails", [False, True])
def test_settings_of_the_process_are_restored(monkeypatch, tmp_path, fails, device):
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path))
    for name in compiling.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    before, inside = process(), {}

    def work() -> None:
        with compiling.settings("inductor", torch.device(device)):
            os.environ["TRITON_CACHE_DIR"] = "set by inductor"
            inside.update(process())
            if fails:
                raise ValueError("stop")

    if fails:
        with pytest.raises(ValueError, match="stop"):
            work()
    else:
        work()
    assert process() == before
    assert inside["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    changed = {k for k in before if before[k] != inside[k]}
    limit = {"dynamo.recompile_limit", "dynamo.cache_size_limit"}
    graphs = {"inductor.triton.cudagraphs"} if device == "cuda" else set()
    assert changed - limit == {*graphs, *compiling.FOLDERS}


def test_the_folder_that_inductor_names_by_itself_is_not_the_users(monkeypatch, tmp_path):
    own = f"{compiling.DEFAULT}somebody"
    for name in compiling.FOLDERS:
        monkeypatch.setenv(name, own)
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path))
    with compiling.settings("inductor", CPU):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
        assert "TRITON_CACHE_DIR" not in os.environ
    assert [os.environ[name] for name in compiling.FOLDERS] == [own, own]


def test_a_folder_of_the_user_and_one_that_cannot_be_written_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    with compiling.settings("inductor", CPU):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    (tmp_path / "file").touch()
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "file"))
    with compiling.settings("inductor", CPU):
        assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_what_inductor_lacks_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiling.lacking(CPU) == "there is no C++ compiler (no-such-compiler)"


@pytest.mark.slow
@pytest.mark.skipif(bool(compiling.lacking(CPU)), reason="there is no C++ compiler here")
def test_inductor_gives_the_same_twice(monkeypatch, tmp_path: Path):
    from torch._dynamo.utils import counters

    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path))
    net, before = Net(), process()
    compiled = Compiled(net, "inductor")
    torch.compiler.reset()
    start = counters["stats"]["unique_graphs"]
    for n in (1, 8, 3, 5, 8, 20):
        x = rows(n)
        torch.testing.assert_close(compiled(x, most=8), net(x).detach(), rtol=1e-5, atol=1e-5)
    assert counters["stats"]["unique_graphs"] - start == 2
    assert compiled.broken == ""
    assert compiled.seconds > 0
    assert process() == before
    assert any((tmp_path / "compiled").rglob("*.so"))
